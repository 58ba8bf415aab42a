"""The state of a fit in one file, written under a temporary name and renamed: a killed fit resumes bit-identical."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clp_aug.contract.errors import InputError
from clp_aug.nets.state import read_state, write_state


@dataclass(frozen=True)
class Checkpoint:
    """The file of a fit's state. key: the settings that a resumed fit must share, as plain JSON; parts: networks and
    optimisers by name, on any device: the file is the same.
    """

    path: Path
    key: dict[str, Any]
    parts: dict[str, nn.Module | torch.optim.Optimizer]

    def save(self, plain: dict[str, Any]) -> None:
        """Write the state together with plain JSON."""
        tensors = {f"{name}/{key}": v for name, part in self.parts.items() for key, v in tensors_of(part).items()}
        write_state(self.path, self.key, plain, tensors)

    def load(self, steps: int) -> dict[str, Any]:
        """Load the state into the parts and return the plain JSON: its "step" is in [0, steps), its "curve" is a list.

        Raises the errors of `read_state`, and InputError for a state that does not fit the parts.
        """
        plain, tensors = read_state(self.path, self.key)
        try:
            if type(plain["step"]) is not int or plain["step"] not in range(steps) or type(plain["curve"]) is not list:
                raise ValueError(f"step {plain['step']!r}")
            for name, part in self.parts.items():
                state = {key.removeprefix(f"{name}/"): v for key, v in tensors.items() if key.startswith(f"{name}/")}
                take_up(part, state)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.path}: the state of another fit ({reason}); remove it and start again") from None
        return plain


def tensors_of(part: nn.Module | torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of a network or an optimiser as contiguous tensors by name."""
    if isinstance(part, nn.Module):
        return {name: v.detach().contiguous() for name, v in part.state_dict().items()}
    slots = part.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(v).contiguous() for i, s in slots.items() for name, v in s.items()}


def take_up(part: nn.Module | torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load a state from `tensors_of` into a network or an optimiser. Raises many kinds of errors for another state."""
    if isinstance(part, nn.Module):
        part.load_state_dict(tensors)
        return
    weights = [weight for group in part.param_groups for weight in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        i, name = key.split(".")
        if value.dim() and value.shape != weights[int(i)].shape:
            raise ValueError(f"{key} is {tuple(value.shape)}")
        slots.setdefault(int(i), {})[name] = value
    part.load_state_dict({**part.state_dict(), "state": slots})
