"""One step of Algorithm 1: CHARACTERISTICS -> PERTURB -> META STEP -> real step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import (
    AT_START,
    COUNTERFACTUAL_LOSSES,
    Check,
    check_finite,
    check_penalty,
    deferred_checks,
    meta_losses,
    settle,
)
from clp_train.algorithm.meta_step import META_STEPS, BilevelProblem, MetaStep
from clp_train.algorithm.method import Method
from clp_train.algorithm.noise import same_noise
from clp_train.algorithm.objective import Terms, logits_from, objective, sample_losses
from clp_train.algorithm.optimiser import apply_gradients, virtual_moves
from clp_train.algorithm.passes import PassTaken, features_of, logits_of, pass_taken, virtual_pass
from clp_train.algorithm.saliency import SaliencyTerm
from clp_train.algorithm.second_order import second_order
from clp_train.algorithm.settings import MetaStepSettings, SaliencySettings
from clp_train.algorithm.virtual_step import Weights
from clp_train.ranks.team import ALONE, Ranks

if TYPE_CHECKING:
    from clp_train.models.parts import Classifier, Output
    from clp_train.pictures.types import Batch


Number = float | Tensor
"""A scalar; it stays on its device until it is read, because reading makes the device wait."""


@dataclass(frozen=True)
class StepLosses:
    """Means over the batch of one step; None for losses that the step did not compute.

    saliency: eq. (6) with its weight, of the training batch, or of the meta batch if it acts only there. checks: losses
    that must be finite and are not checked yet.
    """

    train: Number
    meta: Number | None = None
    saliency: Number | None = None
    checks: Sequence[Check] = ()


def read_losses(some: Sequence[StepLosses]) -> list[StepLosses]:
    """Return the losses of steps as floats, with one read of the device. Raises DivergedError unless all are finite."""
    settle([check for losses in some for check in losses.checks])
    numbers = [(losses.train, losses.meta, losses.saliency) for losses in some]
    scalars = [value for row in numbers for value in row if isinstance(value, Tensor)]
    read = iter(torch.stack(scalars).tolist() if scalars else [])
    rows: list[Any] = [[next(read) if isinstance(value, Tensor) else value for value in row] for row in numbers]
    return [StepLosses(*row) for row in rows]


@dataclass(frozen=True)
class StepRule:
    """How the steps of a run are taken. virtual: network -> names of the weights that the virtual step moves, None for
    all trainable ones; twice: the context that makes the saliency term's second derivatives cheap; meta_steps: name ->
    maker of the meta step; seed: of the network's own noise, such as dropout; None for a network without noise, whose
    steps a device may then replay as a graph; ranks: the processes that take these steps together.
    """

    meta_step: MetaStepSettings = MetaStepSettings()
    saliency: SaliencySettings = SaliencySettings()
    virtual: Callable[[Classifier], Collection[str]] | None = None
    twice: Callable[[], Any] = second_order
    meta_steps: Mapping[str, Callable[[BilevelProblem], MetaStep]] = field(default_factory=lambda: META_STEPS)
    seed: int | None = 0
    ranks: Ranks = ALONE

    def term_of(self, method: Method) -> SaliencyTerm:
        """Return eq. (6) with the method's lambda."""
        return SaliencyTerm(self.saliency, method.saliency_weight, self.twice, self.ranks)


class Training:
    """L_train of one batch as a function of u; `terms` are replaced once Omega has moved.

    u: the logits, (n, C), or, if the terms have a gate, the features, (n, A), with a graph to the weights.
    """

    def __init__(self, out: Output, head: nn.Module, batch: Batch, terms: Terms) -> None:
        self.head, self.label, self.terms = head, batch.label, terms
        self.read = logits_of if terms.gate is None else features_of
        self.u = self.read(out)

    def loss(self, u: Tensor) -> Tensor:
        """Return the objective, a scalar, with graphs to u and to Omega."""
        return objective(logits_from(u, self.head, self.terms), self.label, self.terms)

    def sample_losses(self) -> Tensor:
        """Return each picture's part of the objective, (n,)."""
        return sample_losses(logits_from(self.u, self.head, self.terms), self.label, self.terms)


class MetaObjective:
    """The bracket of eq. (9) for one meta batch: weights -> scalar. saliency: its saliency term, known after a call."""

    def __init__(self, network: Classifier, method: Method, batch: Batch, rule: StepRule, step: int) -> None:
        self.network, self.method, self.batch, self.rule, self.step = network, method, batch, rule, step
        self.saliency: Tensor | None = None

    def __call__(self, weights: Weights) -> Tensor:
        weights = {**{name: w.detach() for name, w in self.network.named_parameters()}, **weights}
        running = self.rule.meta_step.meta_batch_norm == "running"
        with evaluation_mode(self.network) if running else nullcontext():
            out, self.saliency = self.rule.term_of(self.method).forward(
                lambda images: virtual_pass(self.network, weights, images),
                self.network, weights, self.batch, "meta", self.step,
            )  # fmt: skip
        delta = self.perturbation(out, weights) if self.rule.meta_step.meta_delta == "paper" else None
        of_counterfactuals = COUNTERFACTUAL_LOSSES[self.method.counterfactual_target]
        losses = meta_losses(out.logits, self.batch.label, self.batch.kind, delta, of_counterfactuals)
        check_finite(losses, self.batch.sample_id, "meta loss", self.step)
        return losses.mean() if self.saliency is None else losses.mean() + self.saliency

    def perturbation(self, out: Output, weights: Weights) -> Tensor | None:
        """Return delta of the meta pictures, (n, C), with a graph to Omega."""
        head = weights.get("head.weight", self.network.head.weight).detach()
        view = View(out.logits.detach(), out.features.detach(), head, self.batch.label, self.batch.group)
        return self.method.terms(view).delta


