"""The losses of a matte. Every term is a mean over the pixels with known truth.

Alpha, truth and weight: float (N, 1, H, W); truth in [0, 1]; weight 0 where the truth is unknown, else 1. Source: Qiao
et al., CVPR 2020, L = l1 L_adv + l2 L_MSE + l3 L_SSIM with (0.05, 1, 0.1) at its start; L1, BCE and the projections
are ours, for boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from kornia.metrics import ssim
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError

WINDOW = 11  # of SSIM, in pixels (Wang et al. 2004)
LOW, HIGH = 0.25, 0.75  # a row's highest alpha is sure below LOW and above HIGH
UNSEEN = 30.0  # negative logit of unknown pixels
CRITIC = (32, 64, 128, 256)  # planes; half of the published width


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term, >= 0 and not all 0. adversarial: 0.05 in the paper; off by default, because it needs a
    critic. Raises UsageError for other values.
    """

    mse: float = 1.0
    ssim: float = 0.1
    l1: float = 0.5
    bce: float = 0.5
    projection: float = 0.5
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if not 0 <= value < float("inf"):
                raise UsageError(f"weight of {name} {value!r}: expected a number >= 0")
        if not any(values.values()):
            raise UsageError("weights of all losses are 0: expected at least one above 0")


def mean_known(values: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of values over the known pixels of the whole batch; 0 if there are none."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


def only_known(alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return alpha, replaced by the truth at unknown pixels: windows that reach there see no difference."""
    return torch.where(weight > 0, alpha, truth)


def mse_loss(alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """L_MSE of the paper."""
    return mean_known((alpha - truth).square(), weight)


def l1_loss(alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference. Source: ours; unlike the square it also punishes a matte that is faint everywhere."""
    return mean_known((alpha - truth).abs(), weight)


def ssim_loss(alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """L_SSIM = 1 - SSIM of the paper, in [0, 2]. Kornia's own `ssim_loss` is half of it, clamped to [0, 1]."""
    return mean_known(1 - ssim(only_known(alpha, truth, weight), truth, WINDOW), weight)


def bce_loss(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Binary cross entropy of being inside, alpha > 0.5: boxes are drawn around these pixels. Source: ours."""
    inside = (truth > 0.5).to(logits.dtype)
    return mean_known(F.binary_cross_entropy_with_logits(logits, inside, reduction="none"), weight)


def projection_loss(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Binary cross entropy of the rows and columns that hold the object: those of its box, unless it has gaps.

    A row holds the object if its highest alpha is high. If that is neither high nor low, the row is unknown and has no
    weight. Truth 1 with a low weight is the inside of a drawn box: the pixels of the object are unknown, but every row
    and column of the box holds some. A leg of one pixel weighs as much here as a body, as it does for a box. Source:
    ours, after the projection term of Tian et al., CVPR 2021, which is a Dice loss.
    """
    seen = logits.masked_fill((weight == 0) & (truth < HIGH), -UNSEEN)
    losses, sure = [], []
    for axis in (2, 3):
        goal = truth.amax(axis)
        losses.append(F.binary_cross_entropy_with_logits(seen.amax(axis), (goal > 0.5).to(logits), reduction="none"))
        sure.append(((goal <= LOW) | (goal >= HIGH)).to(logits))
    return mean_known(torch.cat([part.flatten() for part in losses]), torch.cat([part.flatten() for part in sure]))


class PatchCritic(nn.Module):
    """PatchGAN: float (N, 4, H, W), picture in [0, 1] and alpha, -> a logit "real" for each patch of 70 pixels.

    Sides of at least 24 pixels. Source: Isola et al., CVPR 2017; group norm in place of batch norm is ours.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 4
        for i, planes in enumerate(CRITIC):
            layers.append(nn.Conv2d(before, planes, 4, 2 if i < 3 else 1, 1))
            if i:
                layers.append(nn.GroupNorm(8, planes))
            layers.append(nn.LeakyReLU(0.2))
            before = planes
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def adversarial_loss(critic: PatchCritic, picture: Tensor, alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """L_adv of the paper for the matte's network: the critic should rate its alpha as real.

    picture: float (N, 3, H, W). No gradient reaches the critic's parameters. Source: Goodfellow et al. 2014, the
    non-saturating form.
    """
    parameters = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    pair = torch.cat([picture, only_known(alpha, truth, weight)], 1)
    verdict = torch.func.functional_call(critic, parameters, (pair,))
    return F.binary_cross_entropy_with_logits(verdict, torch.ones_like(verdict))


def critic_loss(critic: PatchCritic, picture: Tensor, alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return the critic's own loss: the truth is real, alpha is not. No gradient reaches alpha."""
    fake = only_known(alpha.detach(), truth, weight)
    real, false = (critic(torch.cat([picture, matte], 1)) for matte in (truth, fake))
    return (F.softplus(-real).mean() + F.softplus(false).mean()) / 2  # binary cross entropies with 1 and with 0


def matte_loss(
    logits: Tensor,
    truth: Tensor,
    weight: Tensor,
    weights: LossWeights,
    picture: Tensor | None = None,
    critic: PatchCritic | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sum to minimise and, by name, each term that has a weight, unweighted and detached.

    picture, critic: only for the adversarial term. Raises ValueError if it has a weight and they are None.
    """
    alpha = torch.sigmoid(logits)

    def adversarial() -> Tensor:
        if critic is None or picture is None:
            raise ValueError("the adversarial term has a weight; give picture and critic")
        return adversarial_loss(critic, picture, alpha, truth, weight)

    terms = {
        "mse": lambda: mse_loss(alpha, truth, weight),
        "ssim": lambda: ssim_loss(alpha, truth, weight),
        "l1": lambda: l1_loss(alpha, truth, weight),
        "bce": lambda: bce_loss(logits, truth, weight),
        "projection": lambda: projection_loss(logits, truth, weight),
        "adversarial": adversarial,
    }
    values = {name: term() for name, term in terms.items() if getattr(weights, name)}
    total = torch.stack([getattr(weights, name) * term for name, term in values.items()]).sum()
    return total, {name: term.detach() for name, term in values.items()}
