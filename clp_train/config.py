"""TrainConfig: every setting of a run, validated once, written into its result."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.errors import UsageError, pick
from clp_train.methods import METHODS
from clp_train.models import MODELS

META_DELTAS = ("none", "paper")
SALIENCY_TARGETS = ("probability", "log-probability", "logit", "logit-gap")


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one run.

    meta: the shard; out: the run's folder, runs/<shard>-<method>-seed<k> when None; meta_batch_size: as batch_size,
    or the whole meta set where that is smaller, when None; limit: at most so many training pictures; omega_lr: the
    step of eq. (9); meta_delta: "paper" adds delta to the meta logits too, as eq. (9) is written; saliency_lambda:
    lambda of eq. (6); saliency_interval: the training pictures' saliency is computed every so many steps.
    """

    meta: Path
    method: str = "clp"
    root: Path | None = None
    model: str = "resnet8"
    epochs: int = 30
    batch_size: int = 100
    meta_batch_size: int | None = None
    lr: float = 0.1
    weight_decay: float = 5e-4
    omega_lr: float = 1e-3
    meta_delta: str = "none"
    saliency_lambda: float = 0.2
    saliency_target: str = "probability"
    saliency_interval: int = 1
    seed: int = 0
    out: Path | None = None
    limit: int | None = None
    export: bool = False

    def __post_init__(self) -> None:
        pick(METHODS, self.method, "method")
        pick(MODELS, self.model, "model")
        pick(dict.fromkeys(META_DELTAS), self.meta_delta, "--meta-delta")
        pick(dict.fromkeys(SALIENCY_TARGETS), self.saliency_target, "--saliency-target")
        # batch norm has no statistics of a single picture
        for name, low in (("epochs", 1), ("batch_size", 2), ("meta_batch_size", 2), ("saliency_interval", 1),
                          ("seed", 0), ("limit", 2)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < low:
                raise UsageError(f"{option(name)} {value}: expected a whole number >= {low}")
        for name in ("lr", "omega_lr"):
            if not 0 < getattr(self, name) < float("inf"):  # written so that NaN fails too
                raise UsageError(f"{option(name)} {getattr(self, name)}: expected a number > 0")
        for name in ("weight_decay", "saliency_lambda"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{option(name)} {getattr(self, name)}: expected a number >= 0")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out or Path("runs") / f"{self.meta.stem}-{self.method}-seed{self.seed}"

    def as_json(self) -> dict:
        """Return the settings as plain JSON; paths become text."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(self).items()}


def option(name: str) -> str:
    """Return the command line's spelling of a setting."""
    return "--" + name.replace("_", "-")
