"""LfF, learning from failure (Nam et al. 2020): pictures that are hard for a biased classifier get more weight.

The biased classifier learns by generalised cross entropy, which amplifies easy pictures. The other classifier is the
first of the peers and makes the predictions. It learns by cross entropy with weights: how hard a picture is for the
biased classifier relative to this one. If only the last layer learns, the biased classifier is another last layer on
the same features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.optimiser import build_optimiser, optimiser_state, rate_factor, restore_optimiser, set_rates
from clp_train.algorithm.settings import SgdSettings
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.placing import widest
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier, Output, device_of, start_linear
from clp_train.pictures.moving import onto
from clp_train.pictures.types import Batch

BIASED = "biased."  # how the names of the additional last layer's parameters begin in a state
LEAST = 1e-8  # keeps the weights of pictures with zero loss finite


@dataclass(frozen=True)
class Options(Settings):
    """The settings of LfF. Source: the authors' code."""

    amplification: float = setting(
        0.7, "q, exponent of the label's probability in the biased classifier's loss.", above=0, high=1
    )
    decay: float = setting(0.7, "Decay of the moving average of each picture's losses.", low=0, below=1)


def amplified_cross_entropy(logits: Tensor, label: Tensor, q: float) -> Tensor:
    """Return q p_y^q CE of each picture, (n,), with q p_y^q held constant. logits: (n, C); label: int64 (n,).

    Its gradient is q times that of generalised cross entropy, (1 - p_y^q) / q. Source: the authors' code.
    """
    losses = cross_entropy(logits, label)
    return q * (-q * losses.detach()).exp() * losses


class LearningFromFailure(Method):
    """Two classifiers; the first one predicts.

    averages: (2, N), moving averages of each picture's cross entropy, for the biased classifier and the other, 0 before
    the picture was seen; met: bool (N,), which were seen. A picture's weight is W = b / (b + d), with its two averages
    divided by the largest of their class.
    """

    networks = 2

    def __init__(self, options: Options, table: TrainTable) -> None:
        self.options, self.label, self.classes = options, table.label, table.classes
        self.averages = torch.zeros(2, len(table.label), dtype=torch.float64)
        self.met = torch.zeros(len(table.label), dtype=torch.bool)
        self.weight = torch.ones(0)  # of the pictures of this step

    def enter(self, stage: int, network: Classifier) -> None:
        device = device_of(network)
        self.averages = widest(self.averages, device)
        self.met, self.label = self.met.to(device), self.label.to(device)

    def note(self, row: Tensor, biased: Tensor, other: Tensor) -> None:
        """Mix the losses of a step, (n,) each, into the averages, and compute the weights of its pictures.

        row: int64 (n,), the pictures' rows, none twice. The first loss of a picture is its first average.
        """
        decay = self.options.decay
        losses = torch.stack([biased, other]).detach().to(self.averages)
        self.averages[:, row] = decay * self.averages[:, row] + (1 - decay * self.met[row].to(losses)) * losses
        self.met[row] = True
        largest = self.averages.new_zeros(2, self.classes)
        largest = largest.scatter_reduce(1, self.label.expand(2, -1), self.averages, "amax")
        tiny = torch.finfo(losses.dtype).tiny
        b, d = self.averages[:, row] / largest[:, self.label[row]].clamp(min=tiny)
        self.weight = (b / (b + d + LEAST)).to(other.dtype)

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor | None:
        logits = require(out.other, "output of the peer").logits
        return self.biased_loss(logits, out.logits, batch)

    def biased_loss(self, biased: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return the biased classifier's mean loss, and record both classifiers' losses. biased, logits: (n, C)."""
        row = onto(require(batch.row, "rows of the batch"), batch.label.device)
        self.note(row, *(cross_entropy(part, batch.label) for part in (biased, logits)))
        return amplified_cross_entropy(biased, batch.label, self.options.amplification).mean()

    def terms(self, view: View) -> Terms:
        return Terms(weight=self.weight)

    def state_dict(self) -> dict[str, Tensor]:
        return {"averages": self.averages.cpu().double(), "met": self.met.cpu()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.averages, self.met = state["averages"], state["met"]


class OnFeatures(LearningFromFailure):
    """The same if only the last layer learns: `biased` is another last layer with its own optimiser.

    sgd: settings of both optimisers; epochs: of the run. The biased layer takes its step as soon as its loss is known.
    """

    networks = 1
    optimiser: torch.optim.Optimizer

    def __init__(
        self, options: Options, table: TrainTable, sgd: SgdSettings, epochs: int, generator: torch.Generator
    ) -> None:
        super().__init__(options, table)
        self.sgd, self.epochs, self.generator = sgd, epochs, generator
        self.biased: nn.Linear | None = None
        self.of_optimiser: dict[str, Tensor] = {}

    def enter(self, stage: int, network: Classifier) -> None:
        super().enter(stage, network)
        if self.biased is None:
            self.biased = nn.Linear(network.head.in_features, self.classes)
            start_linear(self.biased, self.generator)
        self.biased.to(network.head.weight)
        self.optimiser = build_optimiser(self.biased, [self.biased], self.sgd)
        restore_optimiser(self.of_optimiser, self.biased, self.optimiser)

    def observe(self, view: View) -> None:
        set_rates(self.optimiser, rate_factor(self.sgd, round(view.progress * self.epochs), self.epochs))

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> None:
        biased = require(self.biased, "the biased last layer")
        loss = self.biased_loss(biased(out.features.detach()), out.logits, batch)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def state_dict(self) -> dict[str, Tensor]:
        if self.biased is None:
            return super().state_dict()
        state = {f"{BIASED}{name}": value for name, value in self.biased.state_dict().items()}
        return super().state_dict() | state | optimiser_state(self.biased, self.optimiser)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        if f"{BIASED}weight" not in state:
            return
        weights = {name.removeprefix(BIASED): value for name, value in state.items() if name.startswith(BIASED)}
        classes, features = weights["weight"].shape
        self.biased = nn.Linear(features, classes)
        self.biased.load_state_dict(weights)
        self.of_optimiser = {name: value for name, value in state.items() if not name.startswith(BIASED)}


def build(options: Options, context: Context) -> LearningFromFailure:
    """Return the method before its first step."""
    if context.trainable == "all":
        return LearningFromFailure(options, context.table)
    return OnFeatures(options, context.table, context.sgd, context.epochs, context.generator)
