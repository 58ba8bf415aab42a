"""CSA, context-shift augmentation (Shi et al. 2023): rare classes in front of contexts of frequent ones.

Two heads share the body. The first learns from the training pictures. If it is sure of a picture, the part outside of
its Grad-CAM is the picture's context and goes to a bank. The second learns from pictures drawn evenly over the classes,
each blended with another context: x~ = a M x_bank + (1 - a M) x, M = (1 - CAM)^2, a uniform in [0, 1), one per step.
Differences from the authors' code: the probability in the step itself says whether a picture is sure, so only sure
pictures cost a Grad-CAM, if the device can be asked without waiting. Grad-CAMs are bilinear, and a flat one gives no
context. A step uses contexts of earlier steps. The blended pictures do not change the running statistics of batch norm,
because evaluation uses pictures without blending.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.passes import virtual_pass
from clp_train.evaluating.gradcam import gradcam
from clp_train.methods.parts import divided
from clp_train.methods.parts.checks import FEATURES_ONCE, require_learning_body
from clp_train.methods.parts.contexts import Bank, added
from clp_train.methods.parts.present import require
from clp_train.models.heads import DualHead
from clp_train.models.parts import Classifier, Output, device_of
from clp_train.pictures.types import Batch

JUDGES = ("first", "second", "mean")


@dataclass(frozen=True)
class Options(Settings):
    """The settings of CSA. Source: the authors' settings for CIFAR, unless a setting says otherwise."""

    start: float = setting(
        0.05, "Share of the run's epochs before contexts are blended in.", low=0, high=1, source="epoch 10 of 200"
    )
    confidence: float = setting(
        0.8, "Smallest probability of the label at which a picture's context goes to the bank.", low=0, high=1
    )
    judge: str = setting(
        "first", "Head that predicts, or the mean of both.", choices=JUDGES,
        source="ours; the authors keep the best of the first",
    )  # fmt: skip


class Csa(Method):
    """bank: the latest contexts of the epoch, at most `size`, None for none; counts: whether the blended pictures of
    the step count: a bool scalar if a device decides it, None if they exist only when they count.
    """

    head = "dual"
    paced = True

    def __init__(self, options: Options, label: Tensor, size: int) -> None:
        self.options, self.size = options, size
        self.members = [(label == c).nonzero().squeeze(1).numpy() for c in label.unique()]
        self.bank: Bank | None = None
        self.counts: Tensor | None = None
        self.progress = 0.0

    def enter(self, stage: int, network: Classifier) -> None:
        self.bank = None if self.bank is None else self.bank.to(device_of(network))

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        self.bank = None

    def partners(self, batch: Batch, rng: np.random.Generator) -> np.ndarray | None:
        if self.bank is None or len(self.bank) < len(batch):
            return None
        drawn = rng.integers(len(self.members), size=len(batch))
        return np.array([rng.choice(self.members[c]) for c in drawn])

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        if batch.second is None:
            return batch
        bank = require(self.bank, "contexts")
        images, part = bank.take(len(batch), rng)
        self.counts, second = bank.holds(len(batch)), batch.second
        blended = part * images + (1 - part) * second.images
        return replace(batch, second=replace(second, images=blended))

    def observe(self, view: View) -> None:
        self.progress = view.progress

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor | None:
        loss = None
        if batch.second is not None:
            features = virtual_pass(network, {}, batch.second.images).features
            loss = F.cross_entropy(second_logits(network.head, features), batch.second.label)
            loss = loss if self.counts is None else loss * self.counts
        if self.progress >= self.options.start:
            self.keep(batch, out.logits.detach(), network)
        return loss

    def keep(self, batch: Batch, logits: Tensor, network: Classifier) -> None:
        """Put the contexts of pictures that the first head is sure of into the bank."""
        sure = logits.softmax(1).gather(1, batch.label[:, None]).squeeze(1) >= self.options.confidence
        images, label = batch.images, batch.label
        if divided.is_known(sure):  # each costs a Grad-CAM
            rows = sure.nonzero().squeeze(1)
            if not len(rows):
                return
            images, label, sure = images[rows], label[rows], sure[rows]
        masks, peaked = context_masks(gradcam(network, images, label).to(images))
        self.bank = added(self.bank, images, masks, sure & peaked, self.size)

    def predict(self, out: Output, head: nn.Linear) -> Tensor:
        if self.options.judge == "first":
            return out.logits
        second = second_logits(head, out.features)
        return second if self.options.judge == "second" else (out.logits + second) / 2

    def state_dict(self) -> dict[str, Tensor]:
        bank = None if self.bank is None else self.bank.whole()
        return {"images": bank.images, "masks": bank.masks} if bank else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            self.bank = Bank(state["images"], state["masks"])


def context_masks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return (1 - CAM)^2, (n, 1, H, W) in [0, 1], CAM being each map scaled to [0, 1], and which are not flat, (n,).

    maps: float (n, H, W). A flat one gives 1 throughout.
    """
    low = maps.amin((1, 2), keepdim=True)
    span = maps.amax((1, 2), keepdim=True) - low
    scaled = (maps - low) / torch.where(span > 0, span, 1)
    return (1 - scaled).square()[:, None], (span > 0)[:, 0, 0]


def second_logits(head: nn.Linear, features: Tensor) -> Tensor:
    """Return the second head's logits of features, (n, C). Raises TypeError for a last layer with one head."""
    if not isinstance(head, DualHead):
        raise TypeError(f"{type(head).__name__} has no second head, expected DualHead")
    return head.second(features)


def build(options: Options, context: Context) -> Csa:
    """Return the method before its first step. Raises SettingError if the run trains on features, not on pictures."""
    require_learning_body(context, FEATURES_ONCE)
    return Csa(options, context.table.label, context.batch_size)
