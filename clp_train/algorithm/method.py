"""What a method may fill in; the loop asks for nothing else, and no method touches the loop."""

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
    """What a method may know of its run before it starts. method: its registered name; table: of the training pictures;
    generator: for its start values; trainable: "all", or "head" for a run of only the last layer.
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
    """The slots of a run, all empty: plain cross entropy on the training pictures.

    stages: what learns from what, in order; head: name of the last layer; networks: 1, or 2 for peers; scale: what the
    logits that pictures are judged by are multiplied by before their softmax gives probabilities, of cosines; paced:
    whether what an epoch does hangs on how many the run has, so that a longer run is another one from its start on,
    not the same gone on with; saliency_weight:
    lambda of eq. (6), 0 for none; learned: what the meta step trains, empty for none; meta_kinds: the kinds of meta
    pictures that its meta step looks at; counterfactual_target: what a counterfactual is to be, of
    `losses.COUNTERFACTUAL_LOSSES`; perturbs: whether `terms` always has a delta, and reports may ask for that of
    any view at any time without changing the run; sees_background: whether it asks for scores of BACKGROUND;
    background_epochs: of the networks for those of LEARNT_BACKGROUND, None for as many as the run has; remark:
    what is to be known of a run with its settings, in a line, "" for nothing.

    Everything that one step leaves for a later one goes through `state_dict`, or a resumed run is another run.
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
        """Take note of what the network makes of the pictures before a stage; called once, before a fresh start."""

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        """Take note of an epoch (from 0) of so many in the run, and of what the network makes of the pictures then;
        called once, before its first step. Scores cost a pass over a stream each time they are asked for.
        """

    def learns(self, progress: float) -> bool:
        """Tell whether the meta step is taken at this share of the run's epochs, in [0, 1)."""
        return True

    def additions(self, meta: BoxedPictures) -> BoxedPictures | None:
        """Return pictures that join the training stream behind its own, made of all meta pictures; None for none.

        Called when a stage starts or goes on, after `enter`: the same stage asks for the same pictures.
        """
        return None

    def pictures(self, epoch: int) -> int | None:
        """Return how many rows `batches` gives for an epoch; None where they are as many as the stream has."""
        return None

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        """Return the rows of each batch of an epoch on the training stream, int64; None for the stage's sampler."""
        return None

    def partners(self, batch: Batch, rng: np.random.Generator) -> np.ndarray | None:
        """Return a partner for each picture of a batch, rows of the stream, int64 (n,), for `batch.second`."""
        return None

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Return the batch that is learnt from: pictures mixed with their partners, soft labels; or the same."""
        return batch

    def observe(self, view: View) -> None:
        """Take note of a training batch, before `terms`; called once a step."""

    def terms(self, view: View) -> Terms:
        """Return what goes into the objective for the pictures of a view, with a graph to `learned`."""
        return Terms()

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor | None:
        """Return what is added to the objective, a scalar with a graph to the network and none to `learned`.

        out: of the network on the batch's pictures; called after `observe`, before `terms`.
        """
        return None

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Move `learned` along the hypergradient, one tensor each; called after each meta step."""
        raise NotImplementedError(f"{type(self).__name__} has learned tensors and no update")

    def numbers(self) -> dict[str, float]:
        """Return what an epoch's line of the history says of the method, by name; called at the epoch's end."""
        return {}

    def predict(self, out: Output, head: nn.Linear) -> Tensor:
        """Return the logits that pictures are judged by, (n, C); a post-hoc method changes them."""
        return out.logits

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that a resumed run needs, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up a state that `state_dict` gave."""


class Learner(Method):
    """A method whose learned object is a small network, moved by Adam. Sub-classes set `network` and `terms`."""

    def __init__(self, network: torch.nn.Module, lr: float, weight_decay: float = 0.0) -> None:
        self.network = network
        self.learned = tuple(network.parameters())
        self.optimiser: torch.optim.Optimizer = Adam(self.learned, lr=lr, weight_decay=weight_decay)

    def enter(self, stage: int, network: Classifier) -> None:
        """Put the small network, and what its Adam knows of it, on the classifier's device."""
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
