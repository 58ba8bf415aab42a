"""The one "network over pictures": what a classifier makes of whole streams, in evaluation mode, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from clp_aug.contract.schema import GREY
from clp_train.algorithm.method import BACKGROUND, LEARNT_BACKGROUND, Scores
from clp_train.models.parts import Classifier, Output
from clp_train.pictures.types import BoxedPictures, Pictures, as_input, masks

BATCH = 250


def logits_of(out: Output) -> Tensor:
    """Return the logits as they are."""
    return out.logits


@torch.no_grad()
def outputs(
    network: Classifier, images: Iterable[Tensor], judge: Callable[[Output], Tensor] = logits_of
) -> Iterator[Output]:
    """Yield what the network makes of parts of a stream, uint8 (n, 3, H, W) or features each, in evaluation mode.

    judge: output -> the logits to judge by, (n, C), for methods that adjust them afterwards. The network is left in
    that mode.
    """
    network.eval()
    for part in images:
        out = network(as_input(part))
        yield Output(out.features, judge(out))


def join(parts: Iterable[Output]) -> Output:
    """Return the parts of a stream as one."""
    whole = list(parts)
    return Output(torch.cat([part.features for part in whole]), torch.cat([part.logits for part in whole]))


def score(network: Classifier, pictures: Pictures) -> Output:
    """Return features and logits of all pictures, untransformed."""
    return join(outputs(network, pictures.images.split(BATCH)))


def score_backgrounds(network: Classifier, pictures: BoxedPictures) -> Output:
    """Return features and logits of pictures (N, 3, H, W), uint8, with grey boxes, which are made some at a time."""
    parts = zip(pictures.images.split(BATCH), pictures.box.split(BATCH), strict=True)
    return join(outputs(network, (without_object(images, box) for images, box in parts)))


def without_object(images: Tensor, box: Tensor) -> Tensor:
    """Return uint8 pictures (n, 3, H, W) with grey in their boxes, int64 (n, 4), half-open pixels."""
    inside = masks(box, *images.shape[2:])[:, None]
    return torch.where(inside, torch.tensor(GREY, dtype=torch.uint8), images)


def scores_of(
    network: Classifier,
    train: BoxedPictures,
    originals: BoxedPictures,
    background: BoxedPictures | None = None,
    learn: Callable[[], Output] | None = None,
) -> Scores:
    """Return what computes the network's features and logits, as it is when asked, of a stream of the run.

    originals: of the meta set; background: features of the training pictures without their objects, where those of a
    frozen body stand for pictures; learn: gives the scores of LEARNT_BACKGROUND.
    """
    streams: dict[str, Pictures | None] = {"train": train, "meta": originals, BACKGROUND: background}

    def scores(stream: str) -> Output:
        if stream == LEARNT_BACKGROUND and learn is not None:
            return learn()
        pictures = streams[stream]
        return score_backgrounds(network, train) if pictures is None else score(network, pictures)

    return scores
