"""LISA (Yao et al. 2022) and DomainMix: every picture is mixed with one of another environment, or of another label.

An environment is what groups share across classes, for example the place of a bird.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.mixing import interpolate
from clp_train.methods.parts.present import require
from clp_train.pictures.samplers import even_batches
from clp_train.pictures.types import Batch


@dataclass(frozen=True)
class DomainMixOptions(Settings):
    """The setting of DomainMix. Source: ours, that of LISA; no public text has the value of DomainMix."""

    alpha: float = setting(2.0, "A picture's share in its mixture is drawn from Beta(alpha, alpha).", low=0.001)


@dataclass(frozen=True)
class LisaOptions(DomainMixOptions):
    """The settings of LISA. Source: the authors' runs on Waterbirds."""

    within_label: float = setting(
        0.5, "Probability that a batch mixes within labels, across environments; the other batches mix within"
        " environments, across labels.", low=0, high=1,
    )  # fmt: skip


OPTIONS = {"domain-mix": DomainMixOptions, "lisa": LisaOptions}


class DomainMix(Method):
    """A partner from another environment, whatever its label; all pictures there are equally likely.

    Source: ours, from the description of the baseline in Yao et al. 2022. It is named after Xu et al. 2020, who adapt
    to a domain without labels instead. A cell is a label in an environment: a group, unless labels are wrong. of_group:
    environment of each group; cell: of each picture, label * places + environment; members: rows of each cell.
    """

    def __init__(self, options: DomainMixOptions, table: TrainTable) -> None:
        self.options, self.table = options, table
        self.of_group = table.environments()
        self.places = int(self.of_group.max()) + 1
        self.cell = self.cells(table.label, table.group)
        self.members = [np.flatnonzero(self.cell == k) for k in range(table.classes * self.places)]
        self.label_of, self.env_of = np.divmod(np.arange(len(self.members)), self.places)

    def cells(self, label: Tensor, group: Tensor) -> np.ndarray:
        """Return the cell of pictures, int64 (n,)."""
        return (label * self.places + self.of_group[group]).numpy()

    def draw_partners(self, batch: Batch, fits: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a partner for each picture from the cells that fit its own cell; its own row if none fits.

        fits: bool (K, K); sizes: (K,), weights of the cells; the chance of a cell with pictures is proportional to its
        weight.
        """
        has_pictures = np.array([len(rows) > 0 for rows in self.members])
        partner = require(batch.row, "rows of the batch").numpy().copy()
        for i, cell in enumerate(self.cell[partner]):
            cells = np.flatnonzero(fits[cell] & has_pictures)
            if len(cells):
                rows = self.members[rng.choice(cells, p=sizes[cells] / sizes[cells].sum())]
                partner[i] = rng.choice(rows)
        return partner

    def partners(self, batch: Batch, rng: np.random.Generator) -> np.ndarray:
        sizes = np.array([len(rows) for rows in self.members])
        return self.draw_partners(batch, self.env_of[:, None] != self.env_of, sizes, rng)

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        share = torch.from_numpy(rng.beta(self.options.alpha, self.options.alpha, len(batch)))
        partners = require(batch.second, "partners of the batch")
        same_row = require(partners.row, "rows of the partners") == require(batch.row, "rows of the batch")
        return interpolate(batch, share.masked_fill(same_row, 1.0), self.table.classes)


class Lisa(DomainMix):
    """A partner of the same label from another environment, or, in other batches, of another label from the same one.

    Every cell that fits is equally likely. Cells are sampled equally often, as in the authors' runs, where each step
    has the same number of pictures of each. A picture without a fitting cell is not changed: ours.
    """

    options: LisaOptions

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
        return even_batches(self.cell, batch_size, rng)

    def partners(self, batch: Batch, rng: np.random.Generator) -> np.ndarray:
        same_label = self.label_of[:, None] == self.label_of
        same_env = self.env_of[:, None] == self.env_of
        within_label = rng.random() < self.options.within_label
        fits = same_label & ~same_env if within_label else same_env & ~same_label
        return self.draw_partners(batch, fits, np.ones(len(self.members)), rng)


def build(options: DomainMixOptions, context: Context) -> DomainMix:
    """Return the method before its first step. Raises SettingError for a data set without groups."""
    context.table.require_groups(context.method)
    kinds: dict[str, Callable[[Any, TrainTable], DomainMix]] = {"domain-mix": DomainMix, "lisa": Lisa}
    return kinds[context.method](options, context.table)
