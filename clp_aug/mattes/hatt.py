"""hatt: our HAttMatting-style network, with the weights that come with the package or the user's own."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from clp_aug.mattes import About, PictureLike, name_with_file
from clp_aug.nets.shipped import SHIPPED, shipped_path
from clp_aug.nets.threads import one_thread

if TYPE_CHECKING:
    from clp_aug.nets.hatt_lite import HattLite

SIDE = 224  # what it was fitted at


class HattMatte:
    """One file of weights. Pictures are resized to 224 pixels a side for it, small ones too.

    file: weights that `clp-fit matte` wrote, looked through at once; without it the shipped ones, whose hash is
    compared at once and which are loaded with the first picture, since a fallback may never see one.
    """

    def __init__(self, file: str = "") -> None:
        self.path = Path(file) if file else shipped_path("hatt")
        if file:
            from clp_aug.nets.hatt_lite import load

            self.network, sha256 = load(self.path)
            self.about = About(name_with_file("hatt", self.path), sha256, "see the weights' own terms")
        else:
            self.about = About("hatt", SHIPPED["hatt"].sha256, SHIPPED["hatt"].licence)

    @cached_property
    def network(self) -> HattLite:
        """The network, in evaluation mode."""
        from clp_aug.nets.hatt_lite import load

        return load(self.path)[0]

    def find(self, picture: PictureLike) -> np.ndarray:
        """Return the matte, float32 (224, 224) in [0, 1], not stretched; the same for any number of threads."""
        import torch

        method = cv2.INTER_AREA if picture.size > SIDE else cv2.INTER_CUBIC
        resized = cv2.resize(picture.image, (SIDE, SIDE), interpolation=method)
        pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255
        with one_thread():
            alpha: np.ndarray = self.network(pixels)[0, 0].numpy()
        return alpha
