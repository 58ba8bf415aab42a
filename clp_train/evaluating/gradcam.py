"""EVALUATE: where a classifier looks. Grad-CAM, raw."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError, pick
from clp_train.evaluating.maps import (
    Place,
    Run,
    Seen,
    last_learned,
    last_place,
    map_places,
    seen,
    token_places,
)
from clp_train.models.parts import Classifier
from clp_train.models.untouched import untouched


def gradcam(network: Classifier, images: Tensor, label: Tensor, layer: str | None = None) -> Tensor:
    """Return the Grad-CAM of the label's logit, float32 (n, H, W) >= 0, bilinear from the layer's size.

    images: float (n, 3, H, W) in [0, 1]; label: int64 (n,); layer: dotted name, None for that of `last_place`; if a
    network of convolutions has none there, its last map of more than one pixel. Maps are not scaled per picture, so
    maps of one network can be compared and summed. The network keeps its own mode. Raises UsageError for a layer
    without maps, and without a named layer for a network that ends in tokens without positions or in a single token.
    Source: Selvaraju et al. 2017, eqs. (1)-(2).
    """
    images = images.detach()
    with untouched(network) as run:
        place = place_of(network, run, images[:1], layer)
        maps: list[Tensor] = []  # of the layer's last call: some networks call a module more than once

        def cut(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            maps[:] = [output.detach().requires_grad_()]
            return maps[0].clone()  # later layers may work in place

        handle = network.get_submodule(place.name).register_forward_hook(cut)
        try:
            logits = run(images).logits.to(label.device)
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(logits.gather(1, label[:, None]).sum(), maps[0])
    weights = place.map_of(gradient).mean((2, 3), keepdim=True)  # (n, K, 1, 1)
    evidence = (weights * place.map_of(maps[0].detach())).sum(1, keepdim=True).relu().float()  # (n, 1, h, w)
    return F.interpolate(evidence.to(images.device), images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def place_of(network: Classifier, run: Run, image: Tensor, layer: str | None) -> Place:
    """Return the place of the map that Grad-CAM uses. Arguments, errors: as in `gradcam`; image: float (1, 3, H, W)."""
    outputs = seen(network, run, image)
    if layer is not None:
        return pick(named_places(network, outputs, image), layer, "layer")
    convolutions = map_places(network, outputs, image) if last_learned(outputs).kind != "tokens" else []
    place, reason = last_place(network, run, outputs, image)
    if place is None and not convolutions:
        raise UsageError(
            f"{type(network).__name__}: {reason}; Grad-CAM needs a larger map, choose another model or larger pictures"
        )
    return place or convolutions[-1]


def named_places(network: Classifier, outputs: list[Seen], image: Tensor) -> dict[str, Place]:
    """Return every place of a map by the name of its module. Raises UsageError if there is none."""
    tokens = token_places(network, outputs, image) if last_learned(outputs).kind == "tokens" else ()
    known = {place.name: place for place in tokens}
    return known or {place.name: place for place in map_places(network, outputs, image)}


def why_no_map(network: Classifier, images: Tensor) -> str:
    """Return the reason why Grad-CAM of pictures, float (n, 3, H, W), is impossible: there is no last feature map.

    Empty if there is one: the output of the last layer with weights that works on a map, up to global pooling. The
    network is not changed.
    """
    with untouched(network) as run:
        outputs = seen(network, run, images[:1])
        return last_place(network, run, outputs, images[:1])[1]
