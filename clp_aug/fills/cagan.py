"""CAGAN: contextual-attention inpainting. Paper, section 3.2.1, counterfactual 5); Yu et al., CVPR 2018."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from clp_aug.common.settings import setting
from clp_aug.contract.boxes import Box
from clp_aug.fills.inpainting import fill_all_by, fill_by, try_on_scene
from clp_aug.fills.options import FillOptions, network_file
from clp_aug.fills.scene import Materials, Scene
from clp_aug.nets.devices import CPU
from clp_aug.nets.shipped import SHIPPED, shipped_path

if TYPE_CHECKING:
    import numpy as np

    from clp_aug.nets.contextual_attention import ContextualAttentionNet

STRIDE = 8  # of the network: the sides of its input are multiples of it
LEAST = 8  # pixels beyond a box that it sees with the smallest context


@dataclass(frozen=True)
class Options(FillOptions):
    """The inpainting network, by default the one of the package."""

    cagan_weights: Path | None = network_file(
        "Another network for --cf cagan: from clp-fit, or published.", stored="cagan"
    )
    cagan_layout: str = setting(
        "own", "Layout of published weights: own, or tf (converted from TensorFlow).", choices=("own", "tf")
    )
    cagan_context: float = setting(
        0.0, "How far beyond the box cagan sees, in sides of the box; 0: the whole picture.", low=0
    )

    def files(self) -> dict[str, Path | None]:
        """As in the base class; without a file from the user, the shipped weights are used."""
        return {"cagan": weights_file(self.cagan_weights)}

    def stored(self) -> dict[str, object]:
        """As in the base class; a context of 0 is left out, because shards of earlier versions do not have it."""
        kept = super().stored()
        return kept if self.cagan_context else {name: kept[name] for name in kept if name != "cagan_context"}

    def prepare(self) -> None:
        """Load the network. Raises the errors of `load_inpainter`."""
        load_inpainter(self.cagan_weights, self.cagan_layout)

    def check(self, size: int, classes: int) -> None:
        """Inpaint a scene of the run's size. Raises the errors of `cagan`."""
        try_on_scene(cagan, size, self)

    def terms(self) -> str:
        """Return the terms of use of the weights in one line."""
        return terms_of(self.cagan_weights)


def cagan(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials, options: Options) -> np.ndarray:
    """Return uint8 (h, w, 3): the window with the box inpainted. Raises NoBackground if it covers the picture,
    InputError for weights that give NaN or infinity.
    """
    network = load_inpainter(options.cagan_weights, options.cagan_layout)
    near, inside = nearby(scene, window, options.cagan_context)
    return fill_by(network.fill, near, inside, name_of(options), "give other weights")


def cagan_all(
    scenes: Sequence[Scene], windows: Sequence[Box], rngs: object, materials: Materials, options: Options
) -> list[np.ndarray | None]:
    """Return the result of `cagan` for each scene, on the device of the materials; None if the box covers the scene.

    With a context, scenes with neighbourhoods of the same size are filled together.
    """
    network = load_inpainter(options.cagan_weights, options.cagan_layout, materials.device)
    near = [nearby(*one, options.cagan_context) for one in zip(scenes, windows, strict=True)]
    filled: list[np.ndarray | None] = [None] * len(near)
    for size in dict.fromkeys(scene.image.shape for scene, _ in near):
        rows = [i for i, (scene, _) in enumerate(near) if scene.image.shape == size]
        some, inside = [near[i][0] for i in rows], [near[i][1] for i in rows]
        found = fill_all_by(network.fill, some, inside, name_of(options), "give other weights", materials.device)
        for i, pixels in zip(rows, found, strict=True):
            filled[i] = pixels
    return filled


def nearby(scene: Scene, window: Box, context: float) -> tuple[Scene, Box]:
    """Return the neighbourhood of a window as a scene of its own, and the window in it; with context 0 both as given.

    context: how far it reaches beyond the window, in sides of the window. Its ends are rounded outwards to multiples of
    the network's stride, and cut at the picture's border.
    """
    if not context:
        return scene, window
    height, width = scene.image.shape[:2]
    (left, right), (top, bottom) = (
        reach(window[axis], window[axis + 2], context, side) for axis, side in ((0, width), (1, height))
    )
    if (left, top, right, bottom) == (0, 0, width, height):
        return scene, window
    alpha = None if scene.alpha is None else scene.alpha[top:bottom, left:right]
    box, inside = ((x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in (scene.box, window))
    return Scene(scene.image[top:bottom, left:right], box, scene.label, alpha), inside


def reach(low: int, high: int, context: float, side: int) -> tuple[int, int]:
    """Return the ends of a neighbourhood along an axis of `side` pixels; low, high: of the window."""
    far = max(context * (high - low), LEAST)
    first = max(0, math.floor((low - far) / STRIDE)) * STRIDE
    return first, min(math.ceil((high + far) / STRIDE) * STRIDE, side)


def name_of(options: Options) -> str:
    """Return the name of the weights in errors."""
    return f"cagan weights {options.cagan_weights or 'of the package'}"


@lru_cache(maxsize=1)
def load_inpainter(weights: Path | None, layout: str, device: str = CPU) -> ContextualAttentionNet:
    """Return the network of the package, of a file from `clp-fit inpainter`, or of a published file.

    It is loaded once per process. Raises InputError for any other file, or if the shipped weights have changed.
    """
    from clp_aug.nets.contextual_attention import load
    from clp_aug.nets.published_cagan import load_published

    file = weights_file(weights)
    return (load_published(file, layout) if is_published_file(file) else load(file))[0].to(device)


def weights_file(weights: Path | None) -> Path:
    """Return the file of the weights, by default the shipped one. Raises InputError if that has changed."""
    return shipped_path("cagan") if weights is None else weights


def terms_of(weights: Path | None) -> str:
    """Return the terms of use of weights in one line: of shipped, of published, or of the user's own weights."""
    if weights is None:
        return SHIPPED["cagan"].licence
    from clp_aug.nets.published_cagan import LICENCE

    return LICENCE if is_published_file(weights) else "see the weights' own terms"


def is_published_file(weights: Path) -> bool:
    """Return whether a file has the names or the format of published weights; `clp-fit` writes only safetensors."""
    from safetensors import safe_open

    from clp_aug.nets.contextual_attention import is_published

    if weights.suffix.lower() != ".safetensors":
        return True
    try:
        with safe_open(weights, "np") as file:
            return is_published(file.keys())
    except Exception:  # its errors for other files are not documented
        return False  # and `load` says what is wrong
