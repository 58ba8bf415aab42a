"""The loop of every fit: batches made in advance, a full state on disk at intervals, a curve on validation pictures,
the weights at the end. A killed and resumed fit writes the same bytes, on a CPU with the same number of threads. On
another device it continues at the same step, with the same batches.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor, nn

from clp_aug.common.files import disk_error, disk_errors, remove_leftovers, temporary_name, written_beside
from clp_aug.common.locks import held_for, lock_of
from clp_aug.common.rounding import convolutions, products, rounded
from clp_aug.contract.errors import UsageError
from clp_aug.fitting.config import CURVE, PRECISIONS, STATE, Fit
from clp_aug.fitting.finite import StepLoss, check_finite, check_loss, read, read_later
from clp_aug.fitting.sources import bytes_of
from clp_aug.fitting.state import Checkpoint
from clp_aug.nets.devices import CPU, find_device, require_precision
from clp_aug.nets.state import DAMAGED, contents

WARM_UP = 100  # steps
READ_INTERVAL = 20  # steps between two checks of their losses, if a check makes a device wait
Parts = dict[str, nn.Module | torch.optim.Optimizer]
"""The parts with a state, by name."""

OnStep = Callable[[int, dict[str, float]], None]
"""(finished steps, losses of the last step by name), called after each step whose losses are read; on the CPU after
every step.
"""


class Task(Protocol):
    """A fit. parts: everything with a state, by name; network: written at the end."""

    @property
    def network(self) -> nn.Module: ...
    @property
    def parts(self) -> Parts: ...

    def batch(self, step: int) -> Any:
        """Return the batch of a step, a pure function of its number; called on another thread."""

    def learn(self, step: int, batch: Any) -> dict[str, Tensor]:
        """Do one step and return its losses by name."""

    def validate(self) -> Mapping[str, float | None]:
        """Return measures on validation pictures."""


def no_report(done: int, losses: dict[str, float]) -> None:
    """Show nothing."""


def run(config: Fit, task: Task, pictures: str, on_step: OnStep, resume: bool) -> None:
    """Fit, from the start or from the state on disk, and write the weights.

    pictures: fingerprint of the training pictures. Raises InputError if there is no state to resume from or if numbers
    are not finite, UsageError for the state of another fit.
    """
    checkpoint = Checkpoint(state_file(config), config.key() | {"pictures": pictures}, task.parts)
    at: dict[str, Any] = checkpoint.load(config.steps) if resume else {"step": 0, "curve": []}
    places = (*products(), *convolutions())  # some devices round in them by default
    with rounded(places, config.precision == "tf32"):
        fit_from(at, config, task, checkpoint, on_step)
    write_weights(task.network, config)
    checkpoint.path.unlink(missing_ok=True)


def fit_from(at: dict[str, Any], config: Fit, task: Task, checkpoint: Checkpoint, on_step: OnStep) -> None:
    """Do the remaining steps. at: finished steps, and the curve so far. Raises InputError for NaN and infinity."""
    device, unread = device_of(task.network), list[StepLoss]()
    interval = 1 if device == CPU else READ_INTERVAL
    for step, batch in enumerate(made_ahead(task.batch, at["step"], config.steps), at["step"]):
        with read_later(unread, device):
            losses = task.learn(step, batch)
        done = step + 1
        last, is_due = done == config.steps, done % config.checkpoint_interval == 0
        if last or is_due or done % interval == 0:
            read(unread)
            on_step(done, {name: loss.item() for name, loss in losses.items()})
        if last or is_due:
            check_finite(task.network.state_dict().values(), f"step {step}: weights")
        if done % config.validate_interval == 0 or last:
            at["curve"].append({"step": done, **task.validate()})
            write_curve(config, at["curve"])
        if is_due and not last:
            checkpoint.save({"step": done, "curve": at["curve"], **({} if device == CPU else {"device": device})})


def device_for(config: Fit) -> torch.device:
    """Return the device of a fit. Raises SettingError for a missing device, or a precision that it does not have."""
    device = find_device(config.device)
    require_precision(device, config.precision, PRECISIONS)
    return device


def device_of(network: nn.Module) -> str:
    """Return the kind of a network's device."""
    return next(network.parameters()).device.type


