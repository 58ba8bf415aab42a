"""Automatic feature reweighting (Qiu et al. 2023): refit the last layer on pictures that a first network is unsure of.

Training uses no group labels. Most of the training pictures teach a first network by plain cross entropy; its last
layer then learns from the others, whose weights fall with the probability that the first network gives their labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.placing import beside
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier, Output, device_of
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.types import Batch

TINY = 1e-6  # added to the norm that gradients are divided by, as torch's clipping does


@dataclass(frozen=True)
class Options(Settings):
    """The settings of AFR. Source: the authors' commands for Waterbirds, unless a setting says otherwise."""

    first: float = setting(0.8, "Share of the run's epochs for the first network.", low=0.01, high=0.99, source="ours")
    held_out: float = setting(
        0.2, "Share of the training pictures that only the fit of the last layer uses, not the first network.",
        low=0.000001, high=0.99,
    )  # fmt: skip
    gamma: float = setting(10.0, "Weights fall as exp(-gamma p), p being the probability of the label.", low=0)
    pull: float = setting(
        0.0, "Weight of the squared distance to the first network's last layer.", low=0, source="lambda of the authors"
    )
    clip: float = setting(1.0, "Largest norm of the gradient of the fit; a larger one is scaled down to it.", above=0)
    steps: int = setting(
        500, "Steps of the fit, each on all held-out pictures, spread evenly over its epochs; at least one per epoch.",
        low=1,
    )  # fmt: skip
    rate: float = setting(
        1 / 3, "Learning rate of the fit, as a multiple of the run's.", low=0.000001,
        source="0.01 without momentum after 0.003 with a momentum of 0.9",
    )  # fmt: skip


def reweighted(logits: Tensor, label: Tensor, gamma: float) -> Tensor:
    """Return mu_i ~ exp(-gamma p_i) / n_(y_i), float64 (n,) with a sum of 1. logits: (n, C); label: int64 (n,).

    p_i: probability of the label; n_y: pictures of class y among these. Source: the paper and its authors' code.
    """
    exponent = -gamma * logits.double().softmax(1).gather(1, label[:, None]).squeeze(1)
    return (exponent - torch.bincount(label)[label].double().log()).softmax(0)


class FeatureReweighting(Method):
    """Stage 0 is ERM on `seen`; stage 1 minimises sum_i mu_i CE_i + pull ||W - W_0||^2 over the last layer, on `held`.

    seen, held: int64 rows of the training pictures, drawn once, from the seed; weight: mu, float64 (N,), 0 where not
    held or not known yet; anchor: W_0 by parameter, empty until then; factor: a scalar that scales the present step
    down. Each step of stage 1 uses all of `held`.
    """

    def __init__(self, options: Options, table: TrainTable, epochs: int, batch_size: int, order: Tensor) -> None:
        self.options, self.label, self.batch_size, self.stage = options, table.label, batch_size, 0
        second = Stage(share=1 - options.first, trainable="head", rate=options.rate)
        self.stages = (Stage(share=options.first), second)
        self.start, self.epochs = round(options.first * epochs), epochs
        held = round(options.held_out * len(order))
        self.held, self.seen = order[:held].sort().values, order[held:].sort().values
        self.weight = torch.zeros(len(order), dtype=torch.float64)
        self.anchor: dict[str, Tensor] = {}
        self.factor = torch.ones(())

    def enter(self, stage: int, network: Classifier) -> None:
        self.stage = stage
        if stage == 1 and not self.anchor:
            self.anchor = {name: values.detach().clone() for name, values in network.head.named_parameters()}
        self.anchor = {name: values.to(device_of(network)) for name, values in self.anchor.items()}

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            logits, self.anchor = scores("train").logits, {}
            weight = reweighted(logits[self.held], self.label[self.held], self.options.gamma)
            self.weight = torch.zeros_like(self.weight).index_copy(0, self.held, weight)

    def steps(self, epoch: int) -> int:
        """Return how many steps an epoch of stage 1 has."""
        done, epochs, steps = epoch - self.start, self.epochs - self.start, self.options.steps
        return max(1, (done + 1) * steps // epochs - done * steps // epochs)

    def pictures(self, epoch: int) -> int:
        """Return the number of pictures of an epoch; in stage 1, of as many plain batches as it has steps."""
        return len(self.seen) if epoch < self.start else self.steps(epoch) * self.batch_size

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
        if self.stage == 1:
            return [self.held.numpy()] * self.steps(epoch)
        return np.array_split(rng.permutation(self.seen.numpy()), steps_per_epoch(len(self.seen), batch_size))

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor | None:
        if self.stage == 0:
            return None
        head = dict(network.head.named_parameters())
        pull = self.options.pull * sum((head[name] - start).square().sum() for name, start in self.anchor.items())
        loss = (self.weight_of(batch.row, out.logits) * cross_entropy(out.logits, batch.label)).sum() + pull
        gradients = torch.autograd.grad(loss, list(head.values()), retain_graph=True)
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        self.factor = (self.options.clip / (norm + TINY)).clamp(max=1)
        return self.factor * pull

    def terms(self, view: View) -> Terms:
        if self.stage == 0:
            return Terms()
        weight = self.factor * self.weight_of(view.row, view.logits)
        return Terms(weight=len(weight) * weight)  # the objective is a mean, theirs a sum

    def weight_of(self, row: Tensor | None, like: Tensor) -> Tensor:
        """Return mu of the pictures of these rows, (n,), in the type of another tensor and on its device."""
        return beside(self.weight[require(row, "rows of the batch")], like)

    def state_dict(self) -> dict[str, Tensor]:
        return {"weight": self.weight} | {f"anchor.{name}": values for name, values in self.anchor.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.weight = state["weight"]
        self.anchor = {name.removeprefix("anchor."): v for name, v in state.items() if name.startswith("anchor.")}


def build(options: Options, context: Context) -> FeatureReweighting:
    """Return the method before its first step. Raises SettingError if there are too few pictures to hold some out."""
    pictures = len(context.table.label)
    if not 0 < round(options.held_out * pictures) < pictures:
        reason = f"one part of {pictures} training pictures would be empty; expected at least one in each part"
        raise SettingError("held_out", options.held_out, reason)
    order = torch.randperm(pictures, generator=context.generator)
    return FeatureReweighting(options, context.table, context.epochs, context.batch_size, order)
