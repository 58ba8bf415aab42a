"""Arrays that are made once and lie in a folder, memory-mapped: decoded pictures, features of a frozen body.

A file holds the bytes of an array and then their digest, which is checked each time before it is used. There is no
header that could be damaged: shape and type are known to who asks, and are part of the digest.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from clp_aug.common.files import check_name, disk_error, remove_leftovers, written_beside
from clp_aug.common.locks import held_for, is_held, lock_of
from clp_aug.contract.errors import InputError, UsageError

SUFFIX = ".array"
LEFTOVER = re.compile(rf"\.?(\w+{re.escape(SUFFIX)})\.(lock|tmp-.*)")
"""Names of what a killed run leaves: the lock and the unfinished file of a cache file, whose name is the group."""
BLOCK = 1 << 22  # bytes that are read at a time
COPIED = 1 << 26  # bytes that are copied from a device at a time
NO_ROOM_IS_KEPT = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
KNOWN = WeakTensorKeyDictionary()
"""Digests of what was read from a cache: it is not read through again to know them."""


def path_of(folder: Path, *key: object) -> Path:
    """Return the file of a key, whose parts have a repr that says all."""
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
    """Return a tensor on a device, itself if it lies there; what was read from a cache stays known."""
    there = values.to(device)
    if there is not values and values in KNOWN:
        KNOWN.setdefault(there, KNOWN[values])
    return there


def digest_begun(shape: tuple[int, ...], kind: np.dtype[Any]) -> Any:
    """Return the digest of an array as it is before the first byte."""
    return hashlib.sha256(repr((tuple(shape), kind.str)).encode())


def load_or_fill(path: Path, shape: tuple[int, ...], dtype: type, parts: Callable[[], Iterable[np.ndarray]]) -> Tensor:
    """Return the array of a file, mapped into memory, copy on write; make the file of its parts if need be.

    parts: makes the array, some rows at a time and in order. While a process does so, others that ask for the file wait
    for it. Raises InputError when the disk refuses, or for a file that does not hold what was written.
    """
    kind = np.dtype(dtype)
    check_name(path)
    if not is_there(path):
        make_folder(path.parent)
        with held_for(path, wait=True):
            if not is_there(path):
                remove_leftovers_in(path)
                write(path, shape, kind, parts)
    else:
        with contextlib.suppress(InputError):
            is_held(lock_of(path))  # one that was killed at the very end left its lock
    return read(path, shape, kind)


def is_there(path: Path) -> bool:
    """Tell whether there is a file. Raises InputError where the disk does not say."""
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
    """Remove what killed runs left of a file whose lock is held, and of those beside it that nobody is making."""
    remove_leftovers(path)
    try:
        left = {match[1] for match in map(LEFTOVER.fullmatch, os.listdir(path.parent)) if match}
    except OSError:
        return
    for name in left - {path.name}:
        with contextlib.suppress(UsageError, InputError), held_for(path.with_name(name)):  # else it is being made
            remove_leftovers(path.with_name(name))


def write(path: Path, shape: tuple[int, ...], kind: np.dtype[Any], parts: Callable[[], Iterable[np.ndarray]]) -> None:
    """Write an array by its parts, and its digest. Raises InputError when the disk refuses, before the first part if it
    is full.
    """
    size, digest = size_of(shape, kind), digest_begun(shape, kind)
    with written_beside(path) as temporary, open(temporary, "xb") as file:
        keep_room(file, size + digest.digest_size)
        for part in parts():
            values = np.ascontiguousarray(part, kind)
            file.write(values.data)
            digest.update(values.data)
        if file.tell() != size:
            raise ValueError(f"{path}: the parts have {file.tell()} bytes, {kind} {shape} has {size}")
        file.write(digest.digest())


def keep_room(file: IO[bytes], size: int) -> None:
    """Keep room for a file, where the system can, so that a full disk is known at once."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in NO_ROOM_IS_KEPT:
                raise


def read(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> Tensor:
    """Return the array of a file, mapped into memory, copy on write.

    All of it is read through once, as fast as disk and sha256 allow. Raises InputError for a file that does not hold
    what was written, or when the disk refuses.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            digest = check(file, shape, kind)
            values = np.memmap(file, kind, "c", 0, shape) if size_of(shape, kind) else np.empty(shape, kind)
    except OSError as error:
        raise disk_error(path, error, "read") from None
    except ValueError as error:
        raise InputError(f"{path}: damaged cache ({error}); remove it") from None
    tensor = torch.from_numpy(values)
    KNOWN.setdefault(tensor, digest)
    return tensor


def check(file: IO[bytes], shape: tuple[int, ...], kind: np.dtype[Any]) -> str:
    """Return the digest of the array in a file. Raises ValueError for a file that does not hold what was written."""
    digest, left = digest_begun(shape, kind), size_of(shape, kind)
    size, expected = os.fstat(file.fileno()).st_size, left + digest.digest_size
    if size != expected:
        raise ValueError(f"{size} bytes, expected {expected}")
    block = memoryview(bytearray(BLOCK))
    while left:
        count = file.readinto(block[: min(BLOCK, left)])  # type: ignore[attr-defined]  # of a file without a buffer
        if not count:
            raise ValueError(f"it ends {left} bytes too early")
        digest.update(block[:count])
        left -= count
    if file.read() != digest.digest():
        raise ValueError("other bytes than were written")
    return str(digest.hexdigest())


def size_of(shape: tuple[int, ...], kind: np.dtype[Any]) -> int:
    """Return the bytes of an array."""
    return int(np.prod(shape, dtype=np.int64)) * kind.itemsize
