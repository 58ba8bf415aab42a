"""The state of a run in one safetensors file, written under a temporary name and renamed; tied to the run's settings.

A digest over its whole content is checked first: otherwise training could go on for hours with a changed bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from clp_aug.common.files import disk_error, written_beside
from clp_aug.common.plugins import difference
from clp_aug.contract.errors import InputError, UsageError

LENGTH = 8  # bytes of the header's length in a safetensors file
DAMAGED = (SafetensorError, RecursionError, KeyError, TypeError, ValueError)
"""Errors of reading a file that is no state, without the errors of the system."""


class OtherRunError(UsageError):
    """A state belongs to a run with other settings. name, stored, current: of the first setting that differs."""

    def __init__(self, path: Path, name: str, stored: object, current: object) -> None:
        self.path, self.name, self.stored, self.current = path, name, stored, current
        what = f"is of a run with {name} = {stored!r}, now {current!r};"
        if name == "pictures":  # a digest, which says nothing to a user
            what = "is of a run on other pictures than now; restore those, or"
        if name == "plugins":
            what = f"is of a run with {difference(stored, current)};"
        super().__init__(f"{path} {what} choose another --out")


def write_state(path: Path, key: dict[str, Any], plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write tensors and plain JSON, atomically. key: the settings that a resumed run must share, as plain JSON."""
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"key": json.dumps(key, sort_keys=True), "plain": json.dumps(plain)}
    metadata["sha256"] = digest_of(metadata, whole)
    with written_beside(path) as temporary, open(temporary, "wb") as file:
        for part in in_order(memoryview(to_bytes(whole, metadata))):
            file.write(part)


def in_order(data: memoryview) -> tuple[bytes, memoryview]:
    """Return a safetensors file in two parts, with its metadata sorted by name: the library's order is random."""
    end = LENGTH + int.from_bytes(data[:LENGTH], "little")
    header = json.loads(bytes(data[LENGTH:end]))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)  # the values begin at a multiple of eight
    return len(text).to_bytes(LENGTH, "little") + text, data[end:]


def read_state(path: Path, key: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the plain JSON and the tensors, in memory, of a file from `write_state`.

    Raises InputError for a missing or damaged file, OtherRunError for a file of another run.
    """
    try:
        metadata, tensors = contents(path)
        if metadata.get("sha256") != digest_of(metadata, tensors):
            raise InputError(f"{path}: a checkpoint of an earlier version, or damaged; remove it and start again")
        stored, plain = (json.loads(metadata[name]) for name in ("key", "plain"))
        if not isinstance(stored, dict) or not isinstance(plain, dict):
            raise ValueError("expected objects")
    except FileNotFoundError:
        raise InputError(f"{path}: no checkpoint to resume from; run without --resume") from None
    except OSError as error:
        raise disk_error(path, error, "read") from None
    except DAMAGED as error:
        raise InputError(f"{path}: damaged checkpoint ({error}); remove it and start again") from None
    current = json.loads(json.dumps(key))
    for name in sorted({*stored, *current}):
        if stored.get(name) != current.get(name):
            raise OtherRunError(path, name, stored.get(name), current.get(name))
    return plain, tensors


def contents(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a safetensors file; raises OSError and DAMAGED."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def digest_of(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return sha256, in hexadecimal, over a state: its two texts, and names, types, shapes and bytes of its tensors.

    Raises KeyError without the texts.
    """
    table = [(name, str(value.dtype), list(value.shape)) for name, value in sorted(tensors.items())]
    digest = hashlib.sha256(json.dumps([metadata["key"], metadata["plain"], table]).encode())
    for _, value in sorted(tensors.items()):
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_same_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless tensors have the names, shapes and types of the expected ones."""
    for name in sorted({*tensors, *expected}):
        if name not in tensors or name not in expected:
            raise ValueError(f"{'an unknown' if name in tensors else 'no'} tensor {name}")
        found, wanted = ((value.dtype, tuple(value.shape)) for value in (tensors[name], expected[name]))
        if found != wanted:
            raise ValueError(f"tensor {name} is {found[0]} {found[1]}, expected {wanted[0]} {wanted[1]}")
