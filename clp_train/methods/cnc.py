"""Correct-N-Contrast (Zhang et al. 2022): pull features of a class together across a first network's errors.

Training uses no group labels. The first network learns by plain cross entropy; the paper gives it much weight decay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.checks import require_learning_body
from clp_train.methods.parts.contrast import PARTS, ContrastSets, contrastive_loss
from clp_train.models.parts import Classifier, Output
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.types import Batch


@dataclass(frozen=True)
class Options(Settings):
    """The settings of Correct-N-Contrast. Source: the authors' runs on Waterbirds, unless a setting says otherwise."""

    size: int = setting(17, "Pictures in each part of a set; fewer where the batch is small.", low=1)
    temperature: float = setting(0.1, "Temperature of the similarities.", low=0.001)
    contrast: float = setting(0.75, "Share of the contrastive terms in the objective.", low=0, high=1)
    anchors: str = setting(
        "even", "Classes of the first anchors of sets: all equally often, or natural.", choices=("even", "natural")
    )
    first: float = setting(0.5, "Share of the run's epochs for the first network.", low=0.01, high=0.99, source="ours")


class CorrectNContrast(Method):
    """Stage 0 is ERM; stage 1 starts again, on batches of sets, each of which has `PARTS` parts of `size` pictures.

    predicted: int64 (N,), the first network's predictions for the training pictures, their labels until then. An epoch
    has as many batches as one of ERM. One step per set, or per as many sets as a batch holds, is ours.
    """

    def __init__(self, options: Options, table: TrainTable, batch_size: int) -> None:
        self.options, self.table, self.stage = options, table, 0
        self.size = min(options.size, batch_size // PARTS)
        self.stages = (Stage(share=options.first), Stage(share=1 - options.first, restart=True))
        self.predicted = table.label

    def enter(self, stage: int, network: Classifier) -> None:
        self.stage = stage

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            self.predicted = scores("train").logits.argmax(1)

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        if self.stage == 0:
            return None
        sets = ContrastSets(self.table.label.numpy(), self.predicted.numpy())
        steps, each = steps_per_epoch(len(self.table.label), batch_size), batch_size // (PARTS * self.size)
        even = self.options.anchors == "even"
        return list(sets.epoch(steps * each, self.size, rng, even).reshape(steps, -1))

    def terms(self, view: View) -> Terms:
        if self.stage == 0:
            return Terms()
        return Terms(weight=torch.full_like(view.logits[:, 0], 1 - self.options.contrast))

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor | None:
        if self.stage == 0:
            return None
        units = F.normalize(out.features, dim=1).view(-1, PARTS, self.size, out.features.shape[1])
        anchors, positives, negatives, easy = units.unbind(1)  # (K, M, A) each
        of_anchor = contrastive_loss(anchors[:, 0], positives, negatives, self.options.temperature)
        of_positive = contrastive_loss(positives[:, 0], anchors, easy, self.options.temperature)
        return self.options.contrast * (of_anchor + of_positive).mean()

    def state_dict(self) -> dict[str, Tensor]:
        return {"predicted": self.predicted}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.predicted = state["predicted"]


def build(options: Options, context: Context) -> CorrectNContrast:
    """Return the method before its first step. Raises SettingError for a run without contrasts."""
    method, table, batch_size = context.method, context.table, context.batch_size
    if batch_size < PARTS:
        raise SettingError("batch_size", batch_size, f"method {method} expects at least {PARTS}, one of each part")
    require_learning_body(context, "acts on features that learn")
    if len(table.label.unique()) < 2:
        raise SettingError("method", method, "all training pictures are of one class; expected at least two classes")
    return CorrectNContrast(options, table, batch_size)
