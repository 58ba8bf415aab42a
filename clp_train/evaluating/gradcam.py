"""EVALUATE: where a classifier looks. Grad-CAM, raw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError, pick
from clp_train.models.parts import Classifier
from clp_train.models.untouched import untouched


def gradcam(network: Classifier, images: Tensor, label: Tensor, layer: str | None = None) -> Tensor:
    """Return the Grad-CAM of the label's logit, float32 (n, H, W) >= 0, bilinear from the layer's size.

    images: float (n, 3, H, W) in [0, 1]; label: int64 (n,); layer: dotted name, None for the last of `map_layers`.
    Raw: not scaled per picture, so maps of one network compare and sums mean something. The network is left as it
    was, in its own mode. Raises UsageError for a layer without maps. Source: Selvaraju et al. 2017, eqs. (1)-(2).
    """
    images = images.detach()
    with untouched(network) as run:
        names = map_layers(network, run, images[:1])
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
    names: list[str] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1:
                names.append(name)

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    try:
        run(image)
    finally:
        for handle in handles:
            handle.remove()
    if not names:
        raise UsageError(
            f"{type(network).__name__}: no module gives a map larger than 1 x 1 for pictures of"
            f" {image.shape[3]} x {image.shape[2]}; Grad-CAM needs a convolutional network or larger pictures"
        )
    return names
