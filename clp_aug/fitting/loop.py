"""The loop of a fit, whatever is fitted: batches made ahead, a full state on disk every so often, a curve on pictures
that are not learnt from, the weights at the end. Killed and resumed it writes the same bytes, on a CPU with the same
number of threads.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor, nn

from clp_aug.common.files import written_beside
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.fitting.config import Fit
from clp_aug.fitting.state import Checkpoint

WARM_UP = 100  # steps
Parts = dict[str, nn.Module | torch.optim.Optimizer]
"""What has a state, by name."""

OnStep = Callable[[int, dict[str, float]], None]
"""(steps done, losses by name), after each step."""


class Task(Protocol):
    """What is fitted. parts: everything that has a state, by name; network: what is written at the end."""

    @property
    def network(self) -> nn.Module: ...
    @property
    def parts(self) -> Parts: ...

    def batch(self, step: int) -> Any:
        """Return the batch of a step, a pure function of its number; called on another thread."""

    def learn(self, step: int, batch: Any) -> dict[str, Tensor]:
        """Do one step and return its losses by name."""

    def validate(self) -> Mapping[str, float | None]:
        """Return figures on pictures that are not learnt from."""


def no_report(done: int, losses: dict[str, float]) -> None:
    """Show nothing."""


def run(config: Fit, task: Task, pictures: str, on_step: OnStep, resume: bool) -> None:
    """Fit, from the start or from the state on disk, and write the weights.

    pictures: fingerprint of what is learnt from. Raises InputError when the disk refuses or there is no state to
    resume from, UsageError for the state of another fit.
    """
    checkpoint = Checkpoint(state_file(config), config.key() | {"pictures": pictures}, task.parts)
    at: dict[str, Any] = checkpoint.load() if resume else {"step": 0, "curve": []}
    for step, batch in enumerate(made_ahead(task.batch, at["step"], config.steps), at["step"]):
        losses = task.learn(step, batch)
        done = step + 1
        on_step(done, {name: loss.item() for name, loss in losses.items()})
        last = done == config.steps
        if done % config.validate_interval == 0 or last:
            at["curve"].append({"step": done, **task.validate()})
            write_curve(config.out, at["curve"])
        if done % config.checkpoint_interval == 0 and not last:
            checkpoint.save({"step": done, "curve": at["curve"]})
    write_weights(task.network, config)
    checkpoint.path.unlink(missing_ok=True)


def prepare(config: Fit, resume: bool) -> None:
    """Raise UsageError where weights, or an unfinished fit that is not to be resumed, would be lost."""
    if config.out.exists():
        raise UsageError(f"{config.out} holds weights already; choose another --out or remove it")
    if state_file(config).exists() and not resume:
        raise UsageError(f"{state_file(config)} is an unfinished fit; give --resume to go on, or another --out")


def state_file(config: Fit) -> Path:
    """Return where the full state of a fit lies until its weights are written."""
    return config.out.with_suffix(".checkpoint")


def made_ahead(batch: Callable[[int], Any], first: int, steps: int) -> Iterator[Any]:
    """Yield the batches of the steps from `first` on; the next one is made while one is used."""
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(batch, first)
        for step in range(first, steps):
            now = ahead.result()
            if step + 1 < steps:
                ahead = pool.submit(batch, step + 1)
            yield now


def set_rates(optimiser: torch.optim.Optimizer, config: Fit, step: int) -> None:
    """Set the step sizes of a step (from 0): a linear warm-up to each group's `start`, then half a cosine down to 0."""
    factor = min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / config.steps)) / 2
    for group in optimiser.param_groups:
        group["lr"] = factor * group["start"]


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, config: Fit, step: int) -> None:
    """Do one step of the optimiser down the loss. Raises InputError, saying what to do, when it is not finite."""
    if not loss.isfinite():
        raise InputError(f"step {step}: the loss is {loss.item()}; lower --lr, or --resume from {state_file(config)}")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a SHA-256 over the names and sizes in bytes of pictures."""
    return hashlib.sha256(repr([(path.name, path.stat().st_size) for path in paths]).encode()).hexdigest()


def write_curve(out: Path, curve: list[dict[str, Any]]) -> None:
    """Write the validation curve so far, a JSON line a point, beside the weights."""
    with written_beside(out.with_suffix(".jsonl")) as temporary:
        temporary.write_text("".join(json.dumps(point) + "\n" for point in curve))


def write_weights(network: nn.Module, config: Fit) -> None:
    """Write the weights in half precision, with the settings that made them."""
    state = {name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
             for name, value in network.state_dict().items()}  # fmt: skip
    with written_beside(config.out) as temporary:
        temporary.write_bytes(save(state, {"settings": json.dumps(config.key(), sort_keys=True)}))
