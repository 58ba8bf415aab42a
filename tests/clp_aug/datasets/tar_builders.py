"""Made tar files for tests, in the layout of webdataset."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

Members = Mapping[str, bytes] | Iterable[tuple[str, bytes]]
LABELS = {"cat": 0, "dog": 1}


def picture(seed: int = 0, size: tuple[int, int] = (8, 6), kind: str = "JPEG") -> bytes:
    """Return one noise picture of (width, height) pixels as a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def mask(value: int = 255, size: tuple[int, int] = (8, 6)) -> bytes:
    """Return one mask as a PNG file: `value` in its middle, 0 around it."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[1:-1, 1:-1] = value
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: Members, form: int = tarfile.GNU_FORMAT) -> Path:
    """Write files into a tar, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def add(path: Path, info: tarfile.TarInfo, data: bytes = b"") -> Path:
    """Write a tar of one picture with its label, and one more member of any kind behind it."""
    with tarfile.open(path, "w") as tar:
        for name, content in {"cat/0.jpg": picture(), "cat/0.cls": b"0"}.items():
            plain = tarfile.TarInfo(name)
            plain.size = len(content)
            tar.addfile(plain, io.BytesIO(content))
        tar.addfile(info, io.BytesIO(data))
    return path


def samples(count: int, seed: int = 0, classes: int = 2, more: Mapping[str, object] | None = None) -> dict[str, bytes]:
    """Return the members of some samples: a picture and its label, and a JSON file of `more`."""
    members = {}
    for k in range(count):
        members[f"{k:06d}.jpg"] = picture(seed + k)
        members[f"{k:06d}.cls"] = str(k % classes).encode()
        if more:
            members[f"{k:06d}.json"] = json.dumps(dict(more)).encode()
    return members


def make_wds(root: Path) -> Path:
    """Write tars of three splits: two of train with three pictures each, one of val and one of test."""
    for name, count, seed in (("train-0", 3, 0), ("train-1", 3, 10), ("val-0", 2, 20), ("test-0", 2, 30)):
        write_tar(root / f"{name}.tar", samples(count, seed))
    return root
