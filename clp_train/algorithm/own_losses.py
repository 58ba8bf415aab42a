"""Training losses for your own loop: CLP's perturbed cross entropy with Omega, or your own loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.characteristics import ClassStats, View, characteristics, standardise
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.perturbation import Omega

Behind = Callable[[Tensor], Tensor]
"""Logits (n, C) -> L_train, a scalar with graphs to the logits and to the learned tensors."""


class BatchLoss(Protocol):
    """Computes L_train of one batch."""

    def watch(self) -> Any:
        """Return a context that observes the network's own pass."""

    def of(self, logits: Tensor, y: Any) -> Behind:
        """Return L_train of a batch as a function of its logits. logits: (n, C), detached; y: the batch's labels."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state that later steps depend on."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load a state that `state_dict` returned."""


class OwnLoss:
    """The user's own loss. loss: (logits (n, C), y, learned) -> a scalar."""

    def __init__(self, loss: Callable[[Tensor, Any, Any], Tensor], learned: Any) -> None:
        self.loss, self.learned = loss, learned

    @contextmanager
    def watch(self) -> Iterator[None]:
        yield

    def of(self, logits: Tensor, y: Any) -> Behind:
        return lambda u: self.loss(u, y, self.learned)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass


class OmegaLoss:
    """Cross entropy of logits that Omega perturbs, from the ten characteristics of Table 1.

    head: the network's last layer; its input is the features, its output the logits; y: labels int64 (n,). Running
    class means are updated as in a run of clp-train.
    """

    def __init__(self, omega: Omega, head: nn.Linear) -> None:
        self.omega, self.head = omega, head
        self.classes = ClassStats.start(omega.counts)
        self.features: Tensor | None = None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Keep the features of the network's own pass."""

        def note(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.features = inputs[0].detach()

        hook = self.head.register_forward_pre_hook(note)
        try:
            yield
        finally:
            hook.remove()

    def of(self, logits: Tensor, y: Tensor) -> Behind:
        features = self.features
        if features is None or features.dim() != 2 or len(features) != len(logits):
            shape = None if features is None else tuple(features.shape)
            reason = f"its input is {shape}; expected one row for each of {len(logits)} pictures; give head="
            raise SettingError("head", "the layer", reason)
        view = View(logits, features.to(logits.dtype), self.head.weight.detach().to(logits.dtype), y, y)
        kept = ClassStats(*(part.to(logits) for part in self.classes))
        self.classes, self.features = kept.updated(view), None
        g = standardise(characteristics(view, self.classes))
        return lambda u: cross_entropy(u, y, self.omega(g, y)).mean()

    def state_dict(self) -> dict[str, Tensor]:
        return self.classes._asdict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.classes = ClassStats(**state)


def last_linear(network: nn.Module, classes: int) -> nn.Linear:
    """Return the last linear layer with as many outputs as there are classes. Raises SettingError without one."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear) and layer.out_features == classes]
    if not layers:
        reason = f"the network has no linear layer with {classes} outputs; give the layer of the logits as head"
        raise SettingError("head", None, reason)
    return layers[-1]
