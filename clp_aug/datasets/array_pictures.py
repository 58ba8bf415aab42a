"""READ: turn the pictures and masks that people have in Python, and entries of torch data sets, into arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from clp_aug.contract.errors import InputError
from clp_aug.contract.images import to_rgb
from clp_aug.datasets.names import shortened

CHANNELS = (1, 3)
PICTURE, LABEL = ("image", "img", "picture"), ("label", "labels", "target")
"""Keys of entries that are mappings."""
REMEDY = "expected uint8, or floats in [0, 1]: leave normalisation out of the data set"


class ByRow(Protocol):
    """An object that returns an entry by number, for example an array or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Any: ...


class Entries:
    """The pictures of one or several torch data sets, one after the other: `[row]` is the picture of an entry."""

    def __init__(self, parts: Sequence[ByRow]) -> None:
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, row: int) -> Any:
        part = int(np.searchsorted(self.ends, row, side="right"))
        entry = self.parts[part][int(row) - int(self.ends[part] - len(self.parts[part]))]
        if isinstance(entry, Mapping):
            return entry[next((key for key in PICTURE if key in entry), PICTURE[0])]
        return entry[0] if isinstance(entry, (tuple, list)) else entry


def label_of(data: Any, row: int, name: str) -> Any:
    """Return the label of an entry of a torch data set. Raises InputError for an entry without one."""
    try:
        entry = data[row]
        if isinstance(entry, Mapping):
            return entry[next((key for key in LABEL if key in entry), LABEL[0])]
        if isinstance(entry, (tuple, list)):
            return entry[1]
    except Exception as error:  # the user's code may raise anything
        said = shortened(" ".join(f"{type(error).__name__}: {error}".split()), 200)
        raise InputError(f"data set {name}: no label of entry {row} ({said}); expected (picture, label)") from None
    raise InputError(f"data set {name}: entry {row} is a {type(entry).__name__}; expected (picture, label)")


def as_array(values: Any) -> np.ndarray:
    """Return an array, a tensor, or a list of numbers or of small tensors as an array."""
    if hasattr(values, "detach"):
        return np.asarray(values.detach().cpu().numpy())
    if isinstance(values, (list, tuple)):
        return np.array([value.item() if hasattr(value, "item") else value for value in values])
    return np.asarray(values)


def as_rgb(found: Any, where: str) -> np.ndarray:
    """Return a picture as uint8 (H, W, 3) RGB; see the module `arrays`. Raises InputError for anything else."""
    if isinstance(found, Image.Image):
        return np.asarray(to_rgb(found, where))
    values = as_array(found)
    if values.ndim not in (2, 3) or not values.size:
        kind = f"of shape {values.shape}" if values.ndim else f"a {type(found).__name__}"
        raise InputError(f"{where} is {kind}; expected height x width x 3, or 3 x height x width for a tensor")
    deep = values[..., None] if values.ndim == 2 else channels_last(values, hasattr(found, "detach"), where)
    pixels = as_levels(deep, where)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def channels_last(values: np.ndarray, is_tensor: bool, where: str) -> np.ndarray:
    """Return a picture of three axes as (H, W, 1 or 3): in a tensor the first axis is the channels if possible."""
    is_first, is_last = values.shape[0] in CHANNELS, values.shape[2] in CHANNELS
    if not is_first and not is_last:
        raise InputError(f"{where} is of shape {values.shape}; expected 1 or 3 channels")
    return values.transpose(1, 2, 0) if is_first and (is_tensor or not is_last) else values


def as_levels(values: np.ndarray, where: str) -> np.ndarray:
    """Return pixels as uint8. Raises InputError for integers outside 0..255 and floats outside [0, 1]."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values * np.uint8(255)
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise InputError(f"{where} holds {values.dtype} values, or values that are not finite; {REMEDY}")
    low, high = values.min(), values.max()
    if values.dtype.kind in "iu" and low >= 0 and high <= 255:
        return values.astype(np.uint8)
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.asarray((values * 255).round(), np.uint8)
    raise InputError(f"{where} has values {low:g} to {high:g} of {values.dtype}; {REMEDY}")


def as_alpha(mask: Any, where: str) -> np.ndarray:
    """Return a mask as float32 (H, W) in [0, 1]. Raises InputError for anything that is no mask."""
    values = as_array(mask)
    if values.ndim != 2:
        raise InputError(f"{where} is of shape {values.shape}; expected height x width")
    if values.dtype.kind in "iu" and values.max(initial=0) <= 1:  # of {0, 1}, as in a file
        return values.astype(np.float32)
    return np.asarray(as_levels(values, where), np.float32) / 255
