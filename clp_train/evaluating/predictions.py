"""EVALUATE, picture by picture: the predicted class, and how sure the network is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor, nn

from clp_train.algorithm.method import Method
from clp_train.evaluating.metrics import probabilities
from clp_train.evaluating.outputs import BATCH, gathered, logits_of
from clp_train.evaluating.scores import Sure, known_of, sure_of
from clp_train.models.parts import Classifier, Output
from clp_train.pictures.types import Pictures


class Predictions(NamedTuple):
    """The predictions of a network, on the CPU. predicted: int64 (n,), the class; of_predicted, of_label: float32 (n,)
    in [0, 1], the probabilities of the predicted class and of the label; log_odds: see `Sure`.
    """

    predicted: Tensor
    of_predicted: Tensor
    of_label: Tensor
    log_odds: Tensor | None = None

    @property
    def sure(self) -> Sure:
        """How sure the network is of its predictions."""
        return Sure(self.of_predicted, self.log_odds)


class Judged(nn.Module):
    """A classifier with its final logits: float32 (N, 3, H, W) in [0, 1] -> (N, C); their softmax gives probabilities.

    Methods that adjust logits afterwards have adjusted them, and cosines are scaled.
    """

    def __init__(self, network: Classifier, judge: Callable[[Output], Tensor] = logits_of, scale: float = 1.0) -> None:
        super().__init__()
        self.network, self.judge, self.scale = network, judge, scale

    def forward(self, images: Tensor) -> Tensor:
        logits = self.judge(self.network(images))
        return logits if self.scale == 1 else self.scale * logits


def judge_of(method: Method, network: Classifier) -> Callable[[Output], Tensor]:
    """Return the function from a network's output to its final logits."""
    return lambda out: method.predict(out, network.head)


def judged(network: Classifier, method: Method) -> Judged:
    """Return a network with the final logits of its method."""
    return Judged(network, judge_of(method, network), method.scale)


def predict_labelled(
    network: Classifier, pictures: Pictures, judge: Callable[[Output], Tensor], scale: float
) -> Predictions:
    """Return the predictions of a network for pictures with labels. judge, scale: as in `probabilities`."""
    label = pictures.label.cpu()

    def found(at: int = 0) -> Iterator[tuple[Tensor, ...]]:
        for predicted, shares in probabilities(network, pictures.images.split(BATCH), judge, scale):
            of_label = shares.gather(1, label[at : at + len(predicted), None])[:, 0]
            yield (predicted, of_label, *known_of(sure_of(predicted, shares)))
            at += len(predicted)

    predicted, of_label, *sure = gathered(found(), len(pictures))
    of_all = Sure(*sure)
    return Predictions(predicted, of_all.of_predicted, of_label, of_all.log_odds)
