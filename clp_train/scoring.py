"""What the classifier makes of pictures as they are, in evaluation mode; methods ask for it between stages."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from clp_train.data import Pictures, as_input
from clp_train.models.parts import Output

BATCH = 250

Scores = Callable[[str], Output]
"""Stream, "train" or "meta" (the originals) -> features (N, A) and logits (N, C) of its pictures, in their order."""


@torch.no_grad()
def score(network: nn.Module, pictures: Pictures) -> Output:
    """Return features and logits of all pictures, untransformed; the network is left in evaluation mode."""
    network.eval()
    parts = [network(as_input(part)) for part in pictures.images.split(BATCH)]
    return Output(torch.cat([part.features for part in parts]), torch.cat([part.logits for part in parts]))
