"""EVALUATE, picture by picture: what a network takes each for, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clp_train.algorithm.method import Method
from clp_train.evaluating.metrics import checked_logits
from clp_train.evaluating.outputs import BATCH, logits_of
from clp_train.models.parts import Classifier, Output
from clp_train.pictures.types import Pictures


class Predictions(NamedTuple):
    """What a network makes of pictures, on the CPU. predicted: int64 (n,), the class; of_predicted, of_label: float32
    (n,) in [0, 1], the probabilities of that class and of the label.
    """

    predicted: Tensor
    of_predicted: Tensor
    of_label: Tensor


class Judged(nn.Module):
    """A classifier as others see it: float32 (N, 3, H, W) in [0, 1] -> logits (N, C) whose softmax are probabilities.

    They are those that its method judges pictures by, adjusted as a post-hoc method does, and scaled where they are
    cosines.
    """

    def __init__(self, network: Classifier, judge: Callable[[Output], Tensor] = logits_of, scale: float = 1.0) -> None:
        super().__init__()
        self.network, self.judge, self.scale = network, judge, scale

    def forward(self, images: Tensor) -> Tensor:
        logits = self.judge(self.network(images))
        return logits if self.scale == 1 else self.scale * logits


def judge_of(method: Method, network: Classifier) -> Callable[[Output], Tensor]:
    """Return what makes the logits that pictures are judged by of a network's output."""
    return lambda out: method.predict(out, network.head)


def judged(network: Classifier, method: Method) -> Judged:
    """Return a network as others see it, judged as its method does."""
    return Judged(network, judge_of(method, network), method.scale)


def probabilities(
    network: Classifier, images: Iterable[Tensor], judge: Callable[[Output], Tensor], scale: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the predicted classes, int64 (n,), and the probabilities of all, float32 (n, C), of parts of a stream, on
    the CPU.

    images: parts, uint8 (n, 3, H, W) or features; judge: as in `outputs`; scale: as `Method` has it. Raises
    DivergedError where a logit is NaN.
    """
    for logits in checked_logits(network, images, judge):
        yield logits.argmax(1).cpu(), (scale * logits.float()).softmax(1).cpu()


def predict_labelled(
    network: Classifier, pictures: Pictures, judge: Callable[[Output], Tensor], scale: float
) -> Predictions:
    """Return what a network makes of pictures with labels. judge, scale: as in `probabilities`."""
    parts = probabilities(network, pictures.images.split(BATCH), judge, scale)
    found = []
    for (predicted, shares), label in zip(parts, pictures.label.cpu().split(BATCH), strict=True):
        columns = torch.stack([predicted, label], dim=1)
        found.append((predicted, *shares.gather(1, columns).unbind(1)))
    return Predictions(*map(torch.cat, zip(*found, strict=True)))
