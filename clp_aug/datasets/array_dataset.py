"""READ: a data set with pictures, boxes and masks in arrays, or in an object that returns them by number."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.contract.images import Geometry, resize_alpha
from clp_aug.datasets.array_pictures import ByRow, as_alpha, as_rgb
from clp_aug.datasets.base import Dataset, Samples
from clp_aug.datasets.names import shortened

SAMPLED = 256  # pictures, spread over all, that the fingerprint reads
SAID = 200  # letters of a message from a user's code


class ArrayDataset(Dataset):
    """Pictures from any object that returns one for `[row]`. pictures: row -> picture, see the module `arrays`; boxes:
    (N, 4) in source pixels, half open, NaN without a box; masks: row -> (H, W) in [0, 1] or uint8, or None.
    """

    def __init__(
        self, name: str, class_names: Sequence[str], samples: Samples, group_names: Sequence[str],
        pictures: ByRow, boxes: np.ndarray | None = None, masks: ByRow | None = None,
    ) -> None:  # fmt: skip
        self.pictures, self.boxes, self.masks = pictures, boxes, masks
        self.content: str | None = None
        super().__init__(name, class_names, samples, group_names)

    def picture(self, row: int) -> np.ndarray:
        """Return the picture of a row as stored: uint8 (H, W, 3). Raises InputError for anything that is no picture."""
        where = f"data set {self.name}: picture {row}"
        try:
            found = self.pictures[row]
        except InputError:
            raise
        except Exception as error:  # the user's code may raise anything
            said = shortened(" ".join(f"{type(error).__name__}: {error}".split()), SAID)
            raise InputError(f"{where} cannot be read ({said}); repair the data set") from None
        return as_rgb(found, where)

    def image(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray:
        picture = self.picture(row)
        if size is None:
            return picture
        height, width = picture.shape[:2]
        return np.asarray(Geometry.of(width, height, size, fit).apply(Image.fromarray(picture)))

    def check_picture(self, row: int) -> None:
        self.picture(row)

    def alpha(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray | None:
        mask = None if self.masks is None else self.masks[row]
        if mask is None:
            return None
        alpha = as_alpha(mask, f"data set {self.name}: mask {row}")
        width, height = self.source_size(row)
        if alpha.shape != (height, width):
            raise InputError(f"data set {self.name}: mask {row} is {alpha.shape}; expected {(height, width)}")
        return alpha if size is None else resize_alpha(alpha, size, fit)

    def box(self, row: int, size: int | None = None, fit: str = "crop") -> Box | None:
        if self.boxes is None or np.isnan(self.boxes[row]).any():
            return None
        x0, y0, x1, y1 = box = tuple(map(float, self.boxes[row]))
        width, height = self.source_size(row)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise InputError(
                f"data set {self.name}: box {box} of picture {row} is not inside its {width} x {height} pixels;"
                " expected x0, y0, x1, y1, half open"
            )
        if size is None:
            return math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
        return Geometry.of(width, height, size, fit).map_box((x0, y0, x1, y1))

    @property
    def annotated(self) -> bool:
        return self.boxes is not None or self.masks is not None

    def annotations_digest(self) -> str:
        if not self.annotated:
            return ""
        digest = hashlib.sha256(b"" if self.boxes is None else np.ascontiguousarray(self.boxes).tobytes())
        for row in range(0 if self.masks is None else len(self.masks)):
            mask = self.masks[row] if self.masks is not None else None
            digest.update(b"-" if mask is None else np.ascontiguousarray(np.asarray(mask)).tobytes())
        return digest.hexdigest()

    def source_size(self, row: int) -> tuple[int, int]:
        height, width = self.picture(row).shape[:2]
        return width, height

    def fingerprint(self) -> str:
        """Return sha256 over the table and the content of up to 256 pictures, spread over all: rows have no names."""
        if self.content is None:
            count = len(self.samples.name)
            rows = np.unique(np.linspace(0, count - 1, min(count, SAMPLED)).round().astype(np.int64))
            self.content = self.digest(rows)
        return hashlib.sha256(f"{super().fingerprint()} {self.content}".encode()).hexdigest()
