"""EVALUATE, picture by picture: what a network takes each for, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clp_train.algorithm.method import Method
from clp_train.evaluating.metrics import probabilities
from clp_train.evaluating.outputs import BATCH, logits_of
from clp_train.evaluating.scores import Sure, join_sure, sure_of
from clp_train.models.parts import Classifier, Output
from clp_train.pictures.types import Pictures


class Predictions(NamedTuple):
    """What a network makes of pictures, on the CPU. predicted: int64 (n,), the class; of_predicted, of_label: float32
    (n,) in [0, 1], the probabilities of that class and of the label; log_odds: as `Sure` has it.
    """

    predicted: Tensor
    of_predicted: Tensor
    of_label: Tensor
    log_odds: Tensor | None = None

    @property
    def sure(self) -> Sure:
        """How sure the network is of what it predicts."""
        return Sure(self.of_predicted, self.log_odds)


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


def predict_labelled(
    network: Classifier, pictures: Pictures, judge: Callable[[Output], Tensor], scale: float
) -> Predictions:
    """Return what a network makes of pictures with labels. judge, scale: as in `probabilities`."""
    parts = probabilities(network, pictures.images.split(BATCH), judge, scale)
    found, sure = [], []
    label = pictures.label.cpu()
    for predicted, shares in parts:  # as many pictures at a time as memory takes
        of_part, label = label[: len(predicted)], label[len(predicted) :]
        found.append((predicted, shares.gather(1, of_part[:, None])[:, 0]))
        sure.append(sure_of(predicted, shares))
    of_all = join_sure(sure)
    predicted, of_label = map(torch.cat, zip(*found, strict=True))
    return Predictions(predicted, of_all.of_predicted, of_label, of_all.log_odds)
