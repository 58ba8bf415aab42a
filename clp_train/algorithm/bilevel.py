"""BI-LEVEL: Algorithm 1 in your own training loop, for any network, loader and optimiser of torch.

In the loop, `bilevel.loss(x, y)` replaces the loss: it takes the meta step and returns the loss to minimise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clp_aug.contract.errors import SettingError, pick
from clp_train.algorithm.hypergradient import hypergradient
from clp_train.algorithm.losses import check_finite, cross_entropy, meta_losses
from clp_train.algorithm.meta_loader import MetaLoader, MetaShard, endless
from clp_train.algorithm.noise import same_noise
from clp_train.algorithm.optimiser import learning_rates
from clp_train.algorithm.own_losses import BatchLoss, Behind, OmegaLoss, OwnLoss, last_linear
from clp_train.algorithm.passes import PassTaken, pass_taken, virtual_pass
from clp_train.algorithm.perturbation import Omega
from clp_train.algorithm.precision import in_float32
from clp_train.algorithm.slopes import SLOPES
from clp_train.algorithm.virtual_step import Moves, Weights, moves_of, sgd_moves
from clp_train.algorithm.wrapping import average_over_processes, plain_network, plain_optimiser

OMEGA_LR = 1e-3
VIRTUAL = ("own", "plain")
MODES = (*SLOPES, "reference")
Learned = nn.Module | Tensor | Iterable[Tensor]
"""What the meta step learns: a module, or tensors that require gradients."""


class Bilevel:
    """The meta step for a network and its optimiser: `loss` takes the meta step of a batch and returns the loss.

    network: float (n, ...) -> logits (n, C), or an object that has `logits`; optimiser: torch's SGD, Adam or AdamW over
    the network's weights, or another kind together with virtual "plain"; learned: Omega, or whatever `training_loss`
    takes; meta: an open shard, or an iterable of batches (x, y) or (x, y, kind), which is repeated without end;
    training_loss: (logits, y, learned) -> a scalar, by default CLP's with Omega; meta_loss: (logits, y) or (logits, y,
    kind) -> a scalar, by default the mean of eq. (7); learned_optimiser: moves `learned`, by default Adam with a
    learning rate of 1e-3; head: the layer that computes the logits, by default the last linear one; only Omega needs
    it. virtual: "own", the exact next step of the optimiser, or "plain", eq. (8), W - lr * gradient; mode: how the
    derivative is taken, as in `hypergradient`; interval: steps from one meta step to the next. Raises SettingError for
    arguments that do not fit.
    If several processes of torch.distributed train together, each with its own batches, the gradients of the meta step
    are averaged over them. Attributes: meta_loss: a scalar, of the last meta step, None before the first; logits: (n,
    C), of the last batch, detached.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        learned: Learned,
        meta: Iterable[Any] | MetaShard,
        training_loss: Callable[[Tensor, Any, Any], Tensor] | None = None,
        *,
        meta_loss: Callable[..., Tensor] | None = None,
        learned_optimiser: torch.optim.Optimizer | None = None,
        head: nn.Linear | None = None,
        virtual: str = "own",
        mode: str = "forward",
        interval: int = 1,
    ) -> None:
        pick(dict.fromkeys(VIRTUAL), virtual, "virtual step")
        pick(dict.fromkeys(MODES), mode, "mode")
        if interval < 1:
            raise SettingError("interval", interval, "expected a whole number >= 1")
        self.network, self.outer, self.mode, self.interval, self.steps = network, optimiser, mode, interval, 0
        self.core, self.optimiser = plain_network(network, mode), plain_optimiser(optimiser)
        self.learned = learned if isinstance(learned, (nn.Module, Tensor)) else list(learned)
        self.tensors = tensors_of(self.learned)
        check_apart(self.tensors, self.weights(), self.optimiser)
        self.training_loss = loss_of(training_loss, self.learned, self.core, head)
        self.meta_loss_of = meta_loss or mean_meta_loss
        self.learned_optimiser = learned_optimiser or torch.optim.Adam(self.tensors, lr=OMEGA_LR)
        self.virtual = virtual
        self.moves()  # raises for an unknown optimiser
        self.meta = endless(MetaLoader(meta) if isinstance(meta, MetaShard) else meta)
        self.meta_loss: Tensor | None = None
        self.logits: Tensor | None = None

    def weights(self) -> dict[str, Tensor]:
        """Return the network's weights that the optimiser moves, by name."""
        moved = {w for group in self.optimiser.param_groups for w in group["params"]}
        return {name: w for name, w in self.core.named_parameters() if w.requires_grad and w in moved}

    def moves(self) -> Moves:
        """Return the virtual step for the optimiser's present state. Raises SettingError for an unknown optimiser."""
        if self.virtual == "own":
            return moves_of(self.optimiser)
        return sgd_moves(learning_rates(self.weights(), self.optimiser))

    def loss(self, x: Tensor, y: Any) -> Tensor:
        """Take the meta step on a batch, then return its L_train: a scalar with a graph to the network's weights only.

        x: pictures; y: labels int64 (n,), or whatever `training_loss` takes. The caller calls `backward()` and the
        optimiser's step. The network makes one pass for this. Its own noise, such as dropout, uses a seed from torch's
        generator. Raises DivergedError if the meta loss is not finite.
        """
        device = next(self.core.parameters()).device
        seed = int(torch.randint(1 << 62, (), device="cpu"))
        with same_noise(seed, device):
            takes_meta_step = self.steps % self.interval == 0
            compares = takes_meta_step and self.mode == "one-sided" and self.network is self.core
            taken = pass_taken(self.core) if compares else None
            with self.training_loss.watch():
                u = read(self.network(x))
            self.logits = u.detach()
            behind = self.training_loss.of(self.logits, y)
            if takes_meta_step:
                self.meta_step(x, u, behind, device, taken)
        self.steps += 1
        with held(self.tensors):
            return behind(u)

    def step(self, x: Tensor, y: Any) -> Tensor:
        """Take a whole step of Algorithm 1: `loss`, its backward pass and the optimiser's step. Return the loss."""
        loss = self.loss(x, y)
        self.outer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.outer.step()
        return loss.detach()

    def meta_step(
        self, x: Tensor, u: Tensor, behind: Behind, device: torch.device, taken: PassTaken | None = None
    ) -> None:
        """Move `learned` by the gradient of eq. (9). taken: how the pass that gave u was made."""
        x_meta, *rest = (part.to(device) for part in next(self.meta))

        def meta_loss(weights: Weights) -> Tensor:
            return self.meta_loss_of(read(virtual_pass(self.core, weights, x_meta)), *rest)

        try:
            found = hypergradient(
                self.core, self.weights(), x, u, behind, self.tensors, meta_loss, self.moves(), mode=self.mode,
                read=read, average=average_over_processes, taken=taken,
            )  # fmt: skip
        except NotImplementedError as error:
            if self.mode != "forward":
                raise
            reason = f"the network has no such derivative ({str(error).splitlines()[0].rstrip('.')})"
            raise SettingError("mode", self.mode, reason, {"mode": "central"}) from None
        check_finite(found.meta_loss, None, "meta loss", self.steps)
        for values, gradient in zip(self.tensors, found.gradients, strict=True):
            values.grad = gradient
        self.learned_optimiser.step()
        self.meta_loss = found.meta_loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed loop needs besides network and optimiser, for torch.save.

        It holds `learned`, its optimiser, the class means of Omega's characteristics and the number of steps. It does
        not hold the place in the meta loader.
        """
        learned = [values.detach().clone() for values in self.tensors]
        optimiser, loss = self.learned_optimiser.state_dict(), self.training_loss.state_dict()
        return {"learned": learned, "optimiser": optimiser, "loss": loss, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state that `state_dict` returned."""
        with torch.no_grad():
            for values, kept in zip(self.tensors, state["learned"], strict=True):
                values.copy_(kept)
        self.learned_optimiser.load_state_dict(state["optimiser"])
        self.training_loss.load_state_dict(state["loss"])
        self.steps = state["steps"]


