"""Tensors from a .safetensors file, read once: the hashed bytes are the loaded bytes, and nothing in it is executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load as from_bytes
from torch import Tensor

from clp_aug.contract.errors import InputError
from clp_aug.nets.reading import first_line, read_bytes

SHOWN = 3  # of the differences between two lists of tensors


class Stored(NamedTuple):
    """A file of weights. settings: JSON that was stored with them, {} for none; sha256: of its bytes."""

    tensors: dict[str, Tensor]
    settings: Any
    sha256: str


def read_stored(path: Path, largest: int) -> Stored:
    """Return the content of a file of weights. Raises the errors of `read_bytes` and `parse_stored`."""
    return parse_stored(read_bytes(path, largest))


def parse_stored(content: bytes) -> Stored:
    """Return the content of a .safetensors file from its bytes. Raises ValueError, with the reason, for other bytes."""
    try:
        tensors = from_bytes(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        settings = json.loads((header.get("__metadata__") or {}).get("settings", "{}"))
    except Exception as error:  # a parser may raise anything for hostile bytes
        raise ValueError(first_line(error)) from None
    return Stored(tensors, settings, hashlib.sha256(content).hexdigest())


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor."""
    return {name: tuple(value.shape) for name, value in tensors.items()}


def differences(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> str:
    """Return in one line how tensors, shapes by name, differ from the expected ones: the first few, or ""."""
    lines = []
    for name in [*expected, *(name for name in given if name not in expected)]:
        if expected.get(name) != given.get(name):
            lines.append(f"{name[:80]!r} is {given.get(name, 'missing')}, expected {expected.get(name, 'nothing')}")
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return ", ".join(lines[:SHOWN] + more)


def check_values(tensors: Mapping[str, Tensor], what: str, remedy: str) -> None:
    """Raise InputError unless all tensors are floating point and finite in float32. what, remedy: for its text."""
    for name, value in tensors.items():
        if not (value.is_floating_point() and value.to(torch.float32).isfinite().all()):
            raise InputError(f"{what}: {name} holds NaN, infinity or no floating point; {remedy}")
