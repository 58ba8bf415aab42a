"""IRM, IB-IRM, V-REx and CORAL: the environments of the training set shall look alike to the classifier.

An environment is what groups share across classes, the place of a bird for instance; were it the group itself, every
environment would have one label, and the penalties would hold for no classifier that tells labels apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from clp_aug.contract.errors import pick
from clp_train.pictures.types import Batch
from clp_train.pictures.batching import steps_per_epoch
from clp_train.algorithm.characteristics import View
from clp_train.methods.parts.environments import alignment, even_weights, feature_variance, invariance, risk_variance
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.checks import require_learning_body
from clp_train.models.parts import Output
from clp_train.algorithm.objective import Terms
from clp_train.pictures.samplers import even_batches

BATCHES = ("environment", "group", "natural")
ESTIMATES = ("square", "halves")
LONGEST = 500  # steps before a penalty has its strength, where the run has as many again


@dataclass(frozen=True)
class Coral:
    """strength: of the penalty; batches: what comes equally often in each, "environment", "group", or "natural" for
    none.

    Source: strength 1 of Gulrajani and Lopez-Paz 2021. Groups are ours: environments that differ in their labels should
    differ in their features, so classes have to be as common in each.
    """

    strength: float = 1.0
    batches: str = "group"

    def __post_init__(self) -> None:
        pick(dict.fromkeys(BATCHES), self.batches, "batches")
        require_within("strength", self.strength, 0)


@dataclass(frozen=True)
class VRex(Coral):
    """anneal: steps before the penalty has its strength; it has 1 until then. None: 500, or half of a run under 1,000,
    which would never see it else.

    Source: 10 and 500 of Gulrajani and Lopez-Paz 2021; the half is ours.
    """

    strength: float = 10.0
    batches: str = "environment"
    anneal: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anneal is not None:
            require_within("anneal", self.anneal, 0)


@dataclass(frozen=True)
class Irm(VRex):
    """estimate: of the squared derivative, its "square" in the batch, or the product of "halves", which is unbiased.

    Source: 100 of Gulrajani and Lopez-Paz 2021.
    """

    strength: float = 100.0
    estimate: str = "square"

    def __post_init__(self) -> None:
        super().__post_init__()
        pick(dict.fromkeys(ESTIMATES), self.estimate, "estimate")


@dataclass(frozen=True)
class IbIrm(Irm):
    """bottleneck: strength of the features' variance; bottleneck_anneal: steps before it acts at all, None as above.

    Source: 100 of Gulrajani and Lopez-Paz 2021. So strong it can flatten the features; lower it then.
    """

    bottleneck: float = 100.0
    bottleneck_anneal: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within("bottleneck", self.bottleneck, 0)
        if self.bottleneck_anneal is not None:
            require_within("bottleneck_anneal", self.bottleneck_anneal, 0)


OPTIONS = {"irm": Irm, "ib-irm": IbIrm, "v-rex": VRex, "coral": Coral}


def settled(options: Coral, steps: int) -> Coral:
    """Return the settings for a run of so many steps: half of them, 500 at most, in place of None."""
    early = min(LONGEST, steps // 2)
    return replace(options, **{f.name: early for f in fields(options) if getattr(options, f.name) is None})


class Aligned(Method):
    """Batches in which environments or groups come equally often, and the penalty of CORAL on the features."""

    def __init__(self, options: Coral, table: TrainTable) -> None:
        self.options, self.of_group = options, table.environments()
        parts = {"environment": self.of_group[table.group], "group": table.group, "natural": None}
        self.part = parts[options.batches]

    def environment(self, group: Tensor) -> Tensor:
        """Return the environment of pictures by their groups, int64 (n,)."""
        return self.of_group.to(group.device)[group]

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        return None if self.part is None else even_batches(self.part.numpy(), batch_size, rng)

    def penalty(self, out: Output, batch: Batch, network: nn.Module) -> Tensor | None:
        return self.options.strength * alignment(out.features, self.environment(batch.group))


class Annealed(Aligned):
    """The mean over environments of their risks, plus a penalty that is weak at first; all of it over the penalty's
    strength once that is more than 1, as in the code of Arjovsky et al. 2019: the steps stay as large as they were.

    step: how many have begun.
    """

    def __init__(self, options: VRex, table: TrainTable) -> None:
        super().__init__(options, table)
        self.step = torch.zeros((), dtype=torch.int64)

    def observe(self, view: View) -> None:
        self.step += 1

    def strength(self) -> float:
        """Return what the penalty weighs in the step under way, before all is divided."""
        return self.options.strength if self.step > self.options.anneal else 1.0

    def terms(self, view: View) -> Terms:
        weight = even_weights(self.environment(view.group), view.logits.dtype)
        return Terms(weight=weight / max(1.0, self.strength()))

    def penalty(self, out: Output, batch: Batch, network: nn.Module) -> Tensor | None:
        raw = self.strength() * self.difference(out, batch.label, self.environment(batch.group))
        return raw / max(1.0, self.strength())

    def difference(self, out: Output, label: Tensor, env: Tensor) -> Tensor:
        """Return V-REx's penalty, a scalar."""
        return risk_variance(cross_entropy(out.logits, label), env)

    def state_dict(self) -> dict[str, Tensor]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.step = state["step"].clone()


class Invariant(Annealed):
    """IRM."""

    def difference(self, out: Output, label: Tensor, env: Tensor) -> Tensor:
        return invariance(out.logits, label, env, self.options.estimate == "halves")


class Narrowed(Invariant):
    """IRM with a bottleneck: the features' variance within environments is added."""

    def penalty(self, out: Output, batch: Batch, network: nn.Module) -> Tensor | None:
        found = super().penalty(out, batch, network)
        if self.step <= self.options.bottleneck_anneal:
            return found
        narrow = self.options.bottleneck * feature_variance(out.features, self.environment(batch.group))
        return found + narrow / max(1.0, self.strength())


KINDS = {"irm": Invariant, "ib-irm": Narrowed, "v-rex": Annealed, "coral": Aligned}


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> Aligned:
    """Return the method before its first step. Raises UsageError for a data set without groups, or frozen features."""
    table.require_groups(config.method)
    if config.method in ("coral", "ib-irm"):
        require_learning_body(config.method, config.trainable, "acts on features that learn")
    steps = config.epochs * steps_per_epoch(len(table.label), config.batch_size)
    return KINDS[config.method](settled(make_options(config.method, config.options), steps), table)
