"""Controls: the effect of group labels, or of the meta pictures, without any perturbation.

Group weighting and group sampling, called upweighting by Sagawa et al. 2020, use the group of every training picture,
which CLP does not. Meta-only learns from the meta originals, which CLP uses too.
"""

from __future__ import annotations

from collections.abc import Callable

from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods import NoOptions
from clp_train.models.parts import Classifier, device_of


class GroupWeight(Method):
    """Each picture has the weight N / (G n_g): all groups count the same and the mean weight is 1."""

    def __init__(self, table: TrainTable) -> None:
        counts = table.group_counts()
        self.weight = counts.sum() / ((counts > 0).sum() * counts.clamp(min=1))

    def enter(self, stage: int, network: Classifier) -> None:
        self.weight = self.weight.to(device_of(network))

    def terms(self, view: View) -> Terms:
        return Terms(weight=self.weight.to(view.logits)[view.group])


class GroupSample(Method):
    """Sample all groups equally often."""

    stages = (Stage(sampler="group"),)


class MetaOnly(Method):
    """Cross entropy on only the meta originals."""

    stages = (Stage(stream="meta"),)


KINDS: dict[str, Callable[[TrainTable], Method]] = {
    "group-weight": GroupWeight,
    "uw": GroupWeight,
    "group-sample": lambda table: GroupSample(),
    "uw-sample": lambda table: GroupSample(),
    "meta-only": lambda table: MetaOnly(),
}


def build(options: NoOptions, context: Context) -> Method:
    """Return the control before its first step."""
    return KINDS[context.method](context.table)
