"""SPARE (Yang et al. 2024): cluster a network's early outputs in each class, and sample rare clusters more often.

Training uses no group labels. Early in training, only spurious features decide the outputs, so clusters of outputs
separate the pictures with such features from those without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.clusters import best_clusters
from clp_train.pictures.batching import steps_per_epoch


@dataclass(frozen=True)
class Options(Settings):
    """The settings of SPARE. Source: SpuCo, the authors' library, unless a setting says otherwise."""

    first_epochs: int = setting(1, "Epochs before outputs are clustered.", low=1)
    clusters: int = setting(
        5, "Largest number of clusters of a class; silhouettes choose from 2 to this number.", low=2
    )
    threshold: float = setting(
        0.9, "Silhouette of a class's clusters below which the exponent is power instead of 1.", low=-1, high=1
    )
    power: float = setting(2.0, "Exponent of the cluster's size in the weights of classes below it.", low=0)


def sampling_weights(size: Tensor, label: Tensor, power: Tensor) -> Tensor:
    """Return the probability to draw each picture, float64 (N,) of sum 1; all classes with pictures are equally likely.

    size: int64 (N,), pictures in its cluster; label: int64 (N,); power: float64 (C,). Within class c the probability is
    proportional to size^-power_c.
    """
    raw = size.double() ** -power[label]
    sums = torch.zeros_like(power).index_add_(0, label, raw)
    return raw / sums[label] / (sums > 0).sum()


class Spare(Method):
    """Cross entropy on all pictures; from epoch `first_epochs` on they are drawn by weight, with repeats.

    weights: float64 (N,) of sum 1, None before that epoch.
    """

    def __init__(self, options: Options, table: TrainTable, seed: int) -> None:
        self.options, self.table, self.seed = options, table, seed
        self.weights: Tensor | None = None

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if epoch == self.options.first_epochs:
            self.weights = self.weights_of(scores("train").logits.double().softmax(1))

    def weights_of(self, probabilities: Tensor) -> Tensor:
        """Return the probability to draw each picture, float64 (N,). probabilities: float64 (N, C), of the network."""
        table, options = self.table, self.options
        size, power = torch.ones_like(table.label), torch.ones(table.classes, dtype=torch.float64)
        for c in table.label.unique().tolist():
            rows = (table.label == c).nonzero().squeeze(1)
            state = int(rng_for(self.seed, c, "spare clusters").integers(1 << 32))
            cluster, silhouette = best_clusters(probabilities[rows].numpy(), options.clusters, state)
            size[rows] = torch.from_numpy(np.bincount(cluster)[cluster])
            if silhouette < options.threshold:
                power[c] = options.power
        return sampling_weights(size, table.label, power)

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        if self.weights is None:
            return None
        n = len(self.weights)
        return np.array_split(rng.choice(n, n, p=self.weights.numpy()), steps_per_epoch(n, batch_size))

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.weights is None else {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.weights = state.get("weights")


def build(options: Options, context: Context) -> Spare:
    """Return the method before its first step. Raises SettingError for a run that ends before outputs are clustered."""
    if options.first_epochs >= context.epochs:
        reason = f"the run has {context.epochs} epochs; expected a smaller number"
        raise SettingError("first_epochs", options.first_epochs, reason)
    return Spare(options, context.table, context.seed)
