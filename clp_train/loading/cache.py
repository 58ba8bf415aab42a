"""Arrays that are made once and lie in a folder, memory-mapped: decoded pictures, features of a frozen body."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clp_aug.common.files import written_beside
from clp_aug.contract.errors import InputError


def path_of(folder: Path, *key: object) -> Path:
    """Return the file of a key, whose parts have a repr that says all."""
    return folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.npy"


def digest_of(array: np.ndarray) -> str:
    """Return sha256 over the bytes of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def load_or_fill(path: Path, shape: tuple[int, ...], dtype: type, fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """Return the array of a file, mapped into memory, copy on write; make the file with `fill` if need be.

    Raises InputError when the disk refuses, or for a file that is not such an array.
    """
    kind = np.dtype(dtype)
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make folder {path.parent} ({error.strerror}); choose another cache folder"
            ) from None
        with written_beside(path) as temporary:
            values = np.lib.format.open_memmap(temporary, "w+", kind, shape)
            fill(values)
            values.flush()
    try:
        values = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: damaged cache ({error}); remove it") from None
    if values.shape != shape or values.dtype != kind:
        raise InputError(f"{path}: damaged cache, {values.dtype} {values.shape}, expected {kind} {shape}; remove it")
    return values
