"""EVALUATE: where a classifier looks. Grad-CAM, raw."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError, pick
from clp_train.models.parts import Classifier
from clp_train.models.untouched import untouched

ONE_PIXEL, TOKENS = "its last feature map is one pixel", "it ends in tokens, not in a feature map"


class Seen(NamedTuple):
    """What a module gave for one picture. positions: that it has values at, None for one of no map and no tokens;
    is_map: four axes, the last two of more than one pixel; in_shape: these are of the picture's shape, so no channels;
    kind: "map" or "tokens" for a layer of weights, else "".
    """

    name: str
    positions: int | None
    is_map: bool
    in_shape: bool
    kind: str


def gradcam(network: Classifier, images: Tensor, label: Tensor, layer: str | None = None) -> Tensor:
    """Return the Grad-CAM of the label's logit, float32 (n, H, W) >= 0, bilinear from the layer's size.

    images: float (n, 3, H, W) in [0, 1]; label: int64 (n,); layer: dotted name, None for the last of `map_layers`.
    Raw: not scaled per picture, so maps of one network compare and sums mean something. The network is left as it
    was, in its own mode. Raises UsageError for a layer without maps, and for a network that ends in tokens where no
    layer is named. Source: Selvaraju et al. 2017, eqs. (1)-(2).
    """
    images = images.detach()
    with untouched(network) as run:
        outputs = seen(network, run, images[:1])
        names = map_names(network, outputs, images)
        if layer is None and reason_of(outputs) and last_learned(outputs).kind == "tokens":
            raise UsageError(
                f"{type(network).__name__}: {reason_of(outputs)}; Grad-CAM needs a larger one, choose another model or"
                " larger pictures"
            )
        name = names[-1] if layer is None else pick({name: name for name in names}, layer, "layer")
        maps: list[Tensor] = []  # of the layer's last call: some networks call one module more than once

        def cut(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            maps[:] = [output.detach().requires_grad_()]
            return maps[0].clone()  # what follows may work in place

        handle = network.get_submodule(name).register_forward_hook(cut)
        try:
            logits = run(images).logits.to(label.device)
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(logits.gather(1, label[:, None]).sum(), maps[0])
    weights = gradient.mean((2, 3), keepdim=True)  # (n, K, 1, 1)
    evidence = (weights * maps[0].detach()).sum(1, keepdim=True).relu().float()  # (n, 1, h, w)
    return F.interpolate(evidence.to(images.device), images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def map_layers(network: Classifier, run: Callable[[Tensor], Any], image: Tensor) -> list[str]:
    """Return the names of the modules that give maps (n, K, h, w) of more than one pixel, in the order they finish.

    The last one is what stands before global pooling. run: the network as a function; image: float (1, 3, H, W).
    Raises UsageError when there is none.
    """
    return map_names(network, seen(network, run, image), image)


def map_names(network: Classifier, outputs: Sequence[Seen], images: Tensor) -> list[str]:
    """Return those of modules that gave maps of some pictures, (n, 3, H, W). Raises UsageError when there is none."""
    names = [output.name for output in outputs if output.is_map]
    if not names:
        raise UsageError(
            f"{type(network).__name__}: no module gives a map larger than 1 x 1 for pictures of"
            f" {images.shape[3]} x {images.shape[2]}; Grad-CAM needs a convolutional network or larger pictures"
        )
    return names


def why_no_map(network: Classifier, images: Tensor) -> str:
    """Say why Grad-CAM of pictures, float (n, 3, H, W), would mean nothing: the network has no last feature map.

    Empty where it has one: what its last layer of weights on a map makes, up to global pooling. The network is left as
    it was.
    """
    with untouched(network) as run:
        return reason_of(seen(network, run, images[:1]))


def reason_of(outputs: Sequence[Seen]) -> str:
    """Return why what modules gave has no map at its end, or ""."""
    learned = last_learned(outputs)
    if learned.positions == 1:
        return ONE_PIXEL
    end = list(itertools.takewhile(lambda output: output.positions != 1, outputs[outputs.index(learned) :]))
    last_map = next((output for output in reversed(outputs) if output.is_map), None)
    if last_map in end and last_map.in_shape:
        return ""
    return TOKENS if learned.kind == "tokens" else ONE_PIXEL


def last_learned(outputs: Sequence[Seen]) -> Seen:
    """Return what the last layer of weights on a map or on tokens gave; of a network without one, no position."""
    return next((output for output in reversed(outputs) if output.kind), Seen("", 1, False, False, "map"))


def seen(network: Classifier, run: Callable[[Tensor], Any], image: Tensor) -> list[Seen]:
    """Return what the modules of a network gave for a picture, float (1, 3, H, W), in the order they finish."""
    outputs: list[Seen] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim >= 3:
                outputs.append(look_over(name, module, output, image))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    try:
        run(image)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def look_over(name: str, module: nn.Module, output: Tensor, image: Tensor) -> Seen:
    """Return what a module gave for an image: (n, K, h, w), or (n, ..., K) where it is linear in the last axis."""
    learned = any(values.ndim > 1 for values in module.parameters(recurse=False))
    tokens = learned and isinstance(module, nn.Linear)
    places = output.shape[1:-1] if tokens else output.shape[2:]
    positions = places.numel() if tokens or output.ndim == 4 else None
    kind = "tokens" if tokens else "map" if learned and output.ndim == 4 else ""
    is_map = output.ndim == 4 and output.shape[2:].numel() > 1
    (height, width), (rows, columns) = image.shape[2:], output.shape[-2:]
    return Seen(name, positions, is_map, abs(rows * width - columns * height) <= max(height, width), kind)
