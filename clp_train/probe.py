"""A head on the features of a frozen body: pictures become vectors once, and only the last layer learns."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from clp_train.data import Pictures, RunData
from clp_train.models.parts import Output
from clp_train.scoring import score, score_backgrounds


class Probe(nn.Module):
    """The last layer of a classifier, shared with it: float (n, A) -> Output."""

    tail = ("head.",)

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Output:
        return Output(features, self.head(features))


def probe_of(network: nn.Module, run: RunData, background: bool = False) -> tuple[Probe, RunData]:
    """Return the classifier's head as a network, and the run with features, float32 (N, A), in place of pictures.

    background: those of the training pictures without their objects too. Features are those of evaluation mode, in
    which the classifier is left.
    """

    def features(pictures: Pictures) -> Pictures:
        return replace(pictures, images=score(network, pictures).features)

    evaluation = {name: features(part) for name, part in run.evaluation.items()}
    behind = replace(run.train, images=score_backgrounds(network, run.train).features) if background else None
    return Probe(network.head), replace(
        run, train=features(run.train), meta=features(run.meta), evaluation=evaluation, background=behind
    )
