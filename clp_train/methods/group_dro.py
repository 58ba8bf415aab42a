"""GroupDRO (Sagawa et al. 2020): groups whose loss is high come to weigh more, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Method
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.environments import part_means


@dataclass(frozen=True)
class Options:
    """eta: step size of the groups' weights; adjustment: C of C / sqrt(n_g), added to the losses that move them.

    Source: 0.01 and 0 of the paper; its best runs on Waterbirds take C = 2 and much weight decay.
    """

    eta: float = 0.01
    adjustment: float = 0.0

    def __post_init__(self) -> None:
        require_within("eta", self.eta, 0)
        require_within("adjustment", self.adjustment, 0)


class GroupDro(Method):
    """The objective is sum_g q_g L_g, where q_g is multiplied by exp(eta (L_g + C / sqrt(n_g))) before each step.

    L_g: mean loss of the group in the batch; a group that is not there keeps its weight until all are scaled to a sum
    of 1. log_q: (G,), -inf for a group without training pictures. Groups come equally often. Source: the paper's online
    algorithm, with a batch in place of one picture.
    """

    stages = (Stage(sampler="group"),)

    def __init__(self, options: Options, table: TrainTable) -> None:
        counts = table.group_counts().double()
        self.options = options
        self.push = options.adjustment / counts.clamp(min=1).sqrt()
        self.log_q = torch.where(counts > 0, 0.0, -torch.inf).double().log_softmax(0)

    def observe(self, view: View) -> None:
        losses, _ = part_means(cross_entropy(view.logits, view.label), view.group)
        there = view.group.unique().to(self.log_q.device)
        moved = self.log_q.index_add(0, there, self.options.eta * (losses.to(self.log_q) + self.push[there]))
        self.log_q = moved.log_softmax(0)

    def terms(self, view: View) -> Terms:
        _, where, counts = view.group.unique(return_inverse=True, return_counts=True)
        share = self.log_q.exp().to(view.logits)[view.group]
        return Terms(weight=share * len(view.group) / counts[where])

    def state_dict(self) -> dict[str, Tensor]:
        return {"log_q": self.log_q}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.log_q = state["log_q"]


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> GroupDro:
    """Return the method before its first step. Raises UsageError for a data set without groups."""
    table.require_groups(config.method)
    return GroupDro(make_options(config.method, config.options), table)
