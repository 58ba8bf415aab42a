"""CHARACTERISTICS: the ten numbers of Table 1 that a classifier gives for each training picture."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class View(NamedTuple):
    """What a classifier gives for a batch, detached: Table 1 is never differentiated.

    logits: (n, C), unperturbed; features: (n, A); head: (C, A), the last layer's weights; label, group: int64 (n,);
    row: int64 (n,), the pictures' rows in the stream, None for meta pictures; progress: the finished share of the run's
    epochs, in [0, 1).
    """

    logits: Tensor
    features: Tensor
    head: Tensor
    label: Tensor
    group: Tensor
    row: Tensor | None = None
    progress: float = 0.0

    def to(self, device: torch.device) -> View:
        """Return the view on a device; its rows stay where their stream is."""
        logits, features, head, label, group = (part.to(device) for part in self[:5])
        return View(logits, features, head, label, group, self.row, self.progress)


class ClassStats(NamedTuple):
    """Statistics of each class. proportion, mean_loss, mean_margin: (C,)."""

    proportion: Tensor
    mean_loss: Tensor
    mean_margin: Tensor

    @classmethod
    def start(cls, counts: Tensor) -> ClassStats:
        """Return the statistics before the first step: an undecided classifier's loss log C and margin 0."""
        proportion = counts / counts.sum()
        return cls(proportion, torch.full_like(proportion, math.log(len(counts))), torch.zeros_like(proportion))

    def to(self, device: torch.device) -> ClassStats:
        """Return the statistics on a device."""
        return ClassStats(*(part.to(device) for part in self))

    def updated(self, view: View, decay: float = 0.9) -> ClassStats:
        """Return the statistics with the batch's class means mixed in: decay * old + (1 - decay) * new.

        A class that is not in the batch keeps its values. Source: ours; the paper says only "average".
        """

        def mix(old: Tensor, values: Tensor) -> Tensor:
            counts = torch.zeros_like(old).index_add_(0, view.label, torch.ones_like(values))
            sums = torch.zeros_like(old).index_add_(0, view.label, values)
            return torch.where(counts > 0, decay * old + (1 - decay) * sums / counts.clamp(min=1), old)

        return ClassStats(
            self.proportion,
            mix(self.mean_loss, sample_loss(view, self)),
            mix(self.mean_margin, sample_margin(view, self)),
        )


def sample_loss(view: View, classes: ClassStats) -> Tensor:
    """g1 = CE(u, y), natural logarithm."""
    return F.cross_entropy(view.logits, view.label, reduction="none")


def sample_margin(view: View, classes: ClassStats) -> Tensor:
    """g2 = S(u)_y - max over j != y of S(u)_j, in [-1, 1]."""
    return margin(view.logits, view.label)


def margin(logits: Tensor, label: Tensor) -> Tensor:
    """Return the label's probability minus the largest other one, (n,). logits: (n, C); label: int64 (n,)."""
    p, column = logits.softmax(1), label[:, None]
    return p.gather(1, column).squeeze(1) - p.scatter(1, column, -math.inf).amax(1)


def gradient_norm(view: View, classes: ClassStats) -> Tensor:
    """g3 = || onehot(y) - S(u) ||_2, the norm of the loss gradient with respect to the logits."""
    norm: Tensor = (F.one_hot(view.label, view.logits.shape[1]) - view.logits.softmax(1)).norm(dim=1)
    return norm


def cosine(view: View, classes: ClassStats) -> Tensor:
    """g4 = cosine of the angle between the features and the head's weights of the picture's class (eq. 5)."""
    return F.cosine_similarity(view.features, view.head[view.label], dim=1)


def entropy(view: View, classes: ClassStats) -> Tensor:
    """g5 = - sum_j S(u)_j log2 S(u)_j, in bits."""
    return -(view.logits.softmax(1) * view.logits.log_softmax(1)).sum(1) / math.log(2)


def class_proportion(view: View, classes: ClassStats) -> Tensor:
    """g6 = N_y / N, by the labels trained on."""
    return classes.proportion[view.label]


def class_mean_loss(view: View, classes: ClassStats) -> Tensor:
    """g7 = average loss of class y."""
    return classes.mean_loss[view.label]


def class_weight_norm(view: View, classes: ClassStats) -> Tensor:
    """g8 = || W_y ||_2^2 of the head."""
    return view.head[view.label].square().sum(1)


def relative_loss(view: View, classes: ClassStats) -> Tensor:
    """g9 = g1 - average loss of class y."""
    return sample_loss(view, classes) - classes.mean_loss[view.label]


def relative_margin(view: View, classes: ClassStats) -> Tensor:
    """g10 = g2 - average margin of class y."""
    return sample_margin(view, classes) - classes.mean_margin[view.label]


CHARACTERISTICS = (
    sample_loss,
    sample_margin,
    gradient_norm,
    cosine,
    entropy,
    class_proportion,
    class_mean_loss,
    class_weight_norm,
    relative_loss,
    relative_margin,
)
"""Table 1 in its order: entry k is g^(k+1)."""


def characteristics(view: View, classes: ClassStats) -> Tensor:
    """Return Table 1 of a batch: (n, 10), not scaled."""
    return torch.stack([g(view, classes) for g in CHARACTERISTICS], 1)


def standardise(g: Tensor) -> Tensor:
    """Scale each column of (n, 10) to mean 0 and standard deviation 1 over the batch; a constant one becomes 0.

    Source: ours. The ten differ in scale by orders of magnitude, and those scales change during training.
    """
    centred = g - g.mean(0)
    return centred / (centred.square().mean(0).sqrt() + 1e-6)
