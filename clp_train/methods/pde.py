"""Progressive data expansion (Deng et al. 2023): learn from few pictures, all groups alike, then add others bit by bit.

No rule but the set: cross entropy throughout. An epoch goes through the set once, so it has few steps; runs of many
epochs are the rule here. The set of an epoch follows from the seed alone, so there is nothing to save.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from clp_train.algorithm.method import Method
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.pictures.batching import steps_per_epoch


@dataclass(frozen=True)
class Options:
    """warm_up: share of the epochs on the balanced set; interval: epochs between two additions; added: pictures in
    each; decay: what the step sizes are multiplied by once additions begin.

    Source: 140 of 300 epochs, 10, 10 and 0.01 of the authors' runs on Waterbirds, where nothing else changes the step
    sizes: --set schedule=constant.
    """

    warm_up: float = 140 / 300
    interval: int = 10
    added: int = 10
    decay: float = 0.01

    def __post_init__(self) -> None:
        require_within("warm_up", self.warm_up, 0.01, 0.99)
        require_within("interval", self.interval, 1)
        require_within("added", self.added, 1)
        require_within("decay", self.decay, 0.000001, 1)


class ProgressiveExpansion(Method):
    """A set of as many pictures of each group as the smallest has; from `start` on it grows every so many epochs.

    What is added is drawn from all that is left, whatever its group, and nothing twice. order: int64 (N,), the balanced
    set and then the rest as they come in; balanced: how many are of the balanced set. The second stage's momentum
    starts anew: ours.
    """

    def __init__(self, options: Options, table: TrainTable, epochs: int, generator: torch.Generator) -> None:
        self.options = options
        self.stages = (Stage(share=options.warm_up), Stage(share=1 - options.warm_up, rate=options.decay))
        self.start = round(options.warm_up * epochs)
        counts = table.group_counts().long()
        least = int(counts[counts > 0].min())
        shuffled = torch.randperm(len(table.group), generator=generator)
        chosen = torch.cat([shuffled[table.group[shuffled] == g][:least] for g in range(table.groups)])
        rest = shuffled[~torch.isin(shuffled, chosen)]
        self.balanced, self.order = len(chosen), torch.cat([chosen, rest]).numpy()

    def pictures(self, epoch: int) -> int:
        if epoch < self.start:
            return self.balanced
        additions = 1 + (epoch - self.start) // self.options.interval
        return min(self.balanced + additions * self.options.added, len(self.order))

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
        rows = rng.permutation(self.order[: self.pictures(epoch)])
        return np.array_split(rows, steps_per_epoch(len(rows), batch_size))


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> ProgressiveExpansion:
    """Return the method before its first step. Raises UsageError for a data set without groups."""
    table.require_groups(config.method)
    return ProgressiveExpansion(make_options(config.method, config.options), table, config.epochs, generator)
