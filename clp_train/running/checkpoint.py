"""The full state of a run in one file, written beside its name and renamed: a killed run goes on bit by bit.

All randomness of a run is keyed by seed, epoch and step, so there is no generator to save: weights, batch-norm
statistics, momentum, the method's own state, and where the run is, say it all.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clp_aug.nets.state import read_state, write_state
from clp_train.algorithm.method import Method
from clp_train.algorithm.step import StepLosses
from clp_train.evaluating.metrics import Metrics
from clp_train.running.clock import Spent

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """A network at the end of one epoch (from 1): its state, detached copies, and its metrics by split."""

    epoch: int
    state: dict[str, Tensor]
    metrics: dict[str, Metrics]


@dataclass
class Position:
    """Where a run is. step: steps done; begun: whether the method has begun the epoch under way; losses: of that epoch;
    history: a line an epoch; selected: by val; best: by test, without its state; spent: the time until the last save.
    """

    step: int = 0
    begun: bool = False
    losses: list[StepLosses] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    selected: Snapshot | None = None
    best: Snapshot | None = None
    spent: Spent = field(default_factory=Spent)

    @property
    def epoch(self) -> int:
        """The epoch under way, from 0."""
        return len(self.history)


@dataclass(frozen=True)
class Checkpoint:
    """The file of a run's full state. key: settings and data that a resumed run must share, as plain JSON."""

    path: Path
    key: dict[str, Any]

    def save(self, network: nn.Module, optimiser: torch.optim.SGD, method: Method, position: Position) -> str:
        """Write the state, atomically; return where it is in words."""
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        tensors |= {f"method.{name}": value for name, value in method.state_dict().items()}
        for name, w in network.named_parameters():
            buffer = optimiser.state.get(w, {}).get("momentum_buffer")
            if buffer is not None:
                tensors[f"momentum.{name}"] = buffer
        if position.selected is not None:
            tensors |= {f"selected.{name}": value for name, value in position.selected.state.items()}
        plain = {
            "step": position.step,
            "begun": position.begun,
            "losses": [dataclasses.astuple(losses) for losses in position.losses],
            "history": position.history,
            "selected": snapshot_json(position.selected),
            "best": snapshot_json(position.best),
            "spent": position.spent,
        }
        write_state(self.path, self.key, plain, tensors)
        return self.describe(position)

    def describe(self, position: Position) -> str:
        """Return in words where the state of a position is."""
        return f"last state: {self.path}, step {position.step}"

    def load(self, network: nn.Module, method: Method) -> tuple[Position, dict[str, Tensor]]:
        """Take up the state; return where the run was and the momentum of each parameter by name.

        Raises what `read_state` raises.
        """
        plain, tensors = read_state(self.path, self.key)

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(f"{prefix}."): v for n, v in tensors.items() if n.startswith(f"{prefix}.")}

        network.load_state_dict(part("network"))
        method.load_state_dict(part("method"))
        selected, best = (snapshot_of(plain[name], part(name)) for name in ("selected", "best"))
        losses = [StepLosses(*values) for values in plain["losses"]]
        spent = Spent(*plain["spent"])
        begun = plain.get("begun", bool(losses))  # older states were kept only after a step or an epoch
        position = Position(plain["step"], begun, losses, plain["history"], selected, best, spent)
        return position, part("momentum")


def snapshot_json(snapshot: Snapshot | None) -> dict[str, Any] | None:
    """Return epoch and metrics of a snapshot as plain JSON, its state left out; None for none."""
    if snapshot is None:
        return None
    return {
        "epoch": snapshot.epoch,
        "metrics": {name: dataclasses.asdict(m) for name, m in snapshot.metrics.items()},
    }


def snapshot_of(plain: dict[str, Any] | None, state: dict[str, Tensor]) -> Snapshot | None:
    """Return the snapshot of what `snapshot_json` gave and a state."""
    if plain is None:
        return None
    metrics = {split: metrics_of(values) for split, values in plain["metrics"].items()}
    return Snapshot(plain["epoch"], state, metrics)


def metrics_of(plain: dict[str, Any]) -> Metrics:
    """Return the metrics that JSON holds: lists are tuples."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    return Metrics(**values)
