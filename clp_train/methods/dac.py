"""DaC, decompose and compose (Noohdani et al. 2024): causal parts of pictures in front of the rest of others.

A first network learns by plain cross entropy. Pictures that it finds easy are decomposed: the causal part is where its
evidence is, or, ours, the box. In the second stage every batch also has the causal parts alone, and the causal parts on
pictures of other classes, with the label of the causal part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.methods.parts.attributions import adaptive_masks, laid_out, values_of
from clp_train.methods.parts.checks import FEATURES_ONCE, require_learning_body
from clp_train.methods.parts.mixing import followed_by, taken
from clp_train.methods.parts.placing import beside
from clp_train.methods.parts.present import require
from clp_train.models.heads import start_head
from clp_train.models.parts import Classifier, device_of
from clp_train.pictures.keys import generator_for
from clp_train.pictures.moving import onto
from clp_train.pictures.types import Batch

FIRST = "first."  # how the names of the first network's values begin in the state


@dataclass(frozen=True)
class Options(Settings):
    """The settings of DaC. Source: the authors' runs on Waterbirds, unless a setting says otherwise."""

    parts: str = setting(
        "attributions", "Causal part of a picture: where the first network's evidence is, or the box.",
        choices=("attributions", "boxes"), source="attributions; boxes are ours",
    )  # fmt: skip
    invert: bool = setting(
        False, "Swap both parts: for a first network that looks at backgrounds.",
        works_with=("parts", ("attributions",)),
    )  # fmt: skip
    quantile: float = setting(
        0.6, "Quantile of the first network's losses up to which pictures are decomposed.", low=0, high=1
    )
    alpha: float = setting(
        10.0, "Weight of the causal parts alone, and of those on other pictures; a picture itself has weight 1.", low=0
    )
    retrained: str = setting(
        "head", "What learns in the second stage: a new last layer on the first network's body, or the whole network.",
        choices=("head", "all"),
    )  # fmt: skip
    first: float = setting(
        100 / 120, "Share of the run's epochs for the first network.", low=0.01, high=0.99,
        source="100 epochs, then 20",
    )  # fmt: skip
    rate: float = setting(
        1.0, "Learning rate of the second stage, as a multiple of the run's.", low=0,
        source="ours; theirs is 5 times the first one's, with another optimiser",
    )  # fmt: skip


class DecomposeAndCompose(Method):
    """Stage 0 is ERM. Stage 1 keeps the batch norm of a body that does not learn in training mode, as the authors do.

    chosen: bool (N,), which training pictures are decomposed; values: of the first network, if it gives the masks;
    weight: (n + 2 s,), of the batch's pictures in the present step; fresh: whether stage 1 is about to begin.
    """

    def __init__(self, options: Options, label: Tensor, seed: int) -> None:
        self.options, self.label, self.seed = options, label, seed
        self.stages = (Stage(share=options.first), Stage(share=1 - options.first, rate=options.rate))
        self.stage, self.fresh = 0, False
        self.network: Classifier | None = None
        self.chosen: Tensor | None = None
        self.values: dict[str, Tensor] = {}
        self.weight: Tensor | None = None

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            losses = F.cross_entropy(scores("train").logits, self.label, reduction="none")
            self.chosen, self.fresh = losses <= np.quantile(losses.numpy(), self.options.quantile).item(), True

    def enter(self, stage: int, network: Classifier) -> None:
        self.stage, self.network = stage, network
        if stage == 0:
            return
        if self.fresh:
            self.values = values_of(network) if self.options.parts == "attributions" else {}
            if self.options.retrained == "head":
                start_head(network.head, generator_for(self.seed, stage, "fresh head"))
            self.fresh = False
        elif self.values:
            self.values = laid_out(self.values, network)
        for name, w in network.named_parameters():
            w.requires_grad_(self.options.retrained == "all" or name.startswith("head."))

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        if self.stage == 0:
            return batch
        batch, rows = batch.to(device_of(require(self.network, "network"))), require(batch.row, "rows of the batch")
        places = require(self.chosen, "pictures to take apart")[rows].nonzero().squeeze(1)
        self.weight = weights_of(len(batch), len(places), self.options.alpha)
        if not len(places):
            return batch
        easy = taken(batch, places)
        partner = torch.from_numpy(draw_partners(self.label[rows[places]].numpy(), rng))
        alone, fused = composed(easy.images, self.masks(easy), partner, batch.images.mean((0, 2, 3), keepdim=True))
        return followed_by(batch, replace(easy, images=alone), replace(easy, images=fused))

    def masks(self, batch: Batch) -> Tensor:
        """Return the causal parts of pictures, bool (n, H, W). A picture without a box is causal as a whole: ours."""
        if self.options.parts == "boxes":
            return batch.inside | ~batch.inside.flatten(1).any(1)[:, None, None]
        masks = adaptive_masks(require(self.network, "network"), self.values, batch.images, batch.label)
        return masks ^ self.options.invert

    def terms(self, view: View) -> Terms:
        if self.stage == 0:
            return Terms()
        return Terms(weight=beside(require(self.weight, "weights of the batch"), view.logits))

    def state_dict(self) -> dict[str, Tensor]:
        if self.chosen is None:
            return {}
        return {"chosen": self.chosen} | {FIRST + name: value for name, value in self.values.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            self.chosen = state["chosen"]
            self.values = {name.removeprefix(FIRST): v for name, v in state.items() if name.startswith(FIRST)}


def composed(images: Tensor, mask: Tensor, partner: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return causal parts on one colour, and on the rest of their partners; it hides the partners' causal parts.

    images, and both returned: float (n, 3, H, W); mask: bool (n, H, W), the causal parts; partner: int64 (n,), rows, on
    the CPU; mean: (1, 3, 1, 1), the colour. Source: the authors' code.
    """
    there, rows = mask[:, None], onto(partner, images.device)
    rest = torch.where(there, mean, images)
    return torch.where(there, images, mean), torch.where(there, images, rest[rows])


def draw_partners(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random picture of another class for each picture, int64 (n,).

    If all pictures are of one class, it is a random permutation. label: int64 (n,). Source: the authors' code, for any
    number of classes.
    """
    classes = np.unique(label)
    if len(classes) == 1:
        return rng.permutation(len(label))
    partner = np.empty(len(label), np.int64)
    for c in classes:
        own = label == c
        partner[own] = rng.choice(np.flatnonzero(~own), own.sum())
    return partner


def weights_of(pictures: int, easy: int, alpha: float) -> Tensor:
    """Return each picture's weight, float64 (n + 2 s,), the batch's own n first, then s parts alone and s composed.

    With the objective's division by n + 2 s they give (L + alpha L' + alpha L'') / (1 + 2 alpha) of mean losses. The
    authors do not divide by 1 + 2 alpha; their Adam does not depend on that.
    """
    own = torch.full((pictures,), 1 / pictures, dtype=torch.float64)
    made = torch.full((2 * easy,), alpha / max(easy, 1), dtype=torch.float64)
    return torch.cat([own, made]) * (pictures + 2 * easy) / (1 + 2 * alpha)


def build(options: Options, context: Context) -> DecomposeAndCompose:
    """Return the method before its first step. Raises SettingError if the run trains on features, not on pictures."""
    require_learning_body(context, FEATURES_ONCE)
    return DecomposeAndCompose(options, context.table.label, context.seed)
