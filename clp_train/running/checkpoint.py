"""The full state of a run in one file, written under another name and renamed: a killed run continues bit by bit.

All randomness of a run is keyed by seed, epoch and step, so no generator is saved. The state is: weights, batch norm
statistics, the optimiser's and the method's own state, and the position in the run. A frozen body does not change, so
only its digest is saved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from clp_aug.contract.errors import InputError
from clp_aug.nets.state import check_same_tensors, read_state, write_state
from clp_train.algorithm.method import Method
from clp_train.algorithm.optimiser import KEPT, expected_state, optimiser_state
from clp_train.algorithm.step import StepLosses
from clp_train.evaluating.metrics import Metrics
from clp_train.loading.features import HEAD
from clp_train.running.clock import Spent

CHECKPOINT = "checkpoint.safetensors"
LAST, SELECTED = "last.safetensors", "selected.safetensors"
END = "end.safetensors"
"""The state at the end of a run without its networks, which have their own files, to continue a finished run."""
MISFITS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""Errors from loading the state of another run."""


@dataclass(frozen=True)
class Snapshot:
    """A network at the end of one epoch (from 1): its state, detached copies, and its metrics by split."""

    epoch: int
    state: dict[str, Tensor]
    metrics: dict[str, Metrics]


@dataclass
class Position:
    """The position of a run. step: finished steps; begun: whether the method has begun the present epoch; losses: of
    that epoch; history: one line per epoch; selected: by val; best: by test, without its state; spent: the time until
    the last save; machine: of the last save, in words.
    """

    step: int = 0
    begun: bool = False
    losses: list[StepLosses] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    selected: Snapshot | None = None
    best: Snapshot | None = None
    spent: Spent = field(default_factory=Spent)
    machine: str = ""

    @property
    def epoch(self) -> int:
        """The present epoch, from 0."""
        return len(self.history)


@dataclass(frozen=True)
class Checkpoint:
    """The file of a run's full state. key: settings and data that must be equal in a resumed run, as plain JSON;
    machine: of this process, in words; it may differ; beside: part of the state -> the file of weights that holds it
    instead; is_written: whether this process writes the file; only one of several ranks does.
    """

    path: Path
    key: dict[str, Any]
    machine: str = ""
    beside: Mapping[str, Path] = field(default_factory=dict)
    is_written: bool = True

    def at_end(self) -> Checkpoint:
        """Return the file of the same state at the end of the run."""
        beside = {"network": self.path.with_name(LAST), "selected": self.path.with_name(SELECTED)}
        return dataclasses.replace(self, path=self.path.with_name(END), beside=beside)

    def save(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, method: Method, position: Position, body: str = ""
    ) -> str:
        """Write the state, atomically; return its place in words.

        body: digest of a frozen body, which is left out; "" if the body learns.
        """
        if not self.is_written:
            return self.describe(position)
        tensors = prefixed("method", method.state_dict())
        if "network" not in self.beside:
            tensors |= prefixed("network", learnt(network.state_dict(), body))
        tensors |= optimiser_state(network, optimiser)
        if position.selected is not None and "selected" not in self.beside:
            tensors |= prefixed("selected", learnt(position.selected.state, body))
        plain = {
            "step": position.step,
            "begun": position.begun,
            "losses": [dataclasses.astuple(losses) for losses in position.losses],
            "history": position.history,
            "selected": snapshot_json(position.selected),
            "best": snapshot_json(position.best),
            "spent": position.spent,
            "machine": self.machine,
        }
        write_state(self.path, self.key, plain | ({"body": body} if body else {}), tensors)
        return self.describe(position)

    def describe(self, position: Position) -> str:
        """Return in words the place of the state of a position."""
        return f"last state: {self.path}, step {position.step}"

    def load(self, network: nn.Module, method: Method, body: str = "") -> tuple[Position, dict[str, Tensor]]:
        """Load the state; return the run's position and the optimiser's state, as `optimiser_state` returned it.

        body: as in `save`. Raises what `read_state` raises, and InputError for a state that does not fit.
        """
        plain, tensors = read_state(self.path, self.key)
        for part, path in self.beside.items():
            if part == "network" or plain.get(part) is not None:
                tensors |= prefixed(part, learnt(read_weights(path), body))
        if plain.get("body", "") != body:
            raise InputError(
                f"{self.path}: it is of a run with another frozen body; restore that, or choose another --out"
            )
        try:
            position = position_of(plain, network, tensors, body)
            kept = {name: value for name, value in tensors.items() if name.partition(".")[0] in KEPT}
            check_same_tensors(kept, {name: w for name, w in expected_state(network).items() if name in kept})
            network.load_state_dict(whole(unprefixed("network", tensors), network, body))
            method.load_state_dict(unprefixed("method", tensors))
        except MISFITS as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{self.path}: it is the state of another run ({reason}); remove it and start again"
            ) from None
        return position, kept


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights. Raises InputError for a file that is missing, or holds none."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; only another run can make it") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not the weights of this run ({error}); train again, with another --out") from None


