"""L_DMI (Xu et al. 2019): after cross entropy, a network learns by a loss that label noise only shifts.

The loss is that of a batch, not of a picture, and exists only if every class is in the batch. So the second stage uses
batches that cover all classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import check_exists
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.methods.parts.noisy_losses import determinant_loss
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import steps_per_epoch


@dataclass(frozen=True)
class Options(Settings):
    """The settings of L_DMI. Source: the authors' code for CIFAR-10."""

    start: float = setting(
        0.55, "Share of the run's epochs with cross entropy.", low=0.01, high=0.99, source="120 of 220 epochs"
    )
    rate: float = setting(
        1e-5, "Learning rate after these epochs, as a multiple of the run's.", low=0, source="1e-6 after 0.1"
    )


def covering_batches(label: np.ndarray, steps: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the rows of `steps` batches, int64, each with every class; sizes are those of a plain epoch.

    label: int64 (N,). Every picture comes once if each class has at least as many pictures as there are batches. A
    rarer class repeats its pictures, and as many others are left out. Batches must not be smaller than the number of
    classes.
    """
    shuffled = rng.permutation(len(label))
    members = [shuffled[label[shuffled] == c] for c in np.unique(label)]
    cover = np.stack([np.resize(rows, steps) for rows in members], 1)  # (steps, C)
    rest = rng.permutation(np.setdiff1d(shuffled, cover))
    sizes = [len(part) - len(members) for part in np.array_split(shuffled, steps)]
    parts = np.split(rest[: sum(sizes)], np.cumsum(sizes)[:-1])
    return [rng.permutation(np.concatenate(pair)) for pair in zip(cover, parts, strict=True)]


class Dmi(Method):
    """Cross entropy, then -log |det U|."""

    def __init__(self, options: Options, label: Tensor) -> None:
        self.stages = (Stage(share=options.start), Stage(share=1 - options.start, rate=options.rate))
        self.label, self.tuning = label.numpy(), False

    def enter(self, stage: int, network: Classifier) -> None:
        self.tuning = stage == 1

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        return covering_batches(self.label, steps_per_epoch(len(self.label), batch_size), rng) if self.tuning else None

    def terms(self, view: View) -> Terms:
        return Terms(loss=self.loss) if self.tuning else Terms()

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the batch's loss for each of its pictures, (n,). Raises DivergedError if it does not exist."""
        value = determinant_loss(logits, label)
        check_exists(
            value,
            f"the determinant of l-dmi is 0 on a batch of {len(label)} pictures; raise batch_size, or start, the share"
            " of cross entropy",
        )
        return value.expand(len(label))


def build(options: Options, context: Context) -> Dmi:
    """Return the method. Raises SettingError for a class or a batch that is too small for its loss."""
    table, batch_size = context.table, context.batch_size
    table.require_all_classes(context.method)
    pictures = len(table.label)
    smallest = pictures // steps_per_epoch(pictures, batch_size)
    if smallest < table.classes:
        raise SettingError(
            "batch_size", batch_size, f"method {context.method} would get {smallest} pictures in a batch, expected at"
            f" least one for each of {table.classes} classes, else the determinant is 0; raise it",
        )  # fmt: skip
    return Dmi(options, table.label)
