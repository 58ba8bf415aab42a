"""What a method may fill in; the loop asks for nothing else, and no method touches the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from clp_aug.contract.errors import UsageError
from clp_aug.contract.schema import KINDS
from clp_train.characteristics import View
from clp_train.objective import Terms
from clp_train.stages import Stage

if TYPE_CHECKING:
    from clp_train.batches import Batch, BoxedPictures
    from clp_train.models.parts import Output
    from clp_train.scoring import Scores


class TrainTable(NamedTuple):
    """What a method may know of the training pictures before it starts. label, group: int64 (N,).

    meta_label: int64 (K,), of the meta originals, in the order of `begin_stage`'s scores; wrong: the share of wrong
    labels that the shard's label noise makes in the mean, in [0, 1), 0 for none.
    """

    label: Tensor
    group: Tensor
    classes: int
    groups: int
    class_names: Sequence[str] = ()
    meta_label: Tensor | None = None
    wrong: float = 0.0

    def class_counts(self) -> Tensor:
        """Return the pictures of each class, float32 (C,)."""
        return torch.bincount(self.label, minlength=self.classes).float()

    def group_counts(self) -> Tensor:
        """Return the pictures of each group, float32 (G,)."""
        return torch.bincount(self.group, minlength=self.groups).float()

    def require_all_classes(self, method: str) -> None:
        """Raise UsageError if a class has no training picture, naming it."""
        lacking = (self.class_counts() == 0).nonzero().flatten().tolist()
        if lacking:
            named = ", ".join(str(self.class_names[c] if self.class_names else c) for c in lacking[:5])
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            raise UsageError(
                f"--method {method}: no training picture of class {named}{more}; expected one of each class at least;"
                " raise --limit, or leave the class out of the data set"
            )

    def require_meta_of_all_classes(self, method: str) -> None:
        """Raise UsageError if a class has no meta original, naming it."""
        counts = torch.bincount(self.meta_label, minlength=self.classes)
        for c in (counts == 0).nonzero().flatten().tolist():
            named = self.class_names[c] if self.class_names else c
            raise UsageError(
                f"--method {method}: no meta picture of class {named}; expected one of each class at least; make the"
                " shard with --meta N/class"
            )

    def require_groups(self, method: str) -> None:
        """Raise UsageError if the data set knows no groups other than its classes."""
        cells = torch.stack([self.label, self.group]).unique(dim=1)
        if self.groups <= self.classes or torch.bincount(cells[0]).max() < 2:
            raise UsageError(
                f"--method {method}: its groups are the {self.classes} classes; expected a data set that knows groups"
                " within classes, such as waterbirds; take a method without groups (clp-train --list-methods)"
            )

    def environments(self) -> Tensor:
        """Return what each group's pictures share across classes, int64 (G,).

        For groups (y, a) in order that is a, the place of a bird for instance, whether all of them have pictures or
        not, and also where fewer than half of the labels are wrong. Else a group's rank among the groups of its class
        that have pictures; 0 where groups are the classes.
        """
        places, rest = divmod(self.groups, self.classes)
        if rest == 0 and 2 * int((self.group // places == self.label).sum()) > len(self.label):
            return torch.arange(self.groups) % places
        seen = [sorted(set(self.group[self.label == c].tolist())) for c in range(self.classes)]
        rank = torch.zeros(self.groups, dtype=torch.int64)
        for groups in seen:
            rank[groups] = torch.arange(len(groups))
        return rank


class Method:
    """The slots of a run, all empty: plain cross entropy on the training pictures.

    stages: what learns from what, in order; head: name of the last layer; networks: 1, or 2 for peers; saliency_weight:
    lambda of eq. (6), 0 for none; learned: what the meta step trains, empty for none; meta_kinds: the kinds of meta
    pictures that its meta step looks at; perturbs: whether `terms` always has a delta, and reports may ask for that of
    any view at any time without changing the run; sees_background: whether it asks for scores of BACKGROUND.

    Everything that one step leaves for a later one goes through `state_dict`, or a resumed run is another run.
    """

    stages: Sequence[Stage] = (Stage(),)
    head: str = "linear"
    networks: int = 1
    saliency_weight: float = 0.0
    learned: Sequence[Tensor] = ()
    meta_kinds: Sequence[int] = tuple(range(len(KINDS)))
    perturbs: bool = False
    sees_background: bool = False

    def enter(self, stage: int, network: nn.Module) -> None:
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

    def penalty(self, out: Output, batch: Batch, network: nn.Module) -> Tensor | None:
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
