"""Causal logit perturbation, Algorithm 1, and Meta-LP: Omega learns delta from the ten characteristics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_aug.contract.errors import UsageError, pick
from clp_aug.contract.schema import ORIGINAL
from clp_train.background import background_start
from clp_train.characteristics import (
    CHARACTERISTICS,
    ClassStats,
    View,
    characteristics,
    standardised,
)
from clp_train.config import TrainConfig
from clp_train.methods import make_options
from clp_train.methods.base import Learner, TrainTable
from clp_train.methods.checks import require_within
from clp_train.objective import Terms
from clp_train.optimiser import rate_factor
from clp_train.perturbation import Omega
from clp_train.scoring import Scores
from clp_train.stages import Stage

BATCHES = ("natural", "class")
OMEGA_SCHEDULES = ("constant", "network")


@dataclass(frozen=True)
class Options:
    """The settings of CLP alone.

    leave_out: the characteristic of Table 1, from 1, that Omega sees as 0; 0 for none (Fig. 9); batches: the sampler of
    the training batches, "class" for all classes equally often; omega_schedule: "network" lets Omega's step fall as the
    network's does; background_share: how much of what the background says is in delta; background_step: Adam's step, by
    which the meta step moves that share, 0 to leave it.
    """

    leave_out: int = 0
    batches: str = "natural"
    omega_schedule: str = "constant"
    background_share: float = 1.0
    background_step: float = 0.0

    def __post_init__(self) -> None:
        require_within("background_share", self.background_share, 0)
        require_within("background_step", self.background_step, 0)
        pick(dict.fromkeys(BATCHES), self.batches, "--set batches")
        pick(dict.fromkeys(OMEGA_SCHEDULES), self.omega_schedule, "--set omega_schedule")
        if not 0 <= self.leave_out <= len(CHARACTERISTICS):
            raise UsageError(f"--set leave_out={self.leave_out}: expected 1 to {len(CHARACTERISTICS)}, or 0 for none")


class Clp(Learner):
    """Omega, its Adam and the running class means; where delta starts from the background, its part, (N, C), and share.

    Source: Algorithm 1 of the paper; Adam is the authors'; the background and its share are ours.
    """

    perturbs = True

    def __init__(self, config: TrainConfig, table: TrainTable, generator: torch.Generator) -> None:
        options, counts = make_options(config.method, config.options), table.class_counts()
        self.sees_background = config.omega_start == "background"
        super().__init__(Omega(counts, config.omega_form, config.omega_start, generator), config.omega_lr)
        self.share = torch.tensor(options.background_share)
        if options.background_step:
            self.learn_share(options.background_step)
        self.saliency_weight = config.saliency_lambda
        self.classes = ClassStats.start(counts)
        self.stages = (Stage(sampler=options.batches),)
        self.follows = config if options.omega_schedule == "network" else None
        self.steps = [group["lr"] for group in self.optimiser.param_groups]
        self.kept = torch.ones(len(CHARACTERISTICS))
        if options.leave_out:
            self.kept[options.leave_out - 1] = 0
        self.table, self.config = table, config
        self.prior = torch.zeros(len(table.label), table.classes) if self.sees_background else None

    def learn_share(self, step: float) -> None:
        """Let the meta step move the share, too, with a step of its own."""
        self.share = self.network.share = nn.Parameter(self.share)
        self.learned = (*self.learned, self.share)
        self.optimiser.add_param_group({"params": [self.share], "lr": step})

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if self.sees_background and epoch == 0:
            self.prior = background_start(scores, self.table, self.config)

    def observe(self, view: View) -> None:
        self.classes = self.classes.updated(view)
        if self.follows is not None:
            factor = rate_factor(self.follows, round(view.progress * self.follows.epochs), self.follows.epochs)
            for group, step in zip(self.optimiser.param_groups, self.steps, strict=True):
                group["lr"] = factor * step

    def terms(self, view: View) -> Terms:
        g = standardised(characteristics(view, self.classes))
        delta = self.network(g * self.kept.to(g), view.label)
        if self.prior is not None:
            delta = delta + self.share.to(delta) * self.prior[view.row].to(delta)
        return Terms(delta=delta)

    def numbers(self) -> dict[str, float]:
        return {} if self.prior is None else {"background_share": self.share.item()}

    def state_dict(self) -> dict[str, Tensor]:
        state = super().state_dict() | {f"classes.{name}": v for name, v in self.classes._asdict().items()}
        return state if self.prior is None else state | {"prior": self.prior}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.classes = ClassStats(**{name: state[f"classes.{name}"] for name in ClassStats._fields})
        self.prior = state.get("prior")


class MetaLp(Clp):
    """CLP without causal augmentation: the meta originals alone, and no saliency. Source: section 4 of the paper."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, config: TrainConfig, table: TrainTable, generator: torch.Generator) -> None:
        super().__init__(config, table, generator)
        self.saliency_weight = 0.0


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> Clp:
    """Return CLP or Meta-LP before its first step.

    Raises UsageError where delta of meta pictures is asked for, whose backgrounds nobody scores, and for a share of the
    background where delta has no such part.
    """
    method = {"clp": Clp, "meta-lp": MetaLp}[config.method](config, table, generator)
    if method.sees_background and config.meta_delta != "none":
        raise UsageError(
            "--set omega_start=background: backgrounds of training pictures alone are known; give --meta-delta none, or"
            " --set omega_start=zero"
        )
    for name in ("background_share", "background_step"):
        if name in config.options and not method.sees_background:
            raise UsageError(f"--set {name}: delta has no part of the background; set omega_start=background, too")
    return method
