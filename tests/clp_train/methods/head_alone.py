"""A stand-in for a classifier, for tests of what a method reads of it: the head."""

from torch import nn


class HeadAlone(nn.Module):
    """Hold a head, and nothing before it."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head
