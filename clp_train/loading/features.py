"""A head on the features of a frozen body: pictures become vectors once, and only the last layer learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clp_train.evaluating.outputs import score, score_backgrounds
from clp_train.loading.cache import cached, digest_of, path_of
from clp_train.loading.data import RunData
from clp_train.models.parts import Output
from clp_train.pictures.types import Pictures


class Probe(nn.Module):
    """The last layer of a classifier, shared with it: float (n, A) -> Output."""

    tail = ("head.",)

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Output:
        return Output(features, self.head(features))


def probe_of(
    network: nn.Module, run: RunData, background: bool = False, cache: Path | None = None
) -> tuple[Probe, RunData]:
    """Return the classifier's head as a network, and the run with features, float32 (N, A), in place of pictures.

    background: those of the training pictures without their objects too; cache: folder where features stay for other
    runs with the same body, pictures and number of threads. Features are those of evaluation mode, in which the
    classifier is left. Raises what `cached` raises.
    """
    network.eval()
    body = "" if cache is None else digest_of_body(network)

    def features(pictures: Pictures, scored: Callable[[nn.Module, Pictures], Output] = score) -> Pictures:
        if cache is None:
            return replace(pictures, images=scored(network, pictures).features)
        boxes = digest_of(pictures.box.numpy()) if scored is score_backgrounds else ""
        path = path_of(cache, body, digest_of(pictures.images.numpy()), boxes, torch.get_num_threads())

        def fill(values: np.ndarray) -> None:
            values[:] = scored(network, pictures).features.numpy()

        shape = (len(pictures), network.head.in_features)
        return replace(pictures, images=torch.from_numpy(cached(path, shape, np.float32, fill)))

    return Probe(network.head), replace(
        run,
        train=features(run.train),
        meta=features(run.meta),
        evaluation={name: features(part) for name, part in run.evaluation.items()},
        background=features(run.train, score_backgrounds) if background else None,
    )


def digest_of_body(network: nn.Module) -> str:
    """Return sha256 over all that features depend on, the last layer left out."""
    parts = [(name, digest_of(v.numpy())) for name, v in network.state_dict().items() if not name.startswith("head.")]
    return digest_of(np.frombuffer(repr((type(network).__qualname__, parts)).encode(), np.uint8))
