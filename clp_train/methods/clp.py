"""Causal logit perturbation, Algorithm 1, and Meta-LP: Omega learns delta from the ten characteristics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_aug.common.settings import narrowed, setting
from clp_aug.contract.errors import SettingError
from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.characteristics import (
    CHARACTERISTICS,
    ClassStats,
    View,
    characteristics,
    standardise,
)
from clp_train.algorithm.losses import COUNTERFACTUAL_LOSSES
from clp_train.algorithm.method import Context, Learner, Scores
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.optimiser import rate_factor
from clp_train.algorithm.perturbation import FORMS, Omega
from clp_train.algorithm.stages import Stage
from clp_train.backgrounds.prior import background_start
from clp_train.methods.parts.backgrounds import BackgroundEpochs
from clp_train.methods.parts.omega import OmegaRate
from clp_train.methods.parts.placing import beside
from clp_train.models.parts import Classifier, device_of

BACKGROUND_ONLY = ("omega_start", ("background",))
ALONE = "none"
WITH_OMEGA = ("omega_form", FORMS)


@dataclass(frozen=True)
class Options(OmegaRate, BackgroundEpochs):
    """The settings that only CLP and Meta-LP have: Omega and the start of delta."""

    omega_lr: float = narrowed(OmegaRate, "omega_lr", WITH_OMEGA)
    omega_form: str = setting(
        "full", "Form of delta: full: a free number per class; bounded: 3 tanh of it; true-class: only for the label's"
        " class; none: no Omega, delta is only the background's share.", choices=(*FORMS, ALONE),
        source="section 3.2 has the full form; none is ours",
    )  # fmt: skip
    omega_start: str = setting(
        "zero", "Start of delta: 0, the log class shares, or the log probabilities of the classes given"
        " the picture without its object.", choices=("zero", "log-prior", "background"), source="ours",
    )  # fmt: skip
    leave_out: int = setting(
        0, "Characteristic of Table 1, from 1, that Omega sees as 0; with 0 it sees all.", low=0,
        high=len(CHARACTERISTICS), source="Fig. 9", works_with=WITH_OMEGA,
    )  # fmt: skip
    batches: str = setting(
        "natural", "Sampling of training batches: natural, or all classes equally often.", choices=("natural", "class")
    )
    omega_schedule: str = setting(
        "constant", "Learning rates of the meta step: constant, or following the network's schedule.",
        choices=("constant", "network"),
    )  # fmt: skip
    background_share: float = setting(
        1.0, "Share of the background's log probabilities in delta.", low=0, source="ours", works_with=BACKGROUND_ONLY
    )
    background_step: float = setting(
        0.0, "Learning rate of Adam for that share in the meta step; 0 keeps the share fixed.", low=0, source="ours",
        works_with=BACKGROUND_ONLY,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.omega_start == "log-prior" and self.omega_form != "full":
            raise SettingError("omega_start", "log-prior", f"needs the full form, not {self.omega_form}",
                               {"omega_form": "full"})  # fmt: skip
        if self.background_epochs is not None and self.omega_start != "background":
            raise SettingError(
                "background_epochs", self.background_epochs, f"no background is learnt with omega_start ="
                f" {self.omega_start}", {"omega_start": "background"},
            )  # fmt: skip
        if self.omega_form == ALONE and (self.omega_start != "background" or not self.background_step):
            raise SettingError(
                "omega_form", ALONE, "the meta step would have nothing to learn",
                {"omega_start": "background", "background_step": 3e-2},
            )  # fmt: skip


@dataclass(frozen=True)
class ClpOptions(Options):
    """The settings of CLP: the target of its counterfactuals."""

    counterfactual_target: str = setting(
        "not-y", "Target of a counterfactual in the meta step: not-y: any class but y; chance: all classes equally"
        " likely.", choices=tuple(COUNTERFACTUAL_LOSSES), source="eq. (3); chance is ours",
    )  # fmt: skip


OPTIONS = {"clp": ClpOptions, "meta-lp": Options}


class Share(nn.Module):
    """The share of the background, if the meta step learns nothing else. share: a scalar."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))


class Clp(Learner):
    """Omega, its Adam and the running class means; if delta starts from the background, its log prior (N, C) and share.

    omega: None if delta is only the share.

    Source: Algorithm 1 of the paper; Adam is the authors'; the background and its share are ours.
    """

    perturbs = True

    def __init__(self, options: Options, context: Context) -> None:
        counts = context.table.class_counts()
        self.sees_background = options.omega_start == "background"
        self.background_epochs = options.background_epochs
        self.omega: Omega | None = None
        if options.omega_form == ALONE:
            alone = Share(options.background_share)
            super().__init__(alone, options.background_step)
            self.share: Tensor = alone.share
        else:
            self.omega = Omega(counts, options.omega_form, options.omega_start, context.generator)
            super().__init__(self.omega, options.omega_lr)
            self.share = torch.tensor(options.background_share)
            if options.background_step:
                self.learn_share(options.background_step)
        self.saliency_weight = context.saliency.saliency_lambda
        if isinstance(options, ClpOptions):
            self.counterfactual_target = options.counterfactual_target
        self.classes = ClassStats.start(counts)
        self.stages = (Stage(sampler=options.batches),)
        self.follows_network = options.omega_schedule == "network"
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.column_mask = torch.ones(len(CHARACTERISTICS))
        if options.leave_out:
            self.column_mask[options.leave_out - 1] = 0
        self.context = context
        table = context.table
        self.prior = torch.zeros(len(table.label), table.classes) if self.sees_background else None

    def learn_share(self, step: float) -> None:
        """Let the meta step learn the share too, with its own learning rate."""
        self.share = self.network.share = nn.Parameter(self.share)
        self.learned = (*self.learned, self.share)
        self.optimiser.add_param_group({"params": [self.share], "lr": step})

    def enter(self, stage: int, network: Classifier) -> None:
        super().enter(stage, network)
        self.classes = self.classes.to(device_of(network))
        self.column_mask = self.column_mask.to(device_of(network))

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if self.sees_background and epoch == 0:
            self.prior = background_start(scores, self.context)

    def observe(self, view: View) -> None:
        self.classes = self.classes.updated(view)
        if self.follows_network:
            epochs = self.context.epochs
            factor = rate_factor(self.context.sgd, round(view.progress * epochs), epochs)
            for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
                group["lr"] = factor * rate

    def terms(self, view: View) -> Terms:
        parts = [] if self.omega is None else [self.perturb(self.omega, view)]
        if self.prior is not None:
            parts.append(self.share * beside(self.prior[view.row], view.logits))
        return Terms(delta=sum(parts[1:], parts[0]))

    def perturb(self, omega: Omega, view: View) -> Tensor:
        """PERTURB: return Omega's perturbation for the characteristics of a view, (n, C)."""
        g = standardise(characteristics(view, self.classes))
        delta: Tensor = omega(g * self.column_mask.to(g), view.label)
        return delta

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
    """CLP without causal augmentation: only the meta originals, and no saliency. Source: section 4 of the paper."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self.saliency_weight = 0.0


CLASSES = {"clp": Clp, "meta-lp": MetaLp}


def build(options: Options, context: Context) -> Clp:
    """Return CLP or Meta-LP before its first step.

    Raises SettingError if meta pictures need a delta from their backgrounds, which are not scored.
    """
    method = CLASSES[context.method](options, context)
    if method.sees_background and context.meta_step.meta_delta != "none":
        raise SettingError(
            "omega_start", "background", "only backgrounds of training pictures are scored; set meta_delta to none, or"
            " omega_start to zero",
        )  # fmt: skip
    return method
