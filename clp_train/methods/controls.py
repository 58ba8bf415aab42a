"""Controls: what group labels, or the meta pictures, are worth without any perturbation.

Group weighting and group sampling, which Sagawa et al. 2020 call upweighting, know the group of every training picture,
which CLP does not; meta-only learns from the meta originals, which CLP knows too.
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
    """Each picture weighs N / (G n_g), so that all groups count alike and the mean weight is 1."""

    def __init__(self, table: TrainTable) -> None:
        counts = table.group_counts()
        self.weight = counts.sum() / ((counts > 0).sum() * counts.clamp(min=1))

    def enter(self, stage: int, network: Classifier) -> None:
        self.weight = self.weight.to(device_of(network))

    def terms(self, view: View) -> Terms:
        return Terms(weight=self.weight.to(view.logits)[view.group])


class GroupSample(Method):
    """All groups come equally often."""

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
