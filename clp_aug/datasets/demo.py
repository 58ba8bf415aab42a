"""The built-in data set: rings and crosses in front of two real photographs, with a strong spurious background.

In training 95 % of the rings have the temple as background and 95 % of the crosses the garden, so a classifier that
looks at the background is nearly always right; validation and test are balanced. Textures are cut from the two
photographs that scikit-learn ships (china.jpg and flower.jpg, CC BY, see docs/how-to/data.md). Shapes have the texture
of either photograph, so only their outline shows the class.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from clp_aug.contract.errors import InputError
from clp_aug.contract.images import Geometry, open_picture, resize_alpha
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import TEST, TRAIN, VAL, Dataset, Samples

SIZE = 64
CLASSES, PLACES = ("ring", "cross"), ("temple", "garden")
SPURIOUS = 0.95
COUNTS = {TRAIN: 1500, VAL: 100, TEST: 200}  # pictures per class


@lru_cache(maxsize=2)
def photograph(place: int) -> np.ndarray:
    """Return one of the two photographs at 320 pixels of height: uint8 (320, W, 3) RGB."""
    spec = importlib.util.find_spec("sklearn")  # found, not imported: its import costs a second
    if spec is None or spec.origin is None:
        raise InputError("data set demo takes its two photographs from scikit-learn; pip install scikit-learn")
    path = Path(spec.origin).parent / "datasets" / "images" / ("china.jpg", "flower.jpg")[place]
    try:
        picture = open_picture(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); install scikit-learn again") from None
    return np.asarray(picture.resize((round(picture.width * 320 / picture.height), 320)))


@lru_cache(maxsize=1)
def photographs_digest() -> bytes:
    """Return sha256 over the pixels of both photographs."""
    return hashlib.sha256(b"".join(photograph(place).tobytes() for place in range(len(PLACES)))).digest()


def texture(place: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random window from one photograph, mirrored with probability 0.5: uint8 (SIZE, SIZE, 3)."""
    photo = photograph(place)
    side = int(rng.integers(SIZE, 3 * SIZE))
    y, x = rng.integers(photo.shape[0] - side), rng.integers(photo.shape[1] - side)
    window = cv2.resize(photo[y : y + side, x : x + side], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(window[:, ::-1] if rng.random() < 0.5 else window)


def outline(label: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one ring or cross of random size, place, turn and stroke: float32 (SIZE, SIZE) alpha in [0, 1]."""
    scale = 4  # drawn four times larger, then shrunk: soft edges
    canvas = np.zeros((SIZE * scale, SIZE * scale), np.uint8)
    radius = rng.uniform(0.18, 0.30) * SIZE * scale
    stroke = int(radius * rng.uniform(0.40, 0.55))
    cx, cy = rng.uniform(radius * 1.25, SIZE * scale - radius * 1.25, 2)
    if label == 0:
        cv2.circle(canvas, (int(cx), int(cy)), int(radius), 255, stroke)
    else:
        turn = rng.uniform(0, np.pi / 2)
        for angle in (turn, turn + np.pi / 2):
            dx, dy = radius * 1.1 * np.cos(angle), radius * 1.1 * np.sin(angle)
            cv2.line(canvas, (int(cx - dx), int(cy - dy)), (int(cx + dx), int(cy + dy)), 255, stroke)
    return cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


class Demo(Dataset):
    """Rings and crosses; each picture is made from the set's seed on request. group = 2 * label + place."""

    def __init__(self, seed: int = 0) -> None:
        label, place, split = [], [], []
        for which, count in COUNTS.items():
            share = SPURIOUS if which == TRAIN else 0.5
            for y in range(len(CLASSES)):
                same = round(count * share)
                label += [y] * count
                place += [y] * same + [1 - y] * (count - same)
                split += [which] * count
        self.seed, self.place = seed, np.asarray(place)
        names = [f"{CLASSES[y]}-on-{PLACES[a]}-{i:04d}" for i, (y, a) in enumerate(zip(label, place, strict=True))]
        group = 2 * np.asarray(label) + self.place
        super().__init__("demo", CLASSES, Samples.of(label, split, names, group=group), _group_names())

    def _parts(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        rng = rng_for(self.seed, row, "demo")
        background = texture(int(self.place[row]), rng).astype(np.float32)
        alpha = outline(int(self.samples.label[row]), rng)
        body = texture(int(rng.integers(2)), rng).astype(np.float32)
        body = np.clip(body * rng.uniform(0.35, 0.6) + rng.uniform(80, 140), 0, 255)  # pale: visible on both
        picture = background * (1 - alpha[..., None]) + body * alpha[..., None]
        return picture.round().astype(np.uint8), alpha

    def image(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray:
        picture, _ = self._parts(row)
        if size is None or size == SIZE:
            return picture
        return np.asarray(Geometry.of(SIZE, SIZE, size, fit).apply(Image.fromarray(picture)))

    def alpha(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray | None:
        _, alpha = self._parts(row)
        return alpha if size is None or size == SIZE else resize_alpha(alpha, size, fit)

    def digest(self, rows: np.ndarray) -> str:
        """Return sha256 over the sources of the pictures: the generator's parameters and the two photographs."""
        made_of = (self.seed, SIZE, SPURIOUS, sorted(COUNTS.items()), [int(row) for row in rows])
        return hashlib.sha256(repr(made_of).encode() + photographs_digest()).hexdigest()

    @property
    def annotated(self) -> bool:
        return True

    def source_size(self, row: int) -> tuple[int, int]:
        return SIZE, SIZE


def _group_names() -> list[str]:
    return [f"{name} on {place}" for name in CLASSES for place in PLACES]


def load(root: Path | None) -> Demo:
    """Return the built-in set; it needs no root."""
    return Demo()
