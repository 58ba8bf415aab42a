"""Torch's optimisers with equal results, without loading torch's compiler, which is the slowest part of a start.

Torch wraps each method of an optimiser for the compiler, and always loads the compiler for that. Here the methods are
used without these wrappers. A program that compiles its step must use torch's own.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar, cast

import torch

METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def quick(kind: type[Kind]) -> type[Kind]:
    """Return a torch optimiser class with the same name, steps and methods, without the wrappers of the methods."""
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(torch.optim.Optimizer, name)) for name in METHODS}
    methods |= {"step": torch.no_grad()(inspect.unwrap(kind.step)), "__doc__": kind.__doc__, "__module__": __name__}
    return cast(type[Kind], type(kind.__name__, (kind,), methods))


SGD = quick(torch.optim.SGD)
Adam = quick(torch.optim.Adam)
AdamW = quick(torch.optim.AdamW)
LBFGS = quick(torch.optim.LBFGS)
LIKE: dict[type[torch.optim.Optimizer], type[torch.optim.Optimizer]] = {
    SGD: torch.optim.SGD, Adam: torch.optim.Adam, AdamW: torch.optim.AdamW, LBFGS: torch.optim.LBFGS,
}  # fmt: skip
"""Optimiser -> torch's optimiser with the same steps."""