def train_step(
    network: Classifier,
    method: Method,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    meta: Batch | None,
    rule: StepRule,
    step: int,
    progress: float = 0.0,
) -> StepLosses:
    """Take one step. It changes the network, its batch norm statistics, the optimiser and the method.

    meta: the meta batch, None for a step without a meta step; progress: the finished share of the run's epochs. One
    real forward pass serves the characteristics, the virtual step (8) and the real step (10): all three use the same
    weights and the same noise. On the CPU the losses are floats, and DivergedError is raised at once; on another device
    `read_losses` does both, when the loop needs the values.
    """
    device, checks = network.head.weight.device, list[Check]()
    batch, meta = batch.to(device), meta if meta is None else meta.to(device)
    weights = {name: w for name, w in network.named_parameters() if w.requires_grad}
    with noise_of(rule, step, device), deferred_checks(checks, device):
        taken = None if meta is None else taken_of(rule, network, method, step)
        out, saliency = rule.term_of(method).forward(network, network, weights, batch, "train", step)
        view = view_of(out, network.head, batch, progress)
        method.observe(view)  # CHARACTERISTICS
        penalty = total(saliency, check_penalty(method.penalty(out, batch, network), step))
        saliency = detached(saliency)  # only the meta step keeps the penalty's graph, and frees it early
        training = Training(out, network.head, batch, terms_of(method, view, batch))  # PERTURB
        check_finite(training.sample_losses(), batch.sample_id, "training loss", step, AT_START)

        objective = None if meta is None else MetaObjective(network, method, meta, rule, step)
        meta_step = meta_step_of(rule, network, method, optimiser, batch, weights, training, penalty, objective, taken)
        gradient = meta_step.before()  # META STEP, eqs. (8) and (9)
        if gradient is not None:
            method.update(gradient)
            training.terms = terms_of(method, view, batch)
        loss = training.loss(training.u)
        apply_gradients(optimiser, weights, meta_step.training_gradients(loss))  # real step, eq. (10)
        gradient = meta_step.after()
        if gradient is not None:
            method.update(gradient)
    saliency_term = saliency if saliency is not None or objective is None else objective.saliency
    losses = StepLosses(loss.detach(), detached(meta_step.meta_loss), detached(saliency_term), checks)
    return read_losses([losses])[0] if device.type == "cpu" else losses


def noise_of(rule: StepRule, step: int, device: torch.device) -> AbstractContextManager[None]:
    """Return the context that keeps the noise of one step the same in all of its passes."""
    if rule.seed is None:
        return nullcontext()
    stream = "network noise" + (f" of rank {rule.ranks.rank}" if rule.ranks.rank else "")
    return same_noise(int(rng_for(rule.seed, step, stream).integers(2**63)), device)


def taken_of(rule: StepRule, network: Classifier, method: Method, step: int) -> PassTaken | None:
    """Return, before the training pass of a step, the record that a difference needs; None if none is taken."""
    if rule.meta_step.hypergradient != "one-sided":
        return None
    return pass_taken(network, rule.term_of(method).within("train", step))


def meta_step_of(
    rule: StepRule,
    network: Classifier,
    method: Method,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    weights: Weights,
    training: Training,
    penalty: Tensor | None,
    objective: MetaObjective | None,
    taken: PassTaken | None,
) -> MetaStep:
    """Return the meta step of one step, which does nothing without an objective."""
    scope = weights if rule.virtual is None else {name: weights[name] for name in rule.virtual(network)}
    settings = rule.meta_step
    problem = BilevelProblem(
        network, batch.images, training.u, training.loss, penalty, weights, scope,
        virtual_moves(scope, optimiser, settings.virtual_momentum), method.learned, objective or no_objective,
        settings.hypergradient, training.read, rule.ranks.average, taken,
    )  # fmt: skip
    return MetaStep(problem) if objective is None else rule.meta_steps[settings.meta_step](problem)


def no_objective(weights: Weights) -> Tensor:
    """Replace the meta objective in a step without one. Raises ValueError if it is called."""
    raise ValueError("this step has no meta batch, expected one")


def view_of(out: Output, head: nn.Linear, batch: Batch, progress: float) -> View:
    """Return the view of a training batch that the classifier gives, detached."""
    logits, features, weight = out.logits.detach(), out.features.detach(), head.weight.detach()
    return View(logits, features, weight, batch.label, batch.group, batch.row, progress)


def terms_of(method: Method, view: View, batch: Batch) -> Terms:
    """Return the method's terms, with the soft labels of a mixed batch."""
    terms = method.terms(view)
    return terms if batch.target is None else replace(terms, target=batch.target)


def total(*parts: Tensor | None) -> Tensor | None:
    """Return the sum of the parts that are not None; None if all are."""
    present: Sequence[Tensor] = [part for part in parts if part is not None]
    return sum(present[1:], present[0]) if present else None


def detached(value: Tensor | None) -> Tensor | None:
    """Return a scalar without its graph."""
    return None if value is None else value.detach()


@contextmanager
def evaluation_mode(network: Classifier) -> Iterator[None]:
    """Put a network into evaluation mode inside this context, and back into training mode after it."""
    network.eval()
    try:
        yield
    finally:
        network.train()
