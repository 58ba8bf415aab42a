"""Margins on cosines: the cosine of the picture's class is lowered in the loss, so it must win by a margin.

LDAM (Cao et al. 2019) has larger margins for rare classes; with deferred re-weighting (DRW) these get more weight late
in the run. ALA (Zhao et al. 2022) has larger margins for rare classes and for pictures that are far from their class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods.parts.class_weights import effective_weights
from clp_train.models.parts import Classifier


@dataclass(frozen=True)
class Options(Settings):
    """The settings of LDAM. Source: the authors' settings for CIFAR-LT."""

    margin: float = setting(0.5, "Margin of the rarest class.", low=0)
    scale: float = setting(30.0, "Factor of the cosines in the loss.", low=0)


@dataclass(frozen=True)
class DeferredOptions(Options):
    """The settings of LDAM with deferred re-weighting. Source: the authors' settings for CIFAR-LT."""

    beta: float = setting(
        0.9999, "beta of the effective number of pictures; 0 gives all classes the same weight.", low=0, below=1
    )
    start: float = setting(
        0.8, "Share of the run's epochs before classes are weighted.", low=0, high=1, source="160 of 200 epochs"
    )


@dataclass(frozen=True)
class AlaOptions(Settings):
    """The settings of ALA. Source: Zhao et al. 2022."""

    scale: float = setting(30.0, "Factor of the cosines in the loss.", low=0)
    base: float = setting(
        2.0, "Base of the logarithm of class sizes; with 2 the rarest class's factor is 1.", above=1,
        source="ours; e is the other reading",
    )  # fmt: skip


OPTIONS = {"ldam": Options, "ldam-drw": DeferredOptions, "ala": AlaOptions}


def at_own_class(values: Tensor, view: View) -> Tensor:
    """Return a delta, (n, C): values (n,) at each picture's class, 0 elsewhere."""
    return torch.zeros_like(view.logits).scatter(1, view.label[:, None], values.to(view.logits)[:, None])


class Ldam(Method):
    """delta = -m_y at the picture's class, m_c = margin (n_min / n_c)^(1/4), on cosines. margins: (C,)."""

    head = "cosine"

    def __init__(self, counts: Tensor, options: Options) -> None:
        self.options, self.scale = options, options.scale
        self.margins = options.margin * (counts.min() / counts.double()) ** 0.25

    def enter(self, stage: int, network: Classifier) -> None:
        self.margins = self.margins.to(network.head.weight)

    def terms(self, view: View) -> Terms:
        return Terms(delta=at_own_class(-self.margins.to(view.logits)[view.label], view), scale=self.options.scale)


class DeferredLdam(Ldam):
    """LDAM with class weights after a share of the run's epochs; the sum is divided by the sum of the weights."""

    options: DeferredOptions
    paced = True

    def __init__(self, counts: Tensor, options: DeferredOptions) -> None:
        super().__init__(counts, options)
        self.weights = effective_weights(counts, options.beta)

    def enter(self, stage: int, network: Classifier) -> None:
        super().enter(stage, network)
        self.weights = self.weights.to(network.head.weight)

    def terms(self, view: View) -> Terms:
        terms = super().terms(view)
        if view.progress < self.options.start:
            return terms
        return replace(terms, weight=self.weights.to(view.logits)[view.label], normaliser="sum_w")


class Ala(Method):
    """delta = -d_i q_y at the class y: d_i = (1 - cos_iy) / 2, constant, q_c = 1 / log_base(n_c / n_min + 1)."""

    head = "cosine"

    def __init__(self, counts: Tensor, options: AlaOptions) -> None:
        self.scale = options.scale
        self.rarity = math.log(options.base) / (counts.double() / counts.min() + 1).log()

    def enter(self, stage: int, network: Classifier) -> None:
        self.rarity = self.rarity.to(network.head.weight)

    def terms(self, view: View) -> Terms:
        difficulty = (1 - view.logits.gather(1, view.label[:, None]).squeeze(1)) / 2
        rarity = self.rarity.to(view.logits)[view.label]
        return Terms(delta=at_own_class(-difficulty * rarity, view), scale=self.scale)


CLASSES: dict[str, Callable[[Tensor, Any], Method]] = {"ldam": Ldam, "ldam-drw": DeferredLdam, "ala": Ala}


def build(options: Options | AlaOptions, context: Context) -> Method:
    """Return the method. Raises SettingError for a class without pictures."""
    context.table.require_all_classes(context.method)
    return CLASSES[context.method](context.table.class_counts(), options)
