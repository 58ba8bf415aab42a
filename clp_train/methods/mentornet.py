"""MentorNet (Jiang et al. 2018): a curriculum of weights v for pictures, from their losses relative to others'.

"pd", the predefined curriculum, is the closed form of the weights that the authors' network is trained to reproduce.
"dd", the data-driven one, fits a small network to clean pictures, the meta originals, after making their labels wrong
with the same noise. The fit (once, with labels drawn from the matrix of Hendrycks et al. 2018) is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.quick_optimisers import Adam
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.noisy_losses import estimate_transition
from clp_train.methods.parts.placing import beside, widest
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier, device_of, start_linear

PREDEFINED = ("curriculum", ("pd",))
LEAST_BURN_IN = 0.01  # of the data-driven curriculum: its first stage
WIDTH, FIT_STEPS, FIT_LR = 20, 500, 0.01  # of the data-driven network; its width is theirs


@dataclass(frozen=True)
class Options(Settings):
    """The settings of MentorNet. Source: the authors' code."""

    curriculum: str = setting(
        "pd", "Weights from losses: predefined (pd), or data-driven (dd), by a network fitted to the meta originals.",
        choices=("pd", "dd"),
    )  # fmt: skip
    percentile: float = setting(
        0.75, "Quantile of a batch's losses that each loss is compared with (the nearest loss).", low=0, high=1,
        source="0.75 for 20 and 40 % noise, 0.5 for 80 %",
    )  # fmt: skip
    decay: float = setting(0.5, "Decay of that quantile's moving average.", low=0, below=1)
    burn_in: float = setting(
        0.19, "Share of the run's epochs in which all weights are 1; at least 0.01 with curriculum dd.", low=0,
        high=0.99, source="epochs 0 to 18 of 100",
    )  # fmt: skip
    soft_from: float = setting(
        0.9, "Share of the run's epochs after which weights fall gradually, not at once.", low=0, high=1,
        works_with=PREDEFINED,
    )  # fmt: skip
    gamma: float = setting(1.0, "Units of loss over which weights fall off.", low=0, works_with=PREDEFINED)
    early: float = setting(0.17, "Share of the run's epochs with early_dropout in place of dropout.", low=0, high=1)
    early_dropout: float = setting(
        0.5, "Share of each batch that is left out at random in the early epochs.", low=0, below=1
    )
    dropout: float = setting(0.05, "Share of each batch that is left out at random later.", low=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.curriculum == "dd" and self.burn_in < LEAST_BURN_IN:
            reason = f"curriculum dd expects a number from {LEAST_BURN_IN} to 0.99, the epochs before it is fitted"
            raise SettingError("burn_in", self.burn_in, reason)


def predefined_weights(excess: Tensor, gamma: float) -> Tensor:
    """Return v in [0, 1] that minimises v l + gamma v^2 / 2 - (lambda + gamma) v, for excess = l - lambda: (n,).

    It is 1 where l <= lambda and falls to 0 over gamma above it; with gamma = 0 at once. Source: their eqs. (5) and
    (6).
    """
    return (1 - excess / gamma).clamp(0, 1) if gamma > 0 else (excess <= 0).to(excess)


def nearest_quantile(losses: Tensor, share: float) -> Tensor:
    """Return the loss that is nearest to a quantile, a scalar: one of losses (n,), at a whole rank.

    Half-way ranks are rounded to even ones, counted from the largest loss. Source: the authors' code.
    """
    return losses.sort(descending=True).values[round((1 - share) * (len(losses) - 1))]


def kept_pictures(left_out: float, n: int) -> int:
    """Return how many of n pictures are kept when a share is left out: rounded down, at least 1."""
    return max(math.floor((1 - left_out) * n + 1e-9), 1)  # 0.9 * 10 is 9, not 8.999


class MentorNet(Method):
    """The predefined curriculum. typical: moving average of the quantile of the losses, a scalar, float64 if the device
    has it, NaN before the first.
    """

    paced = True

    def __init__(self, options: Options, seed: int) -> None:
        self.options, self.seed = options, seed
        self.steps, self.typical = 0, torch.tensor(math.nan, dtype=torch.float64)
        self.dropout_mask = torch.ones(0)

    def enter(self, stage: int, network: Classifier) -> None:
        self.typical = widest(self.typical, device_of(network))

    def observe(self, view: View) -> None:
        options = self.options
        level = nearest_quantile(cross_entropy(view.logits, view.label), options.percentile).to(self.typical)
        mean = options.decay * self.typical + (1 - options.decay) * level
        self.typical = torch.where(self.typical.isnan(), level, mean)
        left_out = options.early_dropout if view.progress < options.early else options.dropout
        n = len(view.label)
        order = rng_for(self.seed, self.steps, "mentornet dropout").permutation(n)
        kept = np.zeros(n)
        kept[order[: kept_pictures(left_out, n)]] = 1
        self.dropout_mask = beside(torch.from_numpy(kept), view.logits)
        self.steps += 1

    def terms(self, view: View) -> Terms:
        losses = cross_entropy(view.logits, view.label)
        return Terms(weight=self.dropout_mask * self.weights(losses, losses - self.typical, view.progress))

    def weights(self, losses: Tensor, excess: Tensor, progress: float) -> Tensor:
        """Return v of each picture, (n,) in [0, 1]. excess: losses minus the typical one."""
        if progress < self.options.burn_in:
            return torch.ones_like(losses)
        return predefined_weights(excess, self.options.gamma if progress >= self.options.soft_from else 0.0)

    def state_dict(self) -> dict[str, Tensor]:
        return {"steps": torch.tensor(self.steps), "typical": self.typical.cpu().double()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.steps, self.typical = int(state["steps"]), state["typical"]


class DataDriven(MentorNet):
    """v from a perceptron 2 -> 20 -> 1 of the loss and its excess, fitted when the burn-in ends."""

    def __init__(self, options: Options, seed: int, table: TrainTable, generator: torch.Generator) -> None:
        super().__init__(options, seed)
        self.stages = (Stage(share=options.burn_in), Stage(share=1 - options.burn_in))
        self.clean_label = require(table.meta_label, "labels of meta pictures")
        self.classes, self.generator = table.classes, generator
        layers = nn.Linear(2, WIDTH), nn.Linear(WIDTH, 1)
        self.mentor = nn.Sequential(layers[0], nn.Tanh(), layers[1])
        for layer in layers:
            start_linear(layer, generator)
        self.is_fitted = False

    def enter(self, stage: int, network: Classifier) -> None:
        super().enter(stage, network)
        self.mentor.to(device_of(network))
        self.is_fitted = stage == 1

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            self.fit(scores("meta").logits)

    def fit(self, logits: Tensor) -> None:
        """Fit the perceptron to distinguish right from wrong labels. logits: (K, C), of the clean pictures.

        The fit is small, so it runs on the CPU: it takes no longer there, and is the same for all devices.
        """
        self.mentor.cpu()
        transition = estimate_transition(logits.softmax(1), self.clean_label, self.classes)
        noisy_label = torch.multinomial(transition[self.clean_label], 1, generator=self.generator).squeeze(1)
        losses = cross_entropy(logits, noisy_label)
        inputs = torch.stack([losses, losses - nearest_quantile(losses, self.options.percentile)], 1).float()
        right = (noisy_label == self.clean_label).float()
        optimiser = Adam(self.mentor.parameters(), lr=FIT_LR)
        for _ in range(FIT_STEPS):
            optimiser.zero_grad()
            F.binary_cross_entropy_with_logits(self.mentor(inputs).squeeze(1), right).backward()
            optimiser.step()

    @torch.no_grad()
    def weights(self, losses: Tensor, excess: Tensor, progress: float) -> Tensor:
        if not self.is_fitted:
            return torch.ones_like(losses)
        inputs = torch.stack([losses, excess], 1).to(next(self.mentor.parameters()))
        return self.mentor(inputs).sigmoid().squeeze(1).to(losses)

    def state_dict(self) -> dict[str, Tensor]:
        return super().state_dict() | {f"mentor.{name}": value for name, value in self.mentor.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        of_mentor = {name.removeprefix("mentor."): v for name, v in state.items() if name.startswith("mentor.")}
        self.mentor.load_state_dict(of_mentor)


def build(options: Options, context: Context) -> MentorNet:
    """Return the method. Raises SettingError for "dd" and a class without clean pictures."""
    if options.curriculum == "pd":
        return MentorNet(options, context.seed)
    context.table.require_meta_of_all_classes(context.method)
    return DataDriven(options, context.seed, context.table, context.generator)