@contextmanager
def held(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Cut some tensors out of all graphs inside this context, so that no backward pass adds to their gradients."""
    for values in tensors:
        values.requires_grad_(False)
    try:
        yield
    finally:
        for values in tensors:
            values.requires_grad_()


def read(out: Any) -> Tensor:
    """Return the logits in a network's output, in float32 or finer. Raises SettingError if there are none."""
    logits = out if isinstance(out, Tensor) else getattr(out, "logits", None)
    if not isinstance(logits, Tensor):
        raise SettingError("network", type(out).__name__, "expected a network whose output is logits, or has .logits")
    wide: Tensor = in_float32(logits)
    return wide


def mean_meta_loss(logits: Tensor, y: Tensor, kind: Tensor | None = None) -> Tensor:
    """Return the mean of eq. (7): eq. (3) on counterfactuals, cross entropy elsewhere and without `kind`."""
    losses = cross_entropy(logits, y) if kind is None else meta_losses(logits, y, kind)
    return losses.mean()


def tensors_of(learned: nn.Module | Tensor | list[Tensor]) -> list[Tensor]:
    """Return the tensors of `learned`. Raises SettingError if none of them requires gradients."""
    if isinstance(learned, Tensor):
        learned = [learned]
    tensors = [w for w in (learned.parameters() if isinstance(learned, nn.Module) else learned) if w.requires_grad]
    if not tensors:
        raise SettingError("learned", type(learned).__name__, "nothing in it requires gradients; call requires_grad_()")
    return tensors


def check_apart(tensors: list[Tensor], weights: Weights, optimiser: torch.optim.Optimizer) -> None:
    """Raise SettingError unless the optimiser moves weights of the network and none of the learned tensors."""
    kind = type(optimiser).__name__
    if not weights:
        raise SettingError("optimiser", kind, "it moves no weight of the network; make it over network.parameters()")
    moved = {w for group in optimiser.param_groups for w in group["params"]}
    if any(w in moved for w in tensors):
        raise SettingError("optimiser", kind, "it also moves what the meta step learns; remove those tensors from it")


def loss_of(
    training_loss: Callable[[Tensor, Any, Any], Tensor] | None, learned: Any, network: nn.Module, head: nn.Linear | None
) -> BatchLoss:
    """Return the object that computes L_train of a batch. Raises SettingError if no loss uses `learned`."""
    if training_loss is not None:
        if head is not None:
            raise SettingError("head", type(head).__name__, "has no effect together with training_loss; leave it out")
        return OwnLoss(training_loss, learned)
    if not isinstance(learned, Omega):
        reason = "only Omega has a loss of its own; give training_loss, (logits, y, learned) -> scalar"
        raise SettingError("learned", type(learned).__name__, reason)
    return OmegaLoss(learned, head or last_linear(network, learned.classes))
