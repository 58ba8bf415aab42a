"""hatt: our HAttMatting-style network, with the weights that come with the package or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from clp_aug.mattes import About, PictureLike, name_with_file
from clp_aug.nets.devices import CPU
from clp_aug.nets.shipped import SHIPPED, shipped_path
from clp_aug.nets.threads import batches, inference_on, most_in_a_batch

if TYPE_CHECKING:
    from clp_aug.nets.hatt_lite import HattLite

SIDE = 224  # what it was fitted at


class HattMatte:
    """One file of weights. Pictures are resized to 224 pixels a side for it, small ones too.

    file: weights that `clp-fit matte` wrote, looked through at once; without it the shipped ones, whose hash is
    compared at once and which are loaded with the first picture, since a fallback may never see one. device: by name.
    """

    def __init__(self, file: str = "", device: str = CPU) -> None:
        self.path, self.device = Path(file) if file else shipped_path("hatt"), device
        if file:
            from clp_aug.nets.hatt_lite import load

            network, sha256 = load(self.path)
            self.network = network.to(device)
            self.about = About(name_with_file("hatt", self.path), sha256, "see the weights' own terms")
        else:
            self.about = About("hatt", SHIPPED["hatt"].sha256, SHIPPED["hatt"].licence)

    @cached_property
    def network(self) -> HattLite:
        """The network, in evaluation mode, on its device."""
        from clp_aug.nets.hatt_lite import load

        return load(self.path)[0].to(self.device)

    def find(self, picture: PictureLike) -> np.ndarray:
        """Return the matte, float32 (224, 224) in [0, 1], not stretched; the same for any number of threads."""
        return self.find_all([picture])[0]

    def find_all(self, pictures: Sequence[PictureLike]) -> list[np.ndarray]:
        """Return the mattes of some pictures, in batches."""
        parts = batches(len(pictures), most_in_a_batch(SIDE**2))
        return [alpha for part in parts for alpha in self.mattes([pictures[i] for i in part])]

    def mattes(self, pictures: Sequence[PictureLike]) -> np.ndarray:
        """Return the mattes of one batch, float32 (N, 224, 224)."""
        import torch

        resized = torch.from_numpy(np.stack([resize(picture) for picture in pictures]))
        with inference_on(self.device):
            alpha = self.network(resized.to(self.device).permute(0, 3, 1, 2).float() / 255)
        found: np.ndarray = alpha[:, 0].cpu().numpy()
        return found


def resize(picture: PictureLike) -> np.ndarray:
    """Return a picture as the network takes it, uint8 (224, 224, 3)."""
    method = cv2.INTER_AREA if picture.size > SIDE else cv2.INTER_CUBIC
    return cv2.resize(picture.image, (SIDE, SIDE), interpolation=method)
