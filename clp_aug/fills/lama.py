"""LaMa: inpainting by Fourier convolutions (Suvorov et al., WACV 2022), by a network that the user brings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.fills.inpainting import fill_by
from clp_aug.fills.options import FillOptions, network_file
from clp_aug.fills.scene import Materials, Scene

if TYPE_CHECKING:
    from torch import Tensor

STRIDE = 8  # sides must be multiples of it


@dataclass(frozen=True)
class Options(FillOptions):
    """The network, which the user brings."""

    lama_weights: Path | None = network_file(
        "LaMa's network as TorchScript, for --cf lama.",
        stored="lama",
        missing="needs LaMa's network as TorchScript: give it with --lama-weights FILE.pt",
    )

    def prepare(self) -> None:
        """Load the network. Raises what `load_lama` raises."""
        load_lama(self.lama_weights)


def lama(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials, options: Options) -> np.ndarray:
    """Return uint8 (h, w, 3): the window with the box inpainted. Raises NoBackground when it covers the picture,
    InputError for a network that does not take a picture and its hole.
    """
    from torch.nn import functional as F

    network = load_lama(options.lama_weights)

    def padded(picture: Tensor, hole: Tensor) -> Tensor:
        height, width = hole.shape[2:]
        picture, hole = (F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), "replicate") for x in (picture, hole))
        try:
            filled = network(picture, hole)
            if filled.shape != picture.shape:
                raise RuntimeError(f"it gives {tuple(filled.shape)}")
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"lama weights {options.lama_weights}: not LaMa's network ({reason})") from None
        return filled[:, :, :height, :width]

    return fill_by(padded, scene, window)


@lru_cache(maxsize=1)
def load_lama(weights: Path) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the network of a TorchScript archive, as published ("big-lama.pt"), loaded once a process.

    Raises InputError for a file that is none. Such an archive holds a program: take it from whom you trust.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch would rather have another format than LaMa's
            return torch.jit.load(str(weights), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"lama weights {weights}: not a TorchScript archive ({reason})") from None
