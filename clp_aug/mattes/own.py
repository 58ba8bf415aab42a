"""Mattes that are plug-ins: a class or function that makes a back end. Its findings are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from clp_aug.common.plugins import Plugin, label, parameters
from clp_aug.contract.boxes import Box
from clp_aug.mattes import About, PictureLike

EXPECTED = "an array (h, w), a box (x0, y0, x1, y1) or None"


def runs_on_a_device(plugin: Plugin) -> bool:
    """Return whether a plug-in's back end is a network: then it has a parameter `device`."""
    return callable(plugin.value) and "device" in parameters(plugin.value)


def matte_of_plugin(plugin: Plugin, device: str) -> OwnMatte | OwnNetwork:
    """Return the back end of a plug-in. Raises UsageError for an object without `find`."""
    back_end = plugin.call_with(device=device)
    if not callable(getattr(back_end, "find", None)):
        raise plugin.refuse(f"it made {type(back_end).__name__} without a function find(picture); add one")
    return OwnNetwork(plugin, back_end) if hasattr(back_end, "find_all") else OwnMatte(plugin, back_end)


class OwnMatte:
    """The back end of a plug-in, with the plug-in's name; sha256 and licence come from its own `about`, if any."""

    def __init__(self, plugin: Plugin, back_end: Any) -> None:
        self.plugin, self.back_end = plugin, back_end
        said = getattr(back_end, "about", None)
        weights = (said.sha256, said.licence) if isinstance(said, About) else ("", "")
        self.about = About(label(plugin.name), *weights)

    def find(self, picture: PictureLike) -> np.ndarray | Box | None:
        """Return the finding of the back end. Raises UsageError for anything else, and if the back end raises."""
        return self.checked(self.plugin.call(self.back_end.find, picture), picture.size)

    def checked(self, finding: Any, size: int) -> np.ndarray | Box | None:
        """Return a finding; a box in whole pixels of the picture. Raises UsageError for anything else."""
        if finding is None:
            return None
        if isinstance(finding, tuple) and len(finding) == 4:
            box: Box | None = self.plugin.call(whole_pixels, finding, size)
            return box
        values = np.asarray(finding)
        if values.ndim == 2 and values.size and values.dtype.kind in "fbui":
            return self.alpha(values)
        what = f"{values.dtype} {values.shape}" if isinstance(finding, np.ndarray) else type(finding).__name__
        raise self.plugin.refuse(f"it found {what}; expected {EXPECTED}")

    def alpha(self, values: np.ndarray) -> np.ndarray:
        """Return a matte as float32. Raises UsageError for values outside [0, 1]."""
        alpha = values.astype(np.float32)
        if np.nanmax(alpha, initial=0) > 1.001 or np.nanmin(alpha, initial=0) < -0.001:
            raise self.plugin.refuse(f"its matte goes from {alpha.min():g} to {alpha.max():g}; expected 0 to 1")
        return alpha


class OwnNetwork(OwnMatte):
    """An `OwnMatte` that finds many at once."""

    def find_all(self, pictures: Sequence[PictureLike]) -> list[np.ndarray | Box | None]:
        """Return the result of `find` for each picture. Raises UsageError for another number of findings."""
        findings = self.plugin.call(self.back_end.find_all, pictures)
        if len(findings) != len(pictures):
            raise self.plugin.refuse(f"find_all returned {len(findings)} findings for {len(pictures)} pictures")
        return [self.checked(found, picture.size) for found, picture in zip(findings, pictures, strict=True)]


def whole_pixels(box: tuple[float, float, float, float], size: int) -> Box | None:
    """Return the smallest box of whole pixels around a box, inside a picture of side `size`; None if it has no area."""
    x0, y0 = (min(max(math.floor(value), 0), size) for value in box[:2])
    x1, y1 = (min(max(math.ceil(value), 0), size) for value in box[2:])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
