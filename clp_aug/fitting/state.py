"""The full state of a fit in one file, written beside its name and renamed: a killed fit goes on bit by bit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.files import written_beside


@dataclass(frozen=True)
class Checkpoint:
    """Where a fit's state is. key: the settings that a resumed fit must share, as plain JSON; parts: what has a
    state, networks and optimisers, by name.
    """

    path: Path
    key: dict
    parts: dict[str, nn.Module | torch.optim.Optimizer]

    def save(self, plain: dict) -> None:
        """Write the state and whatever plain JSON goes with it."""
        tensors = {f"{name}/{key}": v for name, part in self.parts.items() for key, v in tensors_of(part).items()}
        metadata = {"key": json.dumps(self.key, sort_keys=True), "plain": json.dumps(plain)}
        with written_beside(self.path) as temporary:
            temporary.write_bytes(save(tensors, metadata))

    def load(self) -> dict:
        """Take up the state and return the plain JSON.

        Raises InputError for a missing or damaged file, UsageError, naming the setting, for that of another fit.
        """
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found, plain = json.loads(metadata["key"]), json.loads(metadata["plain"])
        except FileNotFoundError:
            raise InputError(f"{self.path}: nothing to resume from; run without --resume") from None
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: damaged checkpoint ({error}); remove it and start anew") from None
        wanted = json.loads(json.dumps(self.key))
        for name in sorted({*found, *wanted}):
            if found.get(name) != wanted.get(name):
                raise UsageError(
                    f"{self.path} is of a fit with {name} = {found.get(name)!r}, now {wanted.get(name)!r};"
                    " use another --out"
                )
        for name, part in self.parts.items():
            own = {key.removeprefix(f"{name}/"): v for key, v in tensors.items() if key.startswith(f"{name}/")}
            take_up(part, own)
        return plain


def tensors_of(part: nn.Module | torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of a network or an optimiser as contiguous tensors by name."""
    if isinstance(part, nn.Module):
        return {name: v.detach().contiguous() for name, v in part.state_dict().items()}
    slots = part.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(v).contiguous() for i, s in slots.items() for name, v in s.items()}


def take_up(part: nn.Module | torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give a network or an optimiser a state that `tensors_of` gave."""
    if isinstance(part, nn.Module):
        part.load_state_dict(tensors)
        return
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        i, name = key.split(".")
        slots.setdefault(int(i), {})[name] = value
    part.load_state_dict({**part.state_dict(), "state": slots})
