"""EIIL (Creager et al. 2021): infer two environments from a first network's errors, then use GroupDRO over them.

Training uses no group labels. The environments maximise IRM's penalty of the first network; a group is an environment
and a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.settings import setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.quick_optimisers import Adam
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods import group_dro
from clp_train.methods.group_dro import GroupDro
from clp_train.methods.parts.environments import scale_slopes
from clp_train.methods.parts.placing import beside
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.samplers import draw_evenly

ENVIRONMENTS = 2


@dataclass(frozen=True)
class Options(group_dro.Options):
    """The settings of EIIL, besides those of GroupDRO. Source: the authors' code, unless a setting says otherwise."""

    first_epochs: int = setting(
        1, "Epochs of the first network.", low=1, source="the runs on Waterbirds of the SpuCo library"
    )
    assignment_steps: int = setting(
        10_000, "Steps of Adam on the soft assignments to environments.", low=1, source="20,000 in the SpuCo library"
    )
    assignment_lr: float = setting(
        0.01, "Learning rate of these steps.", above=0, source="the SpuCo library; 0.001 in the authors' code"
    )


def infer_environments(slopes: Tensor, start: Tensor, steps: int, lr: float) -> Tensor:
    """Return the environment of each picture, 0 or 1, int64 (N,), that makes IRM's penalty large.

    slopes: float (N,), d CE(s z, y) / ds at s = 1; start: float (N,), start values of the assignments' logits w. The
    penalty is (a^2 + b^2) / 2 with a = mean(q slopes), b = mean((1 - q) slopes), q = sigmoid(w); Adam climbs it. Its
    slope is written out: (a - b) slopes q (1 - q) / N. Source: the authors' code; eq. (EI) of their paper.
    """
    w = start.clone()
    optimiser = Adam([w], lr)
    for _ in range(steps):
        q = w.sigmoid()
        gap = (slopes * (2 * q - 1)).mean()
        w.grad = -gap * slopes * q * (1 - q) / len(slopes)
        optimiser.step()
    return (w > 0).long()


class Eiil(Method):
    """Stage 0 is ERM; stage 1 starts again, with GroupDRO over groups (y, inferred environment), sampled equally often.

    group: int64 (N,), of each training picture; dro: the GroupDRO over these groups. Both are None until stage 1.
    """

    def __init__(self, options: Options, table: TrainTable, epochs: int, generator: torch.Generator) -> None:
        self.options, self.table, self.generator, self.stage = options, table, generator, 0
        share = options.first_epochs / epochs
        self.stages = (Stage(share=share), Stage(share=1 - share, restart=True))
        self.group: Tensor | None = None
        self.dro: GroupDro | None = None

    def enter(self, stage: int, network: Classifier) -> None:
        self.stage = stage
        if self.dro is not None:
            self.dro.enter(0, network)

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            slopes = scale_slopes(scores("train").logits.double(), self.table.label)
            start = torch.randn(len(slopes), dtype=torch.float64, generator=self.generator)
            options = self.options
            environment = infer_environments(slopes, start, options.assignment_steps, options.assignment_lr)
            self.take(self.table.label * ENVIRONMENTS + environment)

    def take(self, group: Tensor) -> None:
        """Set the inferred groups, int64 (N,), and a new GroupDRO over them."""
        table = self.table._replace(group=group, groups=self.table.classes * ENVIRONMENTS)
        self.group, self.dro = group, GroupDro(self.options, table)

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        if self.stage == 0:
            return None
        rows = draw_evenly(require(self.group, "inferred groups").numpy(), rng)
        return np.array_split(rows, steps_per_epoch(len(rows), batch_size))

    def regrouped(self, view: View) -> View:
        """Return a view with the inferred groups in place of those of the data set."""
        group = require(self.group, "inferred groups")[require(view.row, "rows of the view")]
        return view._replace(group=beside(group, view.label))

    def observe(self, view: View) -> None:
        if self.stage == 1:
            require(self.dro, "GroupDRO").observe(self.regrouped(view))

    def terms(self, view: View) -> Terms:
        return Terms() if self.stage == 0 else require(self.dro, "GroupDRO").terms(self.regrouped(view))

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.group is None or self.dro is None else {"group": self.group, **self.dro.state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            self.take(state["group"])
            require(self.dro, "GroupDRO").load_state_dict(state)


def build(options: Options, context: Context) -> Eiil:
    """Return the method before its first step."""
    return Eiil(options, context.table, context.epochs, context.generator)
