"""The full state of a run in one safetensors file, written beside its name and renamed; tied to the run's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from clp_aug.common.files import written_beside
from clp_aug.contract.errors import InputError, UsageError


def write_state(path: Path, key: dict[str, Any], plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write tensors and plain JSON, atomically. key: the settings that a resumed run must share, as plain JSON."""
    metadata = {"key": json.dumps(key, sort_keys=True), "plain": json.dumps(plain)}
    with written_beside(path) as temporary:
        whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        temporary.write_bytes(to_bytes(whole, metadata))


def read_state(path: Path, key: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the plain JSON and the tensors that `write_state` wrote.

    Raises InputError for a missing or damaged file, UsageError, naming the setting, for one of another run.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        stored, plain = json.loads(metadata["key"]), json.loads(metadata["plain"])
    except FileNotFoundError:
        raise InputError(f"{path}: no checkpoint to resume from; run without --resume") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged checkpoint ({error}); remove it and start anew") from None
    current = json.loads(json.dumps(key))
    for name in sorted({*stored, *current}):
        if stored.get(name) != current.get(name):
            raise UsageError(
                f"{path} is of a run with {name} = {stored.get(name)!r}, now {current.get(name)!r}; use another --out"
            )
    return plain, tensors
