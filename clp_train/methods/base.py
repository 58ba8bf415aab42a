"""What a method may fill in; the loop asks for nothing else, and no method touches the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from clp_aug.contract.schema import KINDS
from clp_train.characteristics import View
from clp_train.objective import Terms
from clp_train.stages import Stage

if TYPE_CHECKING:
    from clp_train.data import Batch
    from clp_train.models.parts import Output


class TrainTable(NamedTuple):
    """What a method may know of the training pictures before it starts. label, group: int64 (N,)."""

    label: Tensor
    group: Tensor
    classes: int
    groups: int

    def class_counts(self) -> Tensor:
        """Return the pictures of each class, float32 (C,)."""
        return torch.bincount(self.label, minlength=self.classes).float()

    def group_counts(self) -> Tensor:
        """Return the pictures of each group, float32 (G,)."""
        return torch.bincount(self.group, minlength=self.groups).float()


class Method:
    """The slots of a run, all empty: plain cross entropy on the training pictures.

    stages: what learns from what, in order; saliency_weight: lambda of eq. (6), 0 for none; learned: what the meta step
    trains, empty for none; meta_kinds: the kinds of meta pictures that its meta step looks at.
    """

    stages: Sequence[Stage] = (Stage(),)
    saliency_weight: float = 0.0
    learned: Sequence[Tensor] = ()
    meta_kinds: Sequence[int] = tuple(range(len(KINDS)))

    def observe(self, view: View) -> None:
        """Take note of a training batch, before `terms`; called once a step."""

    def terms(self, view: View) -> Terms:
        """Return what goes into the objective for the pictures of a view, with a graph to `learned`."""
        return Terms()

    def penalty(self, out: Output, batch: Batch) -> Tensor | None:
        """Return what is added to the objective, a scalar with a graph to the network and none to `learned`."""
        return None

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Move `learned` along the hypergradient, one tensor each; called after each meta step."""
        raise NotImplementedError(f"{type(self).__name__} has learned tensors and no update")

    def predict(self, logits: Tensor) -> Tensor:
        """Return the logits that pictures are judged by, (n, C); a post-hoc method changes them."""
        return logits

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
        self.optimiser = torch.optim.Adam(self.learned, lr=lr, weight_decay=weight_decay)

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
        own = {name.removeprefix("network."): v for name, v in state.items() if name.startswith("network.")}
        self.network.load_state_dict(own)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith("optimiser."):
                _, i, slot = name.split(".")
                slots.setdefault(int(i), {})[slot] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})
