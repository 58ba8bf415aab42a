"""The interface of methods: the loop uses nothing else of a method, and no method changes the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from clp_aug.contract.schema import KINDS
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.quick_optimisers import Adam
from clp_train.algorithm.settings import MetaStepSettings, SaliencySettings, SgdSettings
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable

if TYPE_CHECKING:
    from clp_train.models.parts import Classifier, Output
    from clp_train.pictures.types import Batch, BoxedPictures

BACKGROUND, LEARNT_BACKGROUND = "background", "learnt background"

Scores = Callable[[str], "Output"]
"""Stream -> features (N, A) and logits (N, C) of its pictures, in their order. "train"; "meta", the originals; or
BACKGROUND, the training pictures with their objects hidden, for methods that see it; LEARNT_BACKGROUND, the same by
networks that have learnt them, each picture by one that has not seen it, which takes as long as a run.
"""


@dataclass(frozen=True)
class Context:
    """What a method may know about its run before the run starts. method: its registered name; table: of the training
    pictures; generator: for its start values; trainable: "all", or "head" for a run that trains only the last layer.
    """

    method: str
    table: TrainTable
    generator: torch.Generator
    seed: int = 0
    epochs: int = 30
    batch_size: int = 100
    trainable: str = "all"
    sgd: SgdSettings = SgdSettings()
    meta_step: MetaStepSettings = MetaStepSettings()
    saliency: SaliencySettings = SaliencySettings()


class Method:
    """The interface that a run calls. The defaults give plain cross entropy on the training pictures.

    stages: what learns from which pictures, in order; head: name of the last layer; networks: 1, or 2 for peers; scale:
    factor of the final logits before their softmax gives probabilities, for cosine logits; paced: whether an epoch
    depends on the number of epochs of the run, so a longer run differs from its first epoch on and cannot continue a
    shorter one; saliency_weight: lambda of eq. (6), 0 for none; learned: the tensors that the meta step trains, empty
    for none; meta_kinds: the kinds of meta pictures that its meta step uses; counterfactual_target: the target of
    counterfactuals, a key of `losses.COUNTERFACTUAL_LOSSES`; perturbs: whether `terms` always has a delta, and reports
    may ask for the delta of any view at any time without changing the run; sees_background: whether it asks for scores
    of BACKGROUND; background_epochs: epochs of the networks for the scores of LEARNT_BACKGROUND, None for as many as
    the run has; remark: one line that users should know about a run with these settings, "" for none.
    Everything that one step leaves for a later one must be in `state_dict`; otherwise a resumed run differs.
    """

    stages: Sequence[Stage] = (Stage(),)
    head: str = "linear"
    networks: int = 1
    scale: float = 1.0
    paced: bool = False
    saliency_weight: float = 0.0
    learned: Sequence[Tensor] = ()
    meta_kinds: Sequence[int] = tuple(range(len(KINDS)))
    counterfactual_target: str = "not-y"
    perturbs: bool = False
    sees_background: bool = False
    background_epochs: int | None = None
    remark: str = ""

    def enter(self, stage: int, network: Classifier) -> None:
        """Prepare the network for a stage (from 0); called when it starts and again when a run resumes within it."""

    def begin_stage(self, stage: int, scores: Scores) -> None:
        """Use the network's scores of the pictures before a stage; called once, before a fresh start."""

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        """Prepare an epoch (from 0) of a run with `epochs` epochs; called once, before the epoch's first step.

        scores: the network's outputs on a stream at this moment. Each call of it costs a pass over the stream.
        """

    def learns(self, progress: float) -> bool:
        """Return whether the meta step is taken at this share of the run's epochs, in [0, 1)."""
        return True

    def additions(self, meta: BoxedPictures) -> BoxedPictures | None:
        """Return pictures, made from all meta pictures, that are appended to the training stream; None for none.

        Called when a stage starts or goes on, after `enter`: the same stage asks for the same pictures.
        """
        return None

    def pictures(self, epoch: int) -> int | None:
        """Return how many rows `batches` gives for an epoch; None for as many as the stream has."""
        return None

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        """Return the rows of each batch of an epoch on the training stream, int64; None for the stage's sampler."""
        return None

    def partners(self, batch: Batch, rng: np.random.Generator) -> np.ndarray | None:
        """Return a partner for each picture of a batch, rows of the stream, int64 (n,), for `batch.second`."""
        return None

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Return the batch to learn from: pictures mixed with their partners and soft labels, or the same batch."""
        return batch

    def observe(self, view: View) -> None:
        """Look at a training batch, before `terms`; called once per step."""

    def terms(self, view: View) -> Terms:
        """Return the terms of the objective for the pictures of a view, with a graph to `learned`."""
        return Terms()

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor | None:
        """Return a scalar that is added to the objective, with a graph to the network, not to `learned`; None for none.

        out: the network's output on the batch's pictures. Called after `observe`, before `terms`.
        """
        return None

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Move `learned` along the hypergradient, one tensor for each tensor of it; called after each meta step."""
        raise NotImplementedError(f"{type(self).__name__} has learned tensors; expected an update that moves them")

    def numbers(self) -> dict[str, float]:
        """Return the method's numbers for an epoch's line of the history, by name; called at the epoch's end."""
        return {}

    def predict(self, out: Output, head: nn.Linear) -> Tensor:
        """Return the logits that predictions are made from, (n, C); a post-hoc method changes them."""
        return out.logits

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that a resumed run needs, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load a state that `state_dict` returned."""


class Learner(Method):
    """A method that learns a small network with Adam. Subclasses set `network` and `terms`."""

    def __init__(self, network: torch.nn.Module, lr: float, weight_decay: float = 0.0) -> None:
        self.network = network
        self.learned = tuple(network.parameters())
        self.optimiser: torch.optim.Optimizer = Adam(self.learned, lr=lr, weight_decay=weight_decay)

    def enter(self, stage: int, network: Classifier) -> None:
        """Move the small network and the state of its Adam to the classifier's device."""
        self.network.to(network.head.weight.device)
        self.optimiser.load_state_dict(self.optimiser.state_dict())

    def update(self, gradients: Sequence[Tensor]) -> None:
        for values, gradient in zip(self.learned, gradients, strict=True):
            values.grad = gradient
        self.optimiser.step()

    def state_dict(self) -> dict[str, Tensor]:
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for i, slots in self.optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{i}.{name}": torch.as_tensor(value) for name, value in slots.items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        weights = {name.removeprefix("network."): v for name, v in state.items() if name.startswith("network.")}
        self.network.load_state_dict(weights)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith("optimiser."):
                _, i, slot = name.split(".")
                slots.setdefault(int(i), {})[slot] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})
