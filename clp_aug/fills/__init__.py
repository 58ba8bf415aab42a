"""INFILL: the registry of fills. One file a fill; a new one is one file, one line here and one row in its test.

A fill is a pure function (scene, window, rng, materials) -> infilling, uint8 (h, w, 3), for the window that holds
the hole: the box of a counterfactual, the whole picture of a factual. `scene.compose` keeps all other pixels.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from clp_aug.contract.errors import UsageError, pick
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.fills.scene import Materials, NoBackground, Scene, compose

CF, F = COUNTERFACTUAL, FACTUAL
KIND_OPTIONS = {CF: "--cf", F: "--f"}
FILES = {
    "classifier": "attacks a classifier: give one with --classifier FILE.pt2 (clp-train --export writes it)",
    "lama": "needs LaMa's network as TorchScript: give it with --lama-weights FILE.pt",
}
"""What a fill may need from the user, and how to say so."""


@dataclass(frozen=True)
class Fill:
    """One registered fill: where its function is, the kinds it serves, what it needs, and what it is.

    needs: "" or "partner" (a second class) or one of FILES; everywhere: it changes the whole picture.
    """

    function: str
    kinds: tuple[int, ...]
    summary: str
    needs: str = ""
    everywhere: bool = False

    def load(self):
        """Import and return the fill's function."""
        module, name = self.function.split(":")
        return getattr(importlib.import_module(module), name)


FILLS = {
    "grey": Fill("clp_aug.fills.grey:grey", (CF,), "0.5 in [0, 1], stored as 128"),
    "random": Fill("clp_aug.fills.random:random", (CF, F), "one random colour plus Gaussian noise, sigma 0.2"),
    "shuffle": Fill("clp_aug.fills.shuffle:shuffle", (CF, F), "the region's own pixels in random order"),
    "tile": Fill("clp_aug.fills.tile:tile", (CF,), "the largest background rectangle, repeated"),
    "mix-rand": Fill("clp_aug.fills.mix_rand:mix_rand", (F,), "tiled background of another class", needs="partner"),
    "fgsm": Fill("clp_aug.fills.fgsm:fgsm", (F,), "one l_inf gradient-sign step on the background", needs="classifier"),
    "recolour": Fill("clp_aug.fills.recolour:recolour", (F,), "random hue and saturation", everywhere=True),
    "keep-colour": Fill("clp_aug.fills.keep_colour:keep_colour", (CF,), "another class's object", needs="partner"),
    "cagan": Fill("clp_aug.fills.cagan:cagan", (CF,), "contextual-attention inpainting"),
    "telea": Fill("clp_aug.fills.telea:telea", (CF,), "OpenCV's inpainting by fast marching"),
    "lama": Fill("clp_aug.fills.lama:lama", (CF,), "LaMa's inpainting, with its network in a file", needs="lama"),
}  # fmt: skip


def check_fill(name: str, kind: int, given: Collection[str]) -> None:
    """Raise UsageError unless the fill exists, serves the kind and has what it needs, before any picture is read.

    given: the FILES that the user named.
    """
    option, fill = KIND_OPTIONS[kind], pick(FILLS, name, "fill")
    if kind not in fill.kinds:
        fitting = ", ".join(sorted(n for n, other in FILLS.items() if kind in other.kinds))
        raise UsageError(f"fill {name!r} does not serve {option}: choose one of {fitting}")
    if fill.needs in FILES and fill.needs not in given:
        raise UsageError(f"fill {name!r} {FILES[fill.needs]}")


def infill(
    name: str, kind: int, scene: Scene, rng: np.random.Generator, materials: Materials
) -> tuple[np.ndarray, str]:
    """Return a copy of the scene's picture with its hole filled, uint8 (H, W, 3), and the fill really used.

    Where the box leaves no background to take from, the hole is grey and the returned name is "grey".
    """
    fill, window = FILLS[name], scene.window(kind)
    try:
        infilling = fill.load()(scene, window, rng, materials)
    except NoBackground:
        name, infilling = "grey", FILLS["grey"].load()(scene, window, rng, materials)
    return infilling if FILLS[name].everywhere else compose(scene, kind, infilling), name
