"""Arrays that are made once and kept in a folder, memory-mapped: decoded pictures, features of a frozen body.

Before each use, several threads read the whole file and check its digests. This costs less than checking whether the
pictures have changed, and a disk does not report data that it has lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from clp_aug.common.files import check_name, disk_error, remove_leftovers
from clp_aug.common.locks import held_for, is_held, lock_of
from clp_aug.contract.errors import InputError, UsageError
from clp_train.loading.blocks import Layout, check, digest_begun, mapped
from clp_train.loading.filling import UNFINISHED, Parts, fill, unfinished

SUFFIX = ".array"
LEFTOVER = re.compile(rf"\.?(\w+{re.escape(SUFFIX)})({re.escape(UNFINISHED)}|\.lock|\.tmp-.*)")
"""Names of files that a killed run leaves: lock and unfinished file; the group is the name of the cache file."""
KEPT = 7 * 24 * 3600
"""Seconds for which an abandoned unfinished file is kept."""
COPIED = 1 << 26  # bytes that are copied from a device at a time
KNOWN = WeakTensorKeyDictionary()
"""Digests of arrays that were read from a cache, so they need not be computed again."""


def path_of(folder: Path, *key: object) -> Path:
    """Return the file of a key; the repr of each part must identify it completely."""
    return folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}{SUFFIX}"


def digest_of(values: Tensor) -> str:
    """Return sha256, in hexadecimal, over shape, type and bytes of a tensor, the same on any device."""
    if values in KNOWN:
        return str(KNOWN[values])
    digest = digest_begun(values.shape, torch.empty(0, dtype=values.dtype).numpy().dtype)
    row_bytes = values.shape[1:].numel() * values.element_size()
    for part in values.split(max(1, COPIED // max(1, row_bytes))) if values.dim() else [values]:
        digest.update(np.ascontiguousarray(part.cpu().numpy()).data)
    return str(digest.hexdigest())


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, itself if it is there already; the digest of a cached array stays known."""
    there = values.to(device)
    if there is not values and values in KNOWN:
        KNOWN.setdefault(there, KNOWN[values])
    return there


def load_or_fill(path: Path, shape: tuple[int, ...], dtype: type, parts: Parts, together: int = 1) -> Tensor:
    """Return the array of a file, memory-mapped, copy on write; make the file from its parts if it is missing.

    parts: yields the array from a given row on, some rows at a time and in order; together: rows that are made
    together: `parts` starts only at multiples of it. While one process makes the file, others wait for it; after a
    kill, work continues at the unfinished block. Raises InputError when the disk refuses or for a damaged file, and
    everything that `parts` raises.
    """
    kind = np.dtype(dtype)
    check_name(path)
    if not is_there(path):
        make_folder(path.parent)
        with held_for(path, wait=True):
            if not is_there(path):
                remove_leftovers_in(path)
                fill(path, Layout.of(tuple(shape), kind, together), parts)
    else:
        with contextlib.suppress(InputError):
            is_held(lock_of(path))  # a process that was killed at the very end leaves its lock
    return read(path, tuple(shape), kind)


def is_there(path: Path) -> bool:
    """Return whether there is a file. Raises InputError when the disk refuses."""
    try:
        return path.exists()
    except OSError as error:
        raise disk_error(path, error, "read") from None


def make_folder(folder: Path) -> None:
    """Make a folder unless there is one. Raises InputError when the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error, "make folder") from None


def remove_leftovers_in(path: Path) -> None:
    """Remove leftovers of killed runs: of a file whose lock is held, and of its neighbours that nobody is making.

    Unfinished files stay: of this file always, of others for a week.
    """
    remove_leftovers(path)
    try:
        left = {match[1] for match in map(LEFTOVER.fullmatch, os.listdir(path.parent)) if match}
    except OSError:
        return
    for name in left - {path.name}:
        other = path.with_name(name)
        with contextlib.suppress(UsageError, InputError), held_for(other):  # else it is being made
            remove_leftovers(other)
            with contextlib.suppress(OSError):
                if time.time() - unfinished(other).stat().st_mtime > KEPT:
                    unfinished(other).unlink()


def read(path: Path, shape: tuple[int, ...], kind: np.dtype) -> Tensor:
    """Return the array of a file, memory-mapped, copy on write.

    The whole file is read and checked once. Raises InputError for a damaged file, or when the disk refuses.
    """
    try:
        digest = check(path, shape, kind)
        with open(path, "rb", buffering=0) as file:
            values = mapped(file, shape, kind)
    except OSError as error:
        raise disk_error(path, error, "read") from None
    except ValueError as error:
        raise InputError(f"{path}: damaged cache ({error}); remove it") from None
    tensor = torch.from_numpy(values)
    KNOWN.setdefault(tensor, digest)
    return tensor
