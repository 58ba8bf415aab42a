"""Eq. (6): the saliency term. It penalises a classifier that reacts to pixels outside the box."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clp_train.algorithm.losses import SALIENCY_AT_START, check_finite, cross_entropy
from clp_train.algorithm.passes import virtual_pass
from clp_train.algorithm.second_order import input_gradient, second_order
from clp_train.algorithm.settings import SaliencySettings
from clp_train.algorithm.virtual_step import Weights
from clp_train.ranks.splitting import gathered_output, own_passes
from clp_train.ranks.team import ALONE, Ranks

if TYPE_CHECKING:
    from clp_train.models.parts import Classifier, Output
    from clp_train.pictures.types import Batch


def _gap(logits: Tensor, label: Tensor) -> Tensor:
    column = label[:, None]
    return logits.gather(1, column) - logits.scatter(1, column, -math.inf).amax(1, keepdim=True)


SALIENCY_TARGETS = {
    "probability": lambda logits, label: logits.softmax(1).gather(1, label[:, None]),
    "log-probability": lambda logits, label: logits.log_softmax(1).gather(1, label[:, None]),
    "logit": lambda logits, label: logits.gather(1, label[:, None]),
    "logit-gap": _gap,
}
"""Targets that eq. (6) can differentiate, each for the picture's own label; "probability" is the paper's."""


def saliency(
    images: Tensor,
    logits: Tensor,
    inside: Tensor,
    label: Tensor,
    target: str,
    scale: str = "mean",
    gradient: Callable[[Tensor, Tensor], Tensor] = input_gradient,
) -> Tensor:
    """Return eq. (6) without lambda for each picture, (n,), differentiable.

    It is the mean over background pixels of the squared gradient of the target, summed over the channels.

    images: (n, 3, H, W) in [0, 1], requiring gradients, from which logits (n, C) were computed; inside: bool
    (n, H, W), True in the box; scale: "mean" over the background as the paper writes it, or its "sum"; gradient:
    (scalar, images) -> its gradient with a graph. The logits are unperturbed, so the term does not depend on Omega. A
    picture without background gives 0. A counterfactual keeps its box and its label y: the pixels that remain outside
    are exactly those that must not speak for y. In training mode, batch norm makes the pictures of a batch depend on
    each other; each gradient is that of the batch's sum.
    """
    total = SALIENCY_TARGETS[target](logits, label).sum()
    energy = (gradient(total, images).square().sum(1) * ~inside).sum((1, 2))
    return energy if scale == "sum" else energy / (~inside).sum((1, 2)).clamp(min=1)


def saliency_weight(weight: float, relative: bool, terms: Tensor, logits: Tensor, label: Tensor) -> float | Tensor:
    """Return the factor of the mean of eq. (6): lambda, or, if `relative`, lambda * CE / the mean itself.

    If `relative`, the term is as large as lambda times the batch's cross entropy, whatever the network's scale is; the
    factor is held constant. terms: (n,) of `saliency`; logits: (n, C); label: int64 (n,). Source: ours.
    """
    if not relative:
        return weight
    mean = terms.detach().mean()
    relative_weight = weight * cross_entropy(logits.detach(), label).mean() / mean
    return torch.where(mean > 0, relative_weight, torch.zeros_like(mean))


@dataclass(frozen=True)
class SaliencyTerm:
    """Eq. (6) as the steps of a run apply it. weight: lambda; twice: the context that makes second derivatives cheap;
    ranks: each rank differentiates the targets of its own pictures.
    """

    settings: SaliencySettings
    weight: float
    twice: Callable[[], Any] = second_order
    ranks: Ranks = ALONE

    def is_due(self, split: str, step: int) -> bool:
        """Return whether the term acts on the "train" or the "meta" batch of a step."""
        on_split = self.settings.saliency_on in ("both", split)
        return self.weight > 0 and on_split and step % self.settings.saliency_interval == 0

    def within(self, split: str, step: int) -> Callable[[], AbstractContextManager[Any]]:
        """Return a function that makes the context for the whole batch's pass."""
        return self.twice if self.is_due(split, step) and self.settings.saliency_subset == 1 else nullcontext

    def forward(
        self,
        forward: Callable[[Tensor], Output],
        network: Classifier,
        weights: Weights,
        batch: Batch,
        split: str,
        step: int,
    ) -> tuple[Output, Tensor | None]:
        """Return forward(pictures), and eq. (6) times its weight if it is due: a scalar with a graph, else None.

        forward: images -> Output at `weights` (the network itself, or `virtual_pass`); split: "train" or "meta". The
        logits are unperturbed, so the term does not depend on Omega. On a subset the term has its own pass. Raises
        DivergedError if the term is not finite.
        """
        if not self.is_due(split, step):
            return forward(batch.images), None
        twice, of_all, part = self.twice(), None, batch
        if self.settings.saliency_subset < 1:
            count = max(2, round(self.settings.saliency_subset * len(batch)))
            of_all, part = forward(batch.images), batch.first(count)
        share = self.ranks.share(len(part))
        own = part if share is None else part.between(share.rows)
        images = own.images.detach().requires_grad_()
        with twice, own_passes(network, share):
            of_own = forward(images) if of_all is None else virtual_pass(network, weights, images)
        terms = saliency(
            images, of_own.logits, own.inside, own.label, self.settings.saliency_target,
            self.settings.saliency_scale, twice.input_gradient,
        )  # fmt: skip
        terms, of_part = terms if share is None else share.gather(terms), gathered_output(of_own, share)
        check_finite(terms, part.sample_id, f"{split} saliency", step, SALIENCY_AT_START[split])
        relative = self.settings.saliency_relative
        out = of_part if of_all is None else of_all
        return out, saliency_weight(self.weight, relative, terms, of_part.logits, part.label) * terms.mean()
