"""Progressive data expansion (Deng et al. 2023): learn from a few group-balanced pictures, then add others.

Only the set changes; the loss is always cross entropy. An epoch is one pass over the set, so it has few steps, and runs
need many epochs. The set of an epoch follows from the seed, so there is no state to save.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.pictures.batching import steps_per_epoch


@dataclass(frozen=True)
class Options(Settings):
    """The settings of PDE. Source: the authors' runs on Waterbirds, with schedule constant: nothing else changes their
    learning rate.
    """

    warm_up: float = setting(
        140 / 300, "Share of the run's epochs on the balanced set.", low=0.01, high=0.99, source="140 of 300 epochs"
    )
    interval: int = setting(10, "Epochs between two additions.", low=1)
    added: int = setting(10, "Pictures in each addition.", low=1)
    decay: float = setting(
        0.01, "Learning rate once additions begin, as a multiple of the run's.", low=0.000001, high=1
    )


class ProgressiveExpansion(Method):
    """A set with as many pictures of each group as the smallest has; from `start` on it grows every `interval` epochs.

    Added pictures are drawn from all remaining ones, whatever their group, and none twice. order: int64 (N,), the
    balanced set, followed by the rest in the order of their addition. The rest is permuted again, because in the first
    permutation the remaining pictures of small groups come late. balanced: size of the balanced set. The second stage's
    momentum starts from 0: ours.
    """

    def __init__(self, options: Options, table: TrainTable, epochs: int, generator: torch.Generator) -> None:
        self.options = options
        self.stages = (Stage(share=options.warm_up), Stage(share=1 - options.warm_up, rate=options.decay))
        self.start = round(options.warm_up * epochs)
        counts = table.group_counts().long()
        smallest = int(counts[counts > 0].min())
        shuffled = torch.randperm(len(table.group), generator=generator)
        even = torch.cat([shuffled[table.group[shuffled] == g][:smallest] for g in range(table.groups)])
        rest = shuffled[~torch.isin(shuffled, even)]
        rest = rest[torch.randperm(len(rest), generator=generator)]
        self.balanced, self.order = len(even), torch.cat([even, rest]).numpy()

    def pictures(self, epoch: int) -> int:
        if epoch < self.start:
            return self.balanced
        additions = 1 + (epoch - self.start) // self.options.interval
        return min(self.balanced + additions * self.options.added, len(self.order))

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
        rows = rng.permutation(self.order[: self.pictures(epoch)])
        return np.array_split(rows, steps_per_epoch(len(rows), batch_size))


def build(options: Options, context: Context) -> ProgressiveExpansion:
    """Return the method before its first step. Raises SettingError for a data set without groups."""
    context.table.require_groups(context.method)
    return ProgressiveExpansion(options, context.table, context.epochs, context.generator)
