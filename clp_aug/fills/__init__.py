"""INFILL: the registry of fills. One file a fill; a new one is one file, one line here and one row in its test.

A fill is a pure function (scene, window, rng, materials) -> infilling, uint8 (h, w, 3), for the window that holds
the hole: the box of a counterfactual, the whole picture of a factual. `scene.compose` keeps all other pixels.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np

from clp_aug.contract.errors import UsageError, pick
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.fills.scene import Materials, NoBackground, Scene, compose

CF, F = COUNTERFACTUAL, FACTUAL
KIND_OPTIONS = {CF: "--cf", F: "--f"}


@dataclass(frozen=True)
class Fill:
    """One registered fill: where its function is, the kinds it serves, what it needs, and what it is.

    needs: "" or "partner" (a second class) or "classifier"; everywhere: it changes the whole picture;
    missing: why it cannot run in this version.
    """

    function: str
    kinds: tuple[int, ...]
    summary: str
    needs: str = ""
    everywhere: bool = False
    missing: str = ""

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
    "cagan": Fill(
        "", (CF,), "contextual-attention inpainting",
        missing="its network is not part of this version; use tile, or another of the fills that --help lists",
    ),
}  # fmt: skip


def check_fill(name: str, kind: int, classifier: bool) -> None:
    """Raise UsageError unless the fill exists, serves the kind and has what it needs, before any picture is read."""
    option, fill = KIND_OPTIONS[kind], pick(FILLS, name, "fill")
    if kind not in fill.kinds:
        fitting = ", ".join(sorted(n for n, other in FILLS.items() if kind in other.kinds))
        raise UsageError(f"fill {name!r} does not serve {option}: choose one of {fitting}")
    if fill.missing:
        raise UsageError(f"fill {name!r} cannot run: {fill.missing}")
    if fill.needs == "classifier" and not classifier:
        raise UsageError(
            f"fill {name!r} attacks a classifier: give one with --classifier FILE.pt2 (clp-train --export writes it)"
        )


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
