"""The one training objective that carries every method: L = (1/Z) sum_i w_i phi_i l(s (z_i + delta_i), y_i)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from clp_aug.contract.errors import pick
from clp_train.algorithm.losses import cross_entropy

NORMALISERS = ("n", "sum_w")


@dataclass(frozen=True)
class Terms:
    """A method's terms of the objective for one batch; the defaults give plain cross entropy.

    delta: (n, C) added to the logits; target: soft labels, (n, C), in place of the labels; weight: (n,); modulator:
    (own probability (n,), label) -> phi (n,), e.g. focal; scale: s; normaliser: divisor of the sum, the batch size or
    the sum of the weights; loss: (logits, label or target) -> (n,); gate: (n, A), factors of the features before the
    head computes the logits. delta, weight and gate may carry a graph to what the meta step learns.
    """

    delta: Tensor | None = None
    weight: Tensor | None = None
    modulator: Callable[[Tensor, Tensor], Tensor] | None = None
    scale: float = 1.0
    normaliser: str = "n"
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    target: Tensor | None = None
    gate: Tensor | None = None

    def __post_init__(self) -> None:
        pick(dict.fromkeys(NORMALISERS), self.normaliser, "normaliser")


def logits_from(u: Tensor, head: nn.Module, terms: Terms) -> Tensor:
    """Return the logits for the objective, (n, C). u: the logits, or, if the terms have a gate, the features."""
    return u if terms.gate is None else head(terms.gate * u)


def sample_losses(logits: Tensor, label: Tensor, terms: Terms) -> Tensor:
    """Return w_i phi_i l(s (z_i + delta_i), y_i) of each picture: (n,). logits: (n, C); label: int64 (n,)."""
    z = logits if terms.delta is None else logits + terms.delta
    z = z if terms.scale == 1.0 else terms.scale * z
    losses = terms.loss(z, label if terms.target is None else terms.target)
    if terms.modulator is not None:
        losses = terms.modulator(z.softmax(1).gather(1, label[:, None]).squeeze(1), label) * losses
    return losses if terms.weight is None else terms.weight * losses


def objective(logits: Tensor, label: Tensor, terms: Terms) -> Tensor:
    """Return L, a scalar, with graphs to the logits and to the terms."""
    total = sample_losses(logits, label, terms).sum()
    if terms.normaliser == "sum_w" and terms.weight is not None:
        return total / terms.weight.sum()
    return total / len(label)
