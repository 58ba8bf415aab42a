"""Causal logit perturbation, Algorithm 1, and Meta-LP: Omega learns delta from the ten characteristics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clp_aug.contract.errors import UsageError
from clp_aug.contract.schema import ORIGINAL
from clp_aug.contract.seeds import rng_for
from clp_train.background import background_log_prior
from clp_train.characteristics import (
    CHARACTERISTICS,
    ClassStats,
    View,
    background_margin,
    characteristics,
    standardised,
)
from clp_train.config import TrainConfig
from clp_train.methods import make_options
from clp_train.methods.base import Learner, TrainTable
from clp_train.objective import Terms
from clp_train.perturbation import Omega
from clp_train.scoring import BACKGROUND, Scores


@dataclass(frozen=True)
class Options:
    """leave_out: the characteristic of Table 1, from 1, that Omega sees as 0; 0 for none (Fig. 9); background: an
    eleventh, how much the picture without its object speaks for the label, anew every epoch (ours).
    """

    leave_out: int = 0
    background: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.leave_out <= len(CHARACTERISTICS):
            raise UsageError(f"--set leave_out={self.leave_out}: expected 1 to {len(CHARACTERISTICS)}, or 0 for none")


class Clp(Learner):
    """Omega, its Adam and the running class means; where they are asked for, logits of the backgrounds alone, (N, C),
    and what delta starts from, (N, C). Source: Algorithm 1 of the paper; Adam is the authors'.
    """

    perturbs = True

    def __init__(self, config: TrainConfig, table: TrainTable, generator: torch.Generator) -> None:
        options, counts = make_options(config.method, config.options), table.class_counts()
        self.shows_background, self.starts_from_it = options.background, config.omega_start == "background"
        self.sees_background = self.shows_background or self.starts_from_it
        omega = Omega(counts, config.omega_form, config.omega_start, generator, more=int(options.background))
        super().__init__(omega, config.omega_lr)
        self.saliency_weight = config.saliency_lambda
        self.classes = ClassStats.start(counts)
        self.kept = torch.ones(len(CHARACTERISTICS) + int(options.background))
        if options.leave_out:
            self.kept[options.leave_out - 1] = 0
        self.label, self.seed = table.label, config.seed
        nothing = torch.zeros(len(table.label), table.classes)
        self.background = nothing if self.shows_background else None
        self.prior = nothing if self.starts_from_it else None

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if self.shows_background:
            self.background = scores(BACKGROUND).logits
        if self.starts_from_it and epoch == 0:
            rng = rng_for(self.seed, 0, "background")
            self.prior = background_log_prior(scores(BACKGROUND).features, self.label, self.prior.shape[1], rng)

    def observe(self, view: View) -> None:
        self.classes = self.classes.updated(view)

    def terms(self, view: View) -> Terms:
        g = characteristics(view, self.classes)
        if self.shows_background:
            g = torch.cat([g, background_margin(self.background[view.row], view.label)[:, None]], 1)
        delta = self.network(standardised(g) * self.kept.to(g), view.label)
        return Terms(delta=delta if self.prior is None else delta + self.prior[view.row].to(delta))

    def state_dict(self) -> dict[str, Tensor]:
        state = super().state_dict() | {f"classes.{name}": v for name, v in self.classes._asdict().items()}
        more = {"background": self.background, "prior": self.prior}
        return state | {name: values for name, values in more.items() if values is not None}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.classes = ClassStats(**{name: state[f"classes.{name}"] for name in ClassStats._fields})
        self.background, self.prior = state.get("background"), state.get("prior")


class MetaLp(Clp):
    """CLP without causal augmentation: the meta originals alone, and no saliency. Source: section 4 of the paper."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, config: TrainConfig, table: TrainTable, generator: torch.Generator) -> None:
        super().__init__(config, table, generator)
        self.saliency_weight = 0.0


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> Clp:
    """Return CLP or Meta-LP before its first step.

    Raises UsageError where delta of meta pictures is asked for, whose backgrounds nobody scores.
    """
    method = {"clp": Clp, "meta-lp": MetaLp}[config.method](config, table, generator)
    if method.sees_background and config.meta_delta != "none":
        asked, other = ("background=true", "false") if method.shows_background else ("omega_start=background", "zero")
        raise UsageError(
            f"--set {asked}: backgrounds of training pictures alone are known; give --meta-delta none, or"
            f" --set {asked.partition('=')[0]}={other}"
        )
    return method
