"""AUDIT DATA: the features of pictures without their objects, from a network or from thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_aug.nets.devices import find_device
from clp_train.evaluating.outputs import outputs
from clp_train.models import build_model, check_model
from clp_train.pictures.keys import generator_for

NETWORK, THUMBNAIL = "efficientnet-lite0", "thumbnail"
SIDE = 8  # pixels of a thumbnail
USUAL_MEAN, USUAL_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)  # for networks without their own mean and deviation
UNTRAINED = ("resnet8", "resnet20", "resnet32", "wrn-28-10", "efficientnet-lite0-scratch")
NO_NETWORK = (
    "backgrounds are judged by thumbnails of 8 x 8 pixels, which show little more than colours: pip install"
    " 'causal-logit-perturbation[pretrained]' for a network"
)

Features = Callable[[Iterable[Tensor]], Iterator[Tensor]]
"""Parts of a stream of pictures, uint8 (n, 3, H, W) each -> their features, float32 (n, A) each, on the CPU."""


@dataclass(frozen=True)
class Eyes:
    """A source of features. name: of the network, or "thumbnail"; features: as `Features` says; remark: a note for the
    user, "" for none.
    """

    name: str
    features: Features
    remark: str = ""


def open_eyes(model: str | None, size: int, device: str) -> Eyes:
    """Return the source of features for pictures of size x size pixels.

    model: a name of clp-train --model, or "thumbnail"; None for EfficientNet-Lite0 where its weights are installed,
    else thumbnails, with a remark. Raises UsageError for a model that is unknown or not installed,
    SettingError for a device that does not exist.
    """
    if model == THUMBNAIL:
        return Eyes(THUMBNAIL, thumbnails)
    if model is None:
        try:
            check_model(NETWORK)
        except UsageError:
            return Eyes(THUMBNAIL, thumbnails, NO_NETWORK)
    return of_network(NETWORK if model is None else model, size, device)


def of_network(model: str, size: int, device: str) -> Eyes:
    """Return a network's features before its last layer. Raises as `open_eyes`."""
    check_model(model)
    network = build_model(model, 2, USUAL_MEAN, USUAL_STD, generator_for(0, 0, "audit data"), size=size)
    network.to(find_device(device)).to(memory_format=torch.channels_last)
    untrained = model in UNTRAINED
    remark = f"{model} has no trained weights, so its features are random; give {NETWORK}" if untrained else ""
    return Eyes(model, lambda parts: (out.features.float().cpu() for out in outputs(network, parts)), remark)


def thumbnails(parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield pictures, uint8 (n, 3, H, W), as 8 x 8 pixels, float32 (n, 192) in [0, 1]."""
    for images in parts:
        yield F.interpolate(images.float() / 255, (SIDE, SIDE), mode="area").flatten(1)
