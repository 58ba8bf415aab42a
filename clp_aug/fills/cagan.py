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

STRIDE = 8  # of the network: its sides are whole strides
LEAST = 8  # pixels beyond a box that are seen with the smallest context


@dataclass(frozen=True)
class Options(FillOptions):
    """The inpainting network, by default the one that comes with the package."""

    cagan_weights: Path | None = network_file(
        "Another network for --cf cagan: of clp-fit, or published.", stored="cagan"
    )
    cagan_layout: str = setting(
        "own", "Of published weights: own, or tf (converted from TensorFlow).", choices=("own", "tf")
    )
    cagan_context: float = setting(
        0.0, "How far beyond the box cagan sees, in sides of the box; 0: the whole picture.", low=0
    )

    def files(self) -> dict[str, Path | None]:
        """As of the base; without a file of the user's, the shipped weights count."""
        return {"cagan": weights_file(self.cagan_weights)}

    def stored(self) -> dict[str, object]:
        """As of the base; a context of 0, which shards of earlier versions do not name, is left out."""
        kept = super().stored()
        return kept if self.cagan_context else {name: kept[name] for name in kept if name != "cagan_context"}

    def prepare(self) -> None:
        """Load the network. Raises what `load_inpainter` raises."""
        load_inpainter(self.cagan_weights, self.cagan_layout)

    def check(self, size: int, classes: int) -> None:
        """Inpaint a scene of the run's size. Raises what `cagan` raises."""
        try_on_scene(cagan, size, self)

    def terms(self) -> str:
        """Return in one line under which terms the weights may be used."""
        return terms_of(self.cagan_weights)


def cagan(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials, options: Options) -> np.ndarray:
    """Return uint8 (h, w, 3): the window with the box inpainted. Raises NoBackground when it covers the picture,
    InputError for weights that give no numbers.
    """
    network = load_inpainter(options.cagan_weights, options.cagan_layout)
    near, inside = nearby(scene, window, options.cagan_context)
    return fill_by(network.fill, near, inside, name_of(options), "give other weights")


def cagan_all(
    scenes: Sequence[Scene], windows: Sequence[Box], rngs: object, materials: Materials, options: Options
) -> list[np.ndarray | None]:
    """Return what `cagan` does for each scene, on the device of the materials; None where the box covers it.

    With a context, scenes whose neighbourhoods have the same sides go together.
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

    context: how far it reaches beyond the window, in sides of the window; its ends are rounded outwards to whole
    strides of the network, and there are no pixels beyond the picture's.
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
    """Return the ends of a neighbourhood along an axis of so many pixels; low, high: of the window."""
    far = max(context * (high - low), LEAST)
    first = max(0, math.floor((low - far) / STRIDE)) * STRIDE
    return first, min(math.ceil((high + far) / STRIDE) * STRIDE, side)


def name_of(options: Options) -> str:
    """Return what the weights are called in errors."""
    return f"cagan weights {options.cagan_weights or 'of the package'}"


@lru_cache(maxsize=1)
def load_inpainter(weights: Path | None, layout: str, device: str = CPU) -> ContextualAttentionNet:
    """Return the network that comes with the package, or that of a file of `clp-fit inpainter` or of a published one.

    It is loaded once a process. Raises InputError for a file that is neither, or shipped weights that changed.
    """
    from clp_aug.nets.contextual_attention import load
    from clp_aug.nets.published_cagan import load_published

    file = weights_file(weights)
    return (load_published(file, layout) if is_published_file(file) else load(file))[0].to(device)


def weights_file(weights: Path | None) -> Path:
    """Return the file of the weights, the shipped one when none is named. Raises InputError if that changed."""
    return shipped_path("cagan") if weights is None else weights


def terms_of(weights: Path | None) -> str:
    """Return in one line under which terms weights may be used: the shipped, the published, or the user's own."""
    if weights is None:
        return SHIPPED["cagan"].licence
    from clp_aug.nets.published_cagan import LICENCE

    return LICENCE if is_published_file(weights) else "see the weights' own terms"


def is_published_file(weights: Path) -> bool:
    """Whether a file has the names or the format of published weights; `clp-fit` writes safetensors alone."""
    from safetensors import safe_open

    from clp_aug.nets.contextual_attention import is_published

    if weights.suffix.lower() != ".safetensors":
        return True
    try:
        with safe_open(weights, "np") as file:
            return is_published(file.keys())
    except Exception:  # what a file that is none makes it raise is nowhere listed
        return False  # and `load` says what is wrong
