"""Margins on cosines: less is added to the own class's cosine, so that it must be right by more.

LDAM (Cao et al. 2019) asks more of rare classes; with deferred re-weighting (DRW) they weigh more late in the run. ALA
(Zhao et al. 2022) asks more of rare classes and of pictures that are far from their class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Method
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.class_weights import effective_weights


@dataclass(frozen=True)
class Options:
    """margin: of the rarest class; scale: of the cosines within the loss. Source: theirs for CIFAR-LT."""

    margin: float = 0.5
    scale: float = 30.0

    def __post_init__(self) -> None:
        require_within("margin", self.margin, 0)
        require_within("scale", self.scale, 0)


@dataclass(frozen=True)
class DeferredOptions(Options):
    """As those of LDAM; beta: of the class weights; start: share of the run's epochs without (160 of their 200)."""

    beta: float = 0.9999
    start: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within("beta", self.beta, 0, 1, below=True)
        require_within("start", self.start, 0, 1)


@dataclass(frozen=True)
class AlaOptions:
    """scale: of the cosines within the loss; base: of the logarithm, 2 so that the rarest class's factor is 1.

    Source: scale of the paper; base ours, e is the other reading.
    """

    scale: float = 30.0
    base: float = 2.0

    def __post_init__(self) -> None:
        require_within("scale", self.scale, 0)
        if not 1 < self.base < math.inf:
            raise UsageError(f"--set base={self.base}: expected a number > 1")


OPTIONS = {"ldam": Options, "ldam-drw": DeferredOptions, "ala": AlaOptions}


def at_own_class(values: Tensor, view: View) -> Tensor:
    """Return a delta, (n, C), with values (n,) at each picture's class and 0 elsewhere."""
    return torch.zeros_like(view.logits).scatter(1, view.label[:, None], values.to(view.logits)[:, None])


class Ldam(Method):
    """delta = -m_y at the own class, m_c = margin (n_min / n_c)^(1/4), on cosines. margins: (C,)."""

    head = "cosine"

    def __init__(self, counts: Tensor, options: Options) -> None:
        self.options = options
        self.margins = options.margin * (counts.min() / counts.double()) ** 0.25

    def terms(self, view: View) -> Terms:
        return Terms(delta=at_own_class(-self.margins.to(view.logits)[view.label], view), scale=self.options.scale)


class DeferredLdam(Ldam):
    """LDAM, its classes weighted from a share of the run's epochs on; the sum is divided by that of the weights."""

    def __init__(self, counts: Tensor, options: DeferredOptions) -> None:
        super().__init__(counts, options)
        self.weights = effective_weights(counts, options.beta)

    def terms(self, view: View) -> Terms:
        terms = super().terms(view)
        if view.progress < self.options.start:
            return terms
        return replace(terms, weight=self.weights.to(view.logits)[view.label], normaliser="sum_w")


class Ala(Method):
    """delta = -d_i q_y at the own class: d_i = (1 - cos_iy) / 2, held constant, q_c = 1 / log_base(n_c / n_min + 1)."""

    head = "cosine"

    def __init__(self, counts: Tensor, options: AlaOptions) -> None:
        self.scale = options.scale
        self.rarity = math.log(options.base) / (counts.double() / counts.min() + 1).log()

    def terms(self, view: View) -> Terms:
        difficulty = (1 - view.logits.gather(1, view.label[:, None]).squeeze(1)) / 2
        rarity = self.rarity.to(view.logits)[view.label]
        return Terms(delta=at_own_class(-difficulty * rarity, view), scale=self.scale)


CLASSES = {"ldam": Ldam, "ldam-drw": DeferredLdam, "ala": Ala}


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> Method:
    """Return the method. Raises UsageError for a class without pictures."""
    table.require_all_classes(config.method)
    return CLASSES[config.method](table.class_counts(), make_options(config.method, config.options))
