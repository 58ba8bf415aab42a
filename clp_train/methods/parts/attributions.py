"""Where a network's evidence for a picture is: XGrad-CAM, and masks that keep as much of it as the loss needs.

The network has earlier weights, such as those at the end of a stage. The run goes on training, but the masks still come
from the earlier weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from clp_train.evaluating.gradcam import place_of
from clp_train.evaluating.maps import Place
from clp_train.methods.parts.placing import beside
from clp_train.models.parts import Classifier, Normalise
from clp_train.models.untouched import untouched

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""How much of a picture a mask may hide. Source: the authors' code."""
TINY = 1e-7  # added to the sum of a map

Values = Mapping[str, Tensor]
"""Parameters and buffers of a network by name."""


def values_of(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of a network's parameters and buffers, without a graph."""
    return {name: value.detach().clone() for name, value in named_values(network).items()}


def laid_out(values: Values, network: nn.Module) -> dict[str, Tensor]:
    """Return values on the network's device, in its own memory layout, because another layout would round differently.

    Raises KeyError for a missing value, RuntimeError for a value of another shape.
    """
    return {name: torch.empty_like(like).copy_(values[name]) for name, like in named_values(network).items()}


def named_values(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's parameters, detached, and buffers, by name."""
    return {name: w.detach() for name, w in network.named_parameters()} | dict(network.named_buffers())


def adaptive_masks(network: Classifier, values: Values, images: Tensor, label: Tensor) -> Tensor:
    """Return the masks of the causal pixels, bool (n, H, W).

    Candidates are the pixels above quantiles of XGrad-CAM; the one at the elbow of the loss over the hidden share is
    chosen. values: weights and buffers to use; the network is not changed; images: float (n, 3, H, W) in [0, 1]; label:
    int64 (n,). Hidden pixels get the colour that is zero after the network's normalisation. Raises UsageError as
    `gradcam` does. Source: the adaptive masks of Noohdani et al. 2024, as their code makes them.
    """
    with untouched(network):

        def run(x: Tensor) -> Any:
            return functional_call(network, dict(values), (x,))

        evidence = xgradcam(network, run, images)
        bounds = quantiles(evidence.flatten(1), SHARES)
        masks = evidence[:, None] >= bounds[:, :, None, None]  # (n, K, H, W)
        blank = blank_of(network, images)
        with torch.no_grad():
            losses = [
                F.cross_entropy(run(torch.where(mask[:, None], images, blank)).logits, label, reduction="none")
                for mask in masks.unbind(1)
            ]
    chosen = elbow(torch.stack(losses, 1))
    return masks.gather(1, chosen[:, None, None, None].expand(-1, 1, *masks.shape[2:]))[:, 0]


def xgradcam(network: Classifier, run: Callable[[Tensor], Any], images: Tensor) -> Tensor:
    """Return the XGrad-CAM of each picture's predicted class, float (n, H, W) >= 0, bilinear from the layer's size.

    run: the network as a function, in evaluation mode; images: float (n, 3, H, W) in [0, 1]. The weight of a channel is
    the sum of its gradient times its map, divided by the sum of its map. The result is not scaled. Source: Fu et al.
    2020, as in the package that Noohdani et al. use.
    """
    place = place_of(network, run, images[:1], None)
    maps, gradient = map_and_gradient(network, run, images, place)
    weights = (gradient * maps).sum((2, 3)) / (maps.sum((2, 3)) + TINY)
    evidence = (weights[:, :, None, None] * maps).sum(1, keepdim=True).relu()  # (n, 1, h, w)
    return F.interpolate(evidence, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def map_and_gradient(
    network: Classifier, run: Callable[[Tensor], Any], images: Tensor, place: Place
) -> tuple[Tensor, Tensor]:
    """Return the map at a layer and the gradient of the predicted class's logit there, (n, K, h, w) each, in the type
    of the images.
    """
    maps: list[Tensor] = []  # of the layer's last call

    def cut(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        maps[:] = [output.detach().requires_grad_()]
        return maps[0].clone()  # later layers may work in place

    handle = network.get_submodule(place.name).register_forward_hook(cut)
    try:
        logits = run(images).logits
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logits.amax(1).sum(), maps[0])
    return place.map_of(maps[0].detach()).to(images), place.map_of(gradient).to(images)


def quantiles(values: Tensor, shares: tuple[float, ...]) -> Tensor:
    """Return quantiles of each row, (n, K), linear between neighbours, of values (n, P). torch's has a size limit."""
    ordered, last = values.sort(1).values, values.shape[1] - 1
    low = [int(share * last) for share in shares]
    part = torch.tensor([share * last - k for share, k in zip(shares, low, strict=True)], dtype=torch.float64)
    below, above = (torch.stack([ordered[:, min(k + i, last)] for k in low], 1) for i in (0, 1))
    return below + (above - below) * beside(part, values)


def elbow(losses: Tensor) -> Tensor:
    """Return the column of each row's elbow, int64 (n,); the last column if there is none.

    losses: (n, K), convex and rising over even steps, more or less. The last elbow counts; a sensitivity of 1. Source:
    Kneedle, Satopaa et al. 2011, as `kneed` has it with online=True.
    """
    last = losses.shape[1] - 1
    low, high = losses.amin(1, keepdim=True), losses.amax(1, keepdim=True)
    knee = ((high - losses) / (high - low)).flip(1)  # NaN if all are equal: no elbow
    over = knee - torch.arange(last + 1, dtype=knee.dtype, device=knee.device) / last
    before, behind = torch.cat([over[:, :1], over[:, :-1]], 1), torch.cat([over[:, 1:], over[:, -1:]], 1)
    peak, valley = (over >= before) & (over >= behind), (over <= before) & (over <= behind)
    at = found = torch.full_like(peak[:, 0], last, dtype=torch.int64)
    bound = torch.full_like(over[:, 0], -torch.inf)  # nothing is below it before the first peak
    for k in range(last):
        at = torch.where(peak[:, k], last - k, at)
        bound = torch.where(peak[:, k], over[:, k] - 1 / last, bound)
        bound = torch.where(valley[:, k] & (bound > -torch.inf), 0.0, bound)
        found = torch.where(over[:, k + 1] < bound, at, found)
    return found


def blank_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return the colour that a network's normalisation maps to 0, (1, 3, 1, 1) in [0, 1]; else the pictures' mean."""
    means = [module.mean for module in network.modules() if isinstance(module, Normalise)]
    return means[0].to(images) if means else images.mean((0, 2, 3), keepdim=True)
