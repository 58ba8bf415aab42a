"""Gold loss correction (Hendrycks et al. 2018): a first classifier estimates the label noise on clean pictures.

Two stages of half the epochs each: cross entropy on the noisy pictures; then, from the first weights again, clean and
noisy pictures together, the noisy ones corrected by the estimated matrix. The clean pictures are the meta originals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.noisy_losses import corrected_cross_entropy, estimate_transition
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier, device_of
from clp_train.pictures.moving import onto


@dataclass(frozen=True)
class Options(Settings):
    """The setting of gold loss correction. Source: Hendrycks et al. 2018."""

    smoothing: float = setting(
        0.0, "s of T = (1 - s) T-hat + s / C, for classes with few clean pictures; 0 uses T-hat unchanged.", low=0,
        high=1, source="ours; the paper uses T-hat unchanged",
    )  # fmt: skip


class Glc(Method):
    """transition: T-hat, float32 (C, C), zeros until it is estimated. The stream's rows from `noisy` on are clean."""

    stages = (Stage(share=0.5), Stage(share=0.5, stream="both", restart=True))

    def __init__(self, options: Options, table: TrainTable) -> None:
        self.options, self.clean_label = options, require(table.meta_label, "labels of meta pictures")
        self.noisy, self.classes = len(table.label), table.classes
        self.transition = torch.zeros(table.classes, table.classes)
        self.correcting = False

    def enter(self, stage: int, network: Classifier) -> None:
        self.correcting = stage == 1
        self.transition = self.transition.to(device_of(network))

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            share = self.options.smoothing
            estimate = estimate_transition(scores("meta").logits.softmax(1), self.clean_label, self.classes)
            self.transition = (1 - share) * estimate + share / self.classes

    def terms(self, view: View) -> Terms:
        if not self.correcting:
            return Terms()
        clean = require(view.row, "rows of the view") >= self.noisy
        return Terms(loss=self.loss_of(onto(clean, view.label.device)))

    def loss_of(self, clean: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss of a batch: cross entropy for clean pictures, corrected for the others. clean: bool (n,)."""

        def loss(logits: Tensor, label: Tensor) -> Tensor:
            corrected = corrected_cross_entropy(logits, label, self.transition)
            return torch.where(clean, cross_entropy(logits, label), corrected)

        return loss

    def state_dict(self) -> dict[str, Tensor]:
        return {"transition": self.transition}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.transition = state["transition"]


def build(options: Options, context: Context) -> Glc:
    """Return the method. Raises SettingError for a class without clean pictures."""
    context.table.require_meta_of_all_classes(context.method)
    return Glc(options, context.table)
