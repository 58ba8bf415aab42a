"""hatt: our HAttMatting-style network, with weights that clp-fit wrote."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from clp_aug.mattes import About
from clp_aug.nets.hatt_lite import load

SIDE = 224  # what it was fitted at


class HattMatte:
    """One file of weights. Pictures are resized to 224 pixels a side for it, small ones too."""

    def __init__(self, file: str) -> None:
        path = Path(file)
        self.network, sha256 = load(path)
        self.about = About(f"hatt:{path.stem}", sha256, "see the weights' own terms")

    @torch.no_grad()
    def find(self, view) -> np.ndarray:
        """Return the matte, float32 (224, 224) in [0, 1], not stretched; the same for any number of threads."""
        method = cv2.INTER_AREA if view.size > SIDE else cv2.INTER_CUBIC
        picture = cv2.resize(view.image, (SIDE, SIDE), interpolation=method)
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self.network(pixels)[0, 0].numpy()
        finally:
            torch.set_num_threads(threads)