def learnt(state: Mapping[str, Tensor], body: str) -> dict[str, Tensor]:
    """Return the part of a network's state that can change: all, or only the last layer on a frozen body."""
    return {name: value for name, value in state.items() if not body or name.startswith(HEAD)}


def whole(state: Mapping[str, Tensor], network: nn.Module, body: str) -> dict[str, Tensor]:
    """Return a state completed by the part that `learnt` left out. Raises ValueError for a state of another network."""
    current = network.state_dict()
    check_same_tensors(state, learnt(current, body))
    return {name: state[name] if name in state else value.detach().clone() for name, value in current.items()}


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under names with a prefix."""
    return {f"{prefix}.{name}": value for name, value in state.items()}


def unprefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with a prefix, under their names without it."""
    return {n.removeprefix(f"{prefix}."): v for n, v in tensors.items() if n.startswith(f"{prefix}.")}


def position_of(plain: dict[str, Any], network: nn.Module, tensors: Mapping[str, Tensor], body: str) -> Position:
    """Return the position that `save` wrote. Raises MISFITS if it is damaged."""
    if type(plain["step"]) is not int or plain["step"] < 0 or type(plain["begun"]) is not bool:
        raise ValueError(f"step {plain['step']!r}, begun {plain['begun']!r}")
    if not isinstance(plain["history"], list) or not all(isinstance(line, dict) for line in plain["history"]):
        raise ValueError("its history is no list of lines")
    losses = [StepLosses(*values) for values in plain["losses"]]
    selected = snapshot_of(plain["selected"], lambda: whole(unprefixed("selected", tensors), network, body))
    best = snapshot_of(plain["best"], dict)
    return Position(
        plain["step"],
        plain["begun"],
        losses,
        plain["history"],
        selected,
        best,
        Spent(*plain["spent"]),
        plain["machine"],
    )


def snapshot_json(snapshot: Snapshot | None) -> dict[str, Any] | None:
    """Return epoch and metrics of a snapshot as plain JSON, without its state; None for none."""
    if snapshot is None:
        return None
    return {
        "epoch": snapshot.epoch,
        "metrics": {name: dataclasses.asdict(m) for name, m in snapshot.metrics.items()},
    }


def snapshot_of(plain: dict[str, Any] | None, state: Callable[[], dict[str, Tensor]]) -> Snapshot | None:
    """Return the snapshot for a result of `snapshot_json` and its state; None for none."""
    if plain is None:
        return None
    metrics = {split: metrics_of(values) for split, values in plain["metrics"].items()}
    return Snapshot(plain["epoch"], state(), metrics)


def metrics_of(plain: dict[str, Any]) -> Metrics:
    """Return metrics from JSON; its lists become tuples."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    return Metrics(**values)
