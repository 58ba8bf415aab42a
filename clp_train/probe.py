"""A head on the features of a frozen body: pictures become vectors once, and only the last layer learns."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from clp_train.data import Pictures, RunData, as_input
from clp_train.models.parts import Output

BATCH = 100


class Probe(nn.Module):
    """The last layer of a classifier, shared with it: float (n, A) -> Output."""

    tail = ("head.",)

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Output:
        return Output(features, self.head(features))


def probe_of(network: nn.Module, run: RunData) -> tuple[Probe, RunData]:
    """Return the classifier's head as a network, and the run with features, float32 (N, A), in place of pictures.

    Features are those of evaluation mode, in which the classifier is left.
    """
    network.eval()

    @torch.no_grad()
    def features(pictures: Pictures) -> Pictures:
        parts = [network(as_input(part)).features for part in pictures.images.split(BATCH)]
        return replace(pictures, images=torch.cat(parts))

    evaluation = {name: features(part) for name, part in run.evaluation.items()}
    return Probe(network.head), replace(run, train=features(run.train), meta=features(run.meta), evaluation=evaluation)
