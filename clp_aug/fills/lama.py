"""LaMa: inpainting by Fourier convolutions (Suvorov et al., WACV 2022), with a network from the user."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.fills.inpainting import fill_all_by, fill_by, try_on_scene
from clp_aug.fills.options import FillOptions, network_file
from clp_aug.fills.scene import Materials, Scene
from clp_aug.nets.devices import CPU
from clp_aug.nets.reading import LINE, allowance, check_size, check_unpacked, first_line

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

STRIDE = 8  # sides must be multiples of it
LARGEST = 2**33  # bytes of a file; the published one has 206 MB
REMEDY = "give LaMa's network as published, big-lama.pt"
OTHER = "give another export of LaMa"


@dataclass(frozen=True)
class Options(FillOptions):
    """The network, a file from the user."""

    lama_weights: Path | None = network_file(
        "LaMa's network as TorchScript, for --cf lama.",
        stored="lama",
        missing="needs LaMa's network as TorchScript: give it with --lama-weights FILE.pt",
    )

    def prepare(self) -> None:
        """Load the network. Raises the errors of `load_lama`."""
        load_lama(self.lama_weights)

    def check(self, size: int, classes: int) -> None:
        """Inpaint a scene of the run's size. Raises the errors of `lama`."""
        try_on_scene(lama, size, self)


def lama(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials, options: Options) -> np.ndarray:
    """Return uint8 (h, w, 3): the window with the box inpainted. Raises NoBackground if it covers the picture,
    InputError for a network that does not accept a picture and its hole, or returns no picture.
    """
    what = f"lama weights {options.lama_weights}"
    return fill_by(padded(load_lama(options.lama_weights), what), scene, window, what, OTHER)


def lama_all(
    scenes: Sequence[Scene], windows: Sequence[Box], rngs: object, materials: Materials, options: Options
) -> list[np.ndarray | None]:
    """Return the result of `lama` for each scene, on the device of the materials; None if the box covers the scene."""
    what = f"lama weights {options.lama_weights}"
    network = padded(load_lama(options.lama_weights, materials.device), what)
    return fill_all_by(network, scenes, windows, what, OTHER, materials.device)


def padded(network: Callable[[Tensor, Tensor], Tensor], what: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a network for pictures of any size; it raises InputError if it is not LaMa's. what: its name in errors."""
    import torch
    from torch.nn import functional as F

    def filled_in(picture: Tensor, hole: Tensor) -> Tensor:
        height, width = hole.shape[2:]
        picture, hole = (F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), "replicate") for x in (picture, hole))
        try:
            filled = network(picture, hole)
            if getattr(filled, "shape", None) != picture.shape:
                given = tuple(filled.shape) if hasattr(filled, "shape") else f"a {type(filled).__name__}"
                raise RuntimeError(f"it gives {given}")
        except Exception as error:  # a program may fail in any way
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:LINE]
            raise InputError(f"{what}: not LaMa's network ({reason}); {REMEDY}") from None
        known_to_numpy = filled.dtype in (torch.float16, torch.float32, torch.float64)
        return (filled if known_to_numpy else filled.float())[:, :, :height, :width]

    return filled_in


@lru_cache(maxsize=1)
def load_lama(weights: Path, device: str = CPU) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the network of a TorchScript archive, as published ("big-lama.pt"), loaded once per process.

    Raises InputError for any other file. Such an archive holds a program: use only files from sources that you trust.
    """
    import zipfile

    import torch

    what = f"lama weights {weights}"
    try:
        size = check_size(Path(weights), LARGEST)
    except ValueError as error:
        raise InputError(f"{what}: {error}; {REMEDY}") from None
    try:
        with zipfile.ZipFile(weights) as archive:
            check_unpacked(archive.infolist(), allowance(size))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch recommends another format than LaMa's
            return torch.jit.load(str(weights), map_location="cpu").eval().to(device)
    except Exception as error:  # torch may raise anything for a foreign archive
        raise InputError(f"{what}: not a TorchScript archive ({first_line(error)}); {REMEDY}") from None
