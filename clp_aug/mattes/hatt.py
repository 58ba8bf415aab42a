"""hatt: our HAttMatting-style network, with the weights of the package or the user's own."""

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
from clp_aug.nets.threads import batches, each_on_one_thread, inference_on, most_in_a_batch

if TYPE_CHECKING:
    from clp_aug.nets.hatt_lite import HattLite

SIDE = 224  # side at which it was fitted


class HattMatte:
    """One file of weights. All pictures are resized to 224 pixels a side for it, small ones too.

    file: weights from `clp-fit matte`, loaded at once. Without a file the shipped weights are used: their hash is
    checked at once, but they are loaded with the first picture, because a fallback may never get one. device: by name.
    Raises InputError for a wrong file.
    """

    def __init__(self, file: str = "", device: str = CPU) -> None:
        self.path, self.device = Path(file) if file else shipped_path("hatt"), device
        if file:
            from clp_aug.nets.hatt_lite import load

            network, sha256 = load(self.path)
            self.network = at_home_on(device, network)
            self.about = About(name_with_file("hatt", self.path), sha256, "see the weights' own terms")
        else:
            self.about = About("hatt", SHIPPED["hatt"].sha256, SHIPPED["hatt"].licence)

    @cached_property
    def network(self) -> HattLite:
        """The network, in evaluation mode, on its device."""
        from clp_aug.nets.hatt_lite import load

        return at_home_on(self.device, load(self.path)[0])

    def find(self, picture: PictureLike) -> np.ndarray:
        """Return the matte, float32 (224, 224) in [0, 1], not stretched; the same for any number of threads."""
        return self.find_all([picture])[0]

    def find_all(self, pictures: Sequence[PictureLike]) -> list[np.ndarray]:
        """Return the result of `find` for each picture: on the CPU bit-identical, on other devices in batches."""
        parts = batches(len(pictures), most_in_a_batch(SIDE**2))
        return [alpha for part in parts for alpha in self.mattes([resize(pictures[i]) for i in part])]

    def mattes(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the mattes of one batch, float32 (224, 224) each. images: uint8 (224, 224, 3) each."""
        network = self.network  # loaded once, before threads need it
        if self.device == CPU:
            return each_on_one_thread(lambda image: self.alphas(network, [image])[0], images)
        with inference_on(self.device):
            return list(self.alphas(network, images))

    def alphas(self, network: HattLite, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the network's mattes of some pictures at once, float32 (N, 224, 224)."""
        import torch

        pictures = torch.from_numpy(np.stack(images)).to(self.device)
        found: np.ndarray = network(pictures.permute(0, 3, 1, 2).float() / 255)[:, 0].cpu().numpy()
        return found


def at_home_on(device: str, network: HattLite) -> HattLite:
    """Return a loaded network on its device, in the fastest form there."""
    if device != CPU:
        return network.to(device)
    from clp_aug.nets.quick_hatt import quicken

    return quicken(network)


def resize(picture: PictureLike) -> np.ndarray:
    """Return a picture in the size of the network, uint8 (224, 224, 3)."""
    method = cv2.INTER_AREA if picture.size > SIDE else cv2.INTER_CUBIC
    return cv2.resize(picture.image, (SIDE, SIDE), interpolation=method)
