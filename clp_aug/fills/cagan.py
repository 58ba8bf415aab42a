"""CAGAN: contextual-attention inpainting. Paper, section 3.2.1, counterfactual 5); Yu et al., CVPR 2018."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clp_aug.common.settings import setting
from clp_aug.contract.boxes import Box
from clp_aug.fills.inpainting import fill_all_by, fill_by, try_on_scene
from clp_aug.fills.options import FillOptions, network_file
from clp_aug.fills.scene import Materials, Scene
from clp_aug.nets.devices import CPU
from clp_aug.nets.shipped import SHIPPED, shipped_path

if TYPE_CHECKING:
    from clp_aug.nets.contextual_attention import ContextualAttentionNet


@dataclass(frozen=True)
class Options(FillOptions):
    """The inpainting network, by default the one that comes with the package."""

    cagan_weights: Path | None = network_file(
        "Another network for --cf cagan: of clp-fit, or published.", stored="cagan"
    )
    cagan_layout: str = setting(
        "own", "Of published weights: own, or tf (converted from TensorFlow).", choices=("own", "tf")
    )

    def files(self) -> dict[str, Path | None]:
        """As of the base; without a file of the user's, the shipped weights count."""
        return {"cagan": weights_file(self.cagan_weights)}

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
    return fill_by(network.fill, scene, window, name_of(options), "give other weights")


def cagan_all(
    scenes: Sequence[Scene], windows: Sequence[Box], rngs: object, materials: Materials, options: Options
) -> list[np.ndarray | None]:
    """Return what `cagan` does for each scene, on the device of the materials; None where the box covers it."""
    network = load_inpainter(options.cagan_weights, options.cagan_layout, materials.device)
    return fill_all_by(network.fill, scenes, windows, name_of(options), "give other weights", materials.device)


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
