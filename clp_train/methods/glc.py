"""Gold loss correction (Hendrycks et al. 2018): a first classifier shows on clean pictures how labels go wrong.

Two stages of half the epochs each: cross entropy on the noisy pictures; then, from the first weights again, clean and
noisy pictures together, the noisy ones through the estimated matrix. The clean pictures are the meta originals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.noisy_losses import corrected_cross_entropy, estimated_transition
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.method import Scores
from clp_train.algorithm.stages import Stage


@dataclass(frozen=True)
class Options:
    """smoothing: s of T = (1 - s) T-hat + s / C, for classes with few clean pictures; 0 as in the paper."""

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        require_within("smoothing", self.smoothing, 0, 1)


class Glc(Method):
    """transition: T-hat, float32 (C, C), zeros until it is estimated. Rows from `noisy` on are clean pictures."""

    stages = (Stage(share=0.5), Stage(share=0.5, stream="both", restart=True))

    def __init__(self, options: Options, table: TrainTable) -> None:
        self.options, self.clean_label = options, table.meta_label
        self.noisy, self.classes = len(table.label), table.classes
        self.transition = torch.zeros(table.classes, table.classes)
        self.correcting = False

    def enter(self, stage: int, network: nn.Module) -> None:
        self.correcting = stage == 1

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            share = self.options.smoothing
            found = estimated_transition(scores("meta").logits.softmax(1), self.clean_label, self.classes)
            self.transition = (1 - share) * found + share / self.classes

    def terms(self, view: View) -> Terms:
        return Terms(loss=self.loss_of(view.row >= self.noisy)) if self.correcting else Terms()

    def loss_of(self, clean: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss of a batch: cross entropy of clean pictures, bool (n,), the corrected one of the others."""

        def loss(logits: Tensor, label: Tensor) -> Tensor:
            corrected = corrected_cross_entropy(logits, label, self.transition)
            return torch.where(clean, cross_entropy(logits, label), corrected)

        return loss

    def state_dict(self) -> dict[str, Tensor]:
        return {"transition": self.transition}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.transition = state["transition"]


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> Glc:
    """Return the method. Raises UsageError for a class without clean pictures."""
    table.require_meta_of_all_classes(config.method)
    return Glc(make_options(config.method, config.options), table)
