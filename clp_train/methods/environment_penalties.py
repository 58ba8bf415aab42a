"""IRM, IB-IRM, V-REx and CORAL: penalties that make a classifier treat all environments alike.

An environment is what groups share across classes, for example the place of a bird. If it were the group itself, every
environment would have one label, and every classifier that separates labels would be penalised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.checks import require_learning_body
from clp_train.methods.parts.divided import Parts, parts_of
from clp_train.methods.parts.environments import alignment, even_weights, feature_variance, invariance, risk_variance
from clp_train.models.parts import Classifier, Output, device_of
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.samplers import even_batches
from clp_train.pictures.types import Batch

EVENLY = "What is sampled equally often in each batch; natural: nothing, plain sampling."
HALF_A_RUN = "500, or half of a run under 1,000 steps"
GULRAJANI = "Gulrajani and Lopez-Paz 2021"
LONGEST = 500  # steps before a penalty has its strength, where the run has as many again


@dataclass(frozen=True)
class Coral(Settings):
    """The settings of CORAL. Source: Gulrajani and Lopez-Paz 2021; even groups are ours: environments with different
    label frequencies should differ in their features, so each class must be equally frequent in all of them.
    """

    strength: float = setting(1.0, "Weight of the penalty.", low=0, source=GULRAJANI)
    batches: str = setting("group", EVENLY, choices=("group", "environment", "natural"), source="ours")


@dataclass(frozen=True)
class VRex(Coral):
    """The settings of V-REx. Source: Gulrajani and Lopez-Paz 2021; half of a short run is ours, because a short run
    would otherwise never use its penalty.
    """

    strength: float = setting(10.0, "Weight of the penalty.", low=0, source=GULRAJANI)
    batches: str = setting("environment", EVENLY, choices=("environment", "group", "natural"))
    anneal: int | None = setting(
        None, "Steps before the penalty has its weight; until then it weighs 1.", low=0, shown=HALF_A_RUN,
        source=GULRAJANI,
    )  # fmt: skip


@dataclass(frozen=True)
class Irm(VRex):
    """The settings of IRM. Source: Gulrajani and Lopez-Paz 2021."""

    strength: float = setting(100.0, "Weight of the penalty.", low=0, source=GULRAJANI)
    estimate: str = setting(
        "square", "How the squared derivative is estimated: by the square in the batch, or by the product of two"
        " halves, which is unbiased.", choices=("square", "halves"), source="Arjovsky et al. 2019",
    )  # fmt: skip


@dataclass(frozen=True)
class IbIrm(Irm):
    """The settings of IB-IRM. Source: Gulrajani and Lopez-Paz 2021."""

    bottleneck: float = setting(
        100.0, "Weight of the features' variance; a high one can flatten the features.", low=0, source=GULRAJANI
    )
    bottleneck_anneal: int | None = setting(
        None, "Steps before the features' variance acts at all.", low=0, shown=HALF_A_RUN, source=GULRAJANI
    )


OPTIONS = {"irm": Irm, "ib-irm": IbIrm, "v-rex": VRex, "coral": Coral}


def settle_anneal(options: Coral, steps: int) -> Coral:
    """Return the settings for a run of `steps` steps: None becomes half of them, at most 500."""
    early = min(LONGEST, steps // 2)
    settings: dict[str, Any] = {f.name: early for f in fields(options) if getattr(options, f.name) is None}
    return replace(options, **settings)


class Aligned(Method):
    """Batches with environments or groups equally often, and the penalty of CORAL on the features."""

    def __init__(self, options: Coral, table: TrainTable) -> None:
        self.options, self.of_group = options, table.environments()
        parts: dict[str, Tensor | None] = {
            "environment": self.of_group[table.group],
            "group": table.group,
            "natural": None,
        }
        self.part = parts[options.batches]
        self.most = int(self.of_group.max()) + 1

    def enter(self, stage: int, network: Classifier) -> None:
        self.of_group = self.of_group.to(device_of(network))

    def environments(self, group: Tensor) -> Parts:
        """Return the environments of pictures by their groups, int64 (n,)."""
        return parts_of(self.of_group.to(group.device)[group], self.most)

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        return None if self.part is None else even_batches(self.part.numpy(), batch_size, rng)

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor:
        return self.options.strength * alignment(out.features, self.environments(batch.group))


class Annealed(Aligned):
    """The mean over environments of their risks, plus a penalty that is weak at first. If the penalty's strength is
    above 1, the sum is divided by it, as in the code of Arjovsky et al. 2019, so steps keep their size. step: how many
    have begun.
    """

    options: VRex
    paced = True

    def __init__(self, options: VRex, table: TrainTable) -> None:
        super().__init__(options, table)
        self.step = torch.zeros((), dtype=torch.int64)

    def observe(self, view: View) -> None:
        self.step += 1

    def is_past(self, steps: int | None) -> bool:
        """Return whether `steps` steps are past; None, which `settle_anneal` replaces, is never past."""
        return steps is not None and bool(self.step > steps)

    def strength(self) -> float:
        """Return the penalty's weight in the present step, before the sum is divided."""
        return self.options.strength if self.is_past(self.options.anneal) else 1.0

    def terms(self, view: View) -> Terms:
        weight = even_weights(self.environments(view.group), view.logits.dtype)
        return Terms(weight=weight / max(1.0, self.strength()))

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor:
        raw = self.strength() * self.difference(out, batch.label, self.environments(batch.group))
        return raw / max(1.0, self.strength())

    def difference(self, out: Output, label: Tensor, parts: Parts) -> Tensor:
        """Return V-REx's penalty, a scalar."""
        return risk_variance(cross_entropy(out.logits, label), parts)

    def state_dict(self) -> dict[str, Tensor]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.step = state["step"].clone()


class Invariant(Annealed):
    """IRM."""

    options: Irm

    def difference(self, out: Output, label: Tensor, parts: Parts) -> Tensor:
        return invariance(out.logits, label, parts, self.options.estimate == "halves")


class Narrowed(Invariant):
    """IRM with a bottleneck: the features' variance within environments is added."""

    options: IbIrm

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor:
        plain = super().penalty(out, batch, network)
        if not self.is_past(self.options.bottleneck_anneal):
            return plain
        narrow = self.options.bottleneck * feature_variance(out.features, self.environments(batch.group))
        return plain + narrow / max(1.0, self.strength())


KINDS: dict[str, Callable[[Any, TrainTable], Aligned]] = {
    "irm": Invariant,
    "ib-irm": Narrowed,
    "v-rex": Annealed,
    "coral": Aligned,
}


def build(options: Coral, context: Context) -> Aligned:
    """Return the method before its first step. Raises SettingError without groups, and for frozen features."""
    context.table.require_groups(context.method)
    if context.method in ("coral", "ib-irm"):
        require_learning_body(context, "acts on features that learn")
    steps = context.epochs * steps_per_epoch(len(context.table.label), context.batch_size)
    return KINDS[context.method](settle_anneal(options, steps), context.table)
