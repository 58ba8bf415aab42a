"""The outputs of a classifier for whole streams of pictures, in evaluation mode, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clp_aug.common.progress import passing
from clp_aug.contract.schema import GREY, ORIGINAL
from clp_train.algorithm.method import BACKGROUND, LEARNT_BACKGROUND, Scores
from clp_train.models.parts import Classifier, Output, device_of
from clp_train.pictures.types import BoxedPictures, Pictures, as_input, masks, meta_of_kinds

BATCH = 250  # pictures in a batch
MOST_BYTES = 160 << 20
"""Most bytes of the largest array in a network's pass; a whole pass takes five to ten times as much memory.

For pictures of 32 x 32 pixels and networks up to WRN-28-10, a BATCH needs less.
"""


def logits_of(out: Output) -> Tensor:
    """Return the logits as they are."""
    return out.logits


@torch.no_grad()
def outputs(
    network: Classifier, images: Iterable[Tensor], judge: Callable[[Output], Tensor] = logits_of
) -> Iterator[Output]:
    """Yield the network's outputs for parts of a stream, uint8 (n, 3, H, W) or features each, in evaluation mode.

    judge: output -> the final logits, (n, C), for methods that adjust logits afterwards. Pictures go to the network's
    device, and outputs stay there; the network is left in evaluation mode. Parts that need too much memory are divided
    evenly, because a small rest could run through other kernels, which round differently.
    """
    network.eval()
    most, place = 0, device_of(network)
    for part in passing(images, "EVALUATE"):
        if not part.is_floating_point():
            most = most or most_at_once(network, part[:1])
        for pictures in evenly(part, most) if most else [part]:
            out = network(as_input(pictures.to(place)))
            yield Output(out.features, judge(out))


def evenly(rows: Tensor, most: int) -> Sequence[Tensor]:
    """Divide rows (n, ...) into as few parts as have no more than so many each, whose sizes differ by one at most."""
    return rows.tensor_split(max(1, -(-len(rows) // most)))


@torch.no_grad()
def most_at_once(network: Classifier, picture: Tensor) -> int:
    """Return the batch size of a network for pictures like this one, uint8 (1, 3, H, W)."""
    return max(1, min(BATCH, MOST_BYTES // largest_output(network, as_input(picture.to(device_of(network))))))


def largest_output(network: Classifier, picture: Tensor) -> int:
    """Return the bytes of the largest array that any part of a network outputs for one picture, float (1, 3, H, W)."""
    largest = picture.nbytes

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.nbytes)

    handles = [module.register_forward_hook(note) for module in network.modules()]
    try:
        network(picture)
    finally:
        for handle in handles:
            handle.remove()
    return largest


def join(some: Iterable[Output]) -> Output:
    """Return the parts of a stream as one."""
    whole = list(some)
    return Output(torch.cat([part.features for part in whole]), torch.cat([part.logits for part in whole]))


def gathered(some: Iterable[Sequence[Tensor]], rows: int) -> list[Tensor]:
    """Return parts of a stream, one tensor (n, ...) or several each, as whole ones (rows, ...).

    The whole tensors are allocated with the first part. Small tensors that are kept between large temporary ones would
    leave holes in memory, as large in sum as all pictures of the stream.
    """
    whole: list[Tensor] = []
    at = 0
    for part in some:
        whole = whole or [values.new_empty((rows, *values.shape[1:])) for values in part]
        for all_values, values in zip(whole, part, strict=True):
            all_values[at : at + len(values)] = values
        at += len(part[0])
    return whole


def on_cpu(some: Iterable[Output]) -> Iterator[Output]:
    """Yield features and logits of parts of a stream on the CPU, where the tables of all pictures are."""
    return (Output(part.features.cpu(), part.logits.cpu()) for part in some)


def parts(network: Classifier, pictures: Pictures) -> Iterator[Output]:
    """Yield features and logits of pictures, untransformed, in batches, on the CPU."""
    return on_cpu(outputs(network, pictures.images.split(BATCH)))


def parts_of_backgrounds(network: Classifier, pictures: BoxedPictures) -> Iterator[Output]:
    """Yield those of pictures (N, 3, H, W), uint8, with grey boxes, in batches, on the CPU."""
    images = passing(pictures.images.split(BATCH), "EVALUATE without objects")
    pairs = zip(images, pictures.box.split(BATCH), strict=True)
    return on_cpu(outputs(network, (without_object(images, box) for images, box in pairs)))


def score(network: Classifier, pictures: Pictures) -> Output:
    """Return features and logits of all pictures, untransformed, on the CPU."""
    return whole_of(parts(network, pictures), len(pictures))


def score_backgrounds(network: Classifier, pictures: BoxedPictures) -> Output:
    """Return features and logits of pictures (N, 3, H, W), uint8, with grey boxes, on the CPU."""
    return whole_of(parts_of_backgrounds(network, pictures), len(pictures))


def whole_of(some: Iterable[Output], rows: int) -> Output:
    """Return the parts of a stream of `rows` rows as one."""
    features, logits = gathered(((part.features, part.logits) for part in some), rows)
    return Output(features, logits)


def without_object(images: Tensor, box: Tensor) -> Tensor:
    """Return uint8 pictures (n, 3, H, W) with grey in their boxes, int64 (n, 4), half-open pixels."""
    inside = masks(box, *images.shape[2:])[:, None]
    return images.masked_fill(inside, GREY)


def scores_of(
    network: Classifier,
    train: BoxedPictures,
    meta: BoxedPictures,
    background: BoxedPictures | None = None,
    learn: Callable[[], Output] | None = None,
) -> Scores:
    """Return a function that computes the network's present features and logits of a stream of the run, on the CPU.

    meta: its originals are one of the streams; background: features of the training pictures without their objects, if
    the run uses features of a frozen body in place of pictures; learn: gives the scores of LEARNT_BACKGROUND.
    """
    streams: dict[str, Pictures | None] = {"train": train, "meta": meta, BACKGROUND: background}

    def scores(stream: str) -> Output:
        if stream == LEARNT_BACKGROUND and learn is not None:
            return learn()
        pictures = meta_of_kinds(meta, (ORIGINAL,)) if stream == "meta" else streams[stream]
        return score_backgrounds(network, train) if pictures is None else score(network, pictures)

    return scores
