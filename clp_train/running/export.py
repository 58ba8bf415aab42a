"""A classifier as other tools see it, written as an exported program."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from clp_aug.common.files import written_beside


class Logits(nn.Module):
    """A classifier as other tools see it: float32 (N, 3, H, W) in [0, 1] -> logits (N, C)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


def export_classifier(network: nn.Module, size: int, path: Path) -> None:
    """Write `Logits` in evaluation mode as an exported program for any batch of size x size pictures.

    Raises InputError when the disk refuses.
    """
    network.eval().cpu()  # other tools run it there
    example = torch.zeros(2, 3, size, size)
    program = torch.export.export(
        Logits(network), (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}}
    )
    content = io.BytesIO()  # torch ends the process where a file refuses
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found in the group")  # torch's, of its own file
        torch.export.save(program, content)
    with written_beside(path) as temporary:
        temporary.write_bytes(content.getbuffer())
