"""GroupDRO (Sagawa et al. 2020): groups with a high loss get more weight, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.divided import parts_of
from clp_train.methods.parts.placing import widest
from clp_train.models.parts import Classifier, device_of


@dataclass(frozen=True)
class Options(Settings):
    """The settings of GroupDRO. Source: Sagawa et al. 2020."""

    eta: float = setting(0.01, "Learning rate of the groups' weights.", low=0)
    adjustment: float = setting(
        0.0, "C of C / sqrt(n_g), which is added to the losses that move the groups' weights.", low=0,
        source="their best runs on Waterbirds take 2 and much weight decay",
    )  # fmt: skip


class GroupDro(Method):
    """The objective is sum_g q_g L_g, where q_g is multiplied by exp(eta (L_g + C / sqrt(n_g))) before each step.

    L_g: mean loss of the group in the batch; a group that is not in the batch keeps its weight until all are scaled to
    a sum of 1. log_q: (G,), -inf for a group without training pictures. Groups are sampled equally often. Source: the
    paper's online algorithm, with a batch in place of one picture.
    """

    stages = (Stage(sampler="group"),)

    def __init__(self, options: Options, table: TrainTable) -> None:
        counts = table.group_counts().double()
        self.options = options
        self.push = options.adjustment / counts.clamp(min=1).sqrt()
        self.log_q = torch.where(counts > 0, 0.0, -torch.inf).double().log_softmax(0)

    def enter(self, stage: int, network: Classifier) -> None:
        self.log_q, self.push = (widest(values, device_of(network)) for values in (self.log_q, self.push))

    def observe(self, view: View) -> None:
        parts = parts_of(view.group, len(self.log_q))
        losses = parts.means(cross_entropy(view.logits, view.label))
        rise = self.options.eta * (losses.to(self.log_q) + self.push[parts.ids])
        log_q = self.log_q.index_add(0, parts.ids, torch.where(parts.counts > 0, rise, 0))
        self.log_q = log_q.log_softmax(0)

    def terms(self, view: View) -> Terms:
        parts = parts_of(view.group, len(self.log_q))
        share = self.log_q.exp().to(view.logits)[view.group]
        return Terms(weight=share * len(view.group) / parts.counts[parts.place])

    def state_dict(self) -> dict[str, Tensor]:
        return {"log_q": self.log_q.cpu().double()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.log_q = state["log_q"]


def build(options: Options, context: Context) -> GroupDro:
    """Return the method before its first step. Raises SettingError for a data set without groups."""
    context.table.require_groups(context.method)
    return GroupDro(options, context.table)