def moved(batch: tuple[Tensor, ...], network: nn.Module) -> tuple[Tensor, ...]:
    """Return the parts of a batch on the network's device."""
    device = next(network.parameters()).device
    return tuple(part.to(device) for part in batch)


def remark_on(config: Fit, device: str) -> str:
    """Return a remark if a fit was begun on another kind of device, else "".

    device: its kind now.
    """
    with suppress(OSError, AttributeError, *DAMAGED):
        before = json.loads(contents(state_file(config))[0]["plain"]).get("device", CPU)
        if before != device:
            return f"begun on {before}, continues on {device}: a fit is bit-identical only on one machine"
    return ""


@contextmanager
def prepared(config: Fit, resume: bool) -> Iterator[None]:
    """Lock the output of a fit while the fit runs, and remove leftovers of killed fits.

    Raises the errors of `check_free`, UsageError if another process holds it, InputError if the disk refuses.
    """
    state = state_file(config)
    with disk_errors(config.out), held_for(config.out, "fit", place=lock_of(state)):
        remove_finished_state(config)
        check_free(config, resume)
        for path in (config.out, state, curve_file(config)):
            remove_leftovers(path)
            check_place(path)
        yield


def check_free(config: Fit, resume: bool) -> None:
    """Raise UsageError if weights, or an unfinished fit without --resume, would be lost."""
    with disk_errors(config.out):
        if config.out.is_dir():
            raise UsageError(f"{config.out} is a folder; give the name of a file, {config.out / 'mine.safetensors'}")
        if config.out.exists():
            raise UsageError(f"{config.out} holds weights already; choose another --out or remove it")
        if state_file(config).exists() and not resume:
            raise UsageError(f"{state_file(config)} is an unfinished fit; give --resume to continue, or another --out")


def remove_finished_state(config: Fit) -> None:
    """Remove the state of the fit that wrote the weights, if it was killed right after that. Other states stay."""
    state = state_file(config)
    with suppress(OSError, AttributeError, *DAMAGED):
        of_weights, of_state = json.loads(contents(config.out)[0]["settings"]), json.loads(contents(state)[0]["key"])
        if {name: value for name, value in of_state.items() if name != "pictures"} == of_weights:
            state.unlink()


def check_place(path: Path) -> None:
    """Raise InputError, before the first step, if no temporary file can be written beside `path`."""
    temporary = temporary_name(path)
    try:
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise disk_error(path, error) from None


def state_file(config: Fit) -> Path:
    """Return the path of a fit's full state; the file exists until the weights are written."""
    return config.out.with_suffix(STATE)


def curve_file(config: Fit) -> Path:
    """Return the path of a fit's validation curve: one JSON line per point."""
    return config.out.with_suffix(CURVE)


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
    """Set the learning rates of a step (from 0): linear warm-up to each group's `start`, then half a cosine down to
    0.
    """
    factor = min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / config.steps)) / 2
    for group in optimiser.param_groups:
        group["lr"] = factor * group["start"]


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, config: Fit, step: int) -> None:
    """Do one step of the optimiser on the loss. Raises the errors of `check_loss`."""
    check_loss(loss, step)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a SHA-256 over the names and the bytes of files. Raises InputError for a file that cannot be read."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(os.fsencode(path.name)).digest() + hashlib.sha256(bytes_of(path)).digest())
    return whole.hexdigest()


def write_curve(config: Fit, curve: list[dict[str, Any]]) -> None:
    """Write the validation curve so far beside the weights, one JSON line per point."""
    with written_beside(curve_file(config)) as temporary:
        temporary.write_text("".join(json.dumps(point) + "\n" for point in curve), encoding="utf-8")


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, for writing files."""
    return {name: value.cpu() for name, value in tensors.items()}


def write_weights(network: nn.Module, config: Fit) -> None:
    """Write the weights in half precision, with the settings that made them."""
    state = {name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
             for name, value in on_cpu(network.state_dict()).items()}  # fmt: skip
    check_finite(state.values(), "the weights in half precision")
    with written_beside(config.out) as temporary:
        temporary.write_bytes(save(state, {"settings": json.dumps(config.key(), sort_keys=True)}))
