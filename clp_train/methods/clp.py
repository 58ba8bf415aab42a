"""Causal logit perturbation, Algorithm 1, and Meta-LP: Omega learns delta from the ten characteristics."""

from __future__ import annotations

import torch
from torch import Tensor

from clp_aug.contract.schema import ORIGINAL
from clp_train.characteristics import ClassStats, View, characteristics, standardised
from clp_train.config import TrainConfig
from clp_train.methods.base import Learner, TrainTable
from clp_train.objective import Terms
from clp_train.perturbation import Omega


class Clp(Learner):
    """Omega, its Adam, and the running class means. Source: Algorithm 1 of the paper; Adam is the authors'."""

    def __init__(self, config: TrainConfig, counts: Tensor, generator: torch.Generator) -> None:
        super().__init__(Omega(counts, config.omega_form, config.omega_start, generator), config.omega_lr)
        self.saliency_weight = config.saliency_lambda
        self.classes = ClassStats.start(counts)

    def observe(self, view: View) -> None:
        self.classes = self.classes.updated(view)

    def terms(self, view: View) -> Terms:
        return Terms(delta=self.network(standardised(characteristics(view, self.classes)), view.label))

    def state_dict(self) -> dict[str, Tensor]:
        return super().state_dict() | {f"classes.{name}": v for name, v in self.classes._asdict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.classes = ClassStats(**{name: state[f"classes.{name}"] for name in ClassStats._fields})


class MetaLp(Clp):
    """CLP without causal augmentation: the meta originals alone, and no saliency. Source: section 4 of the paper."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, config: TrainConfig, counts: Tensor, generator: torch.Generator) -> None:
        super().__init__(config, counts, generator)
        self.saliency_weight = 0.0


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> Clp:
    """Return CLP or Meta-LP before its first step."""
    return {"clp": Clp, "meta-lp": MetaLp}[config.method](config, table.class_counts(), generator)
