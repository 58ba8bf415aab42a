"""The registry of random transforms that move a picture and its box mask together; one function and one line each.

A transform is a function (images, inside, generator) -> (images, inside): uint8 or float (n, 3, H, W) and bool
(n, H, W) in and out, every number drawn from the torch.Generator, parameters per picture. A transform that is not
listed here is a plug-in: module:name, file.py:name, or a name that an installed package has added.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from clp_aug.common.plugins import Plugin, find

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Transform = Callable[["Tensor", "Tensor", "torch.Generator"], "tuple[Tensor, Tensor]"]
TRANSFORMS = {
    "pad-crop-flip": "clp_train.pictures.transforms.joint:pad_crop_flip",
    "resize-crop-flip": "clp_train.pictures.transforms.joint:resize_crop_flip",
    "wide-crop-flip": "clp_train.pictures.transforms.joint:wide_crop_flip",
    "half-crop-flip": "clp_train.pictures.transforms.joint:half_crop_flip",
    "none": "clp_train.pictures.transforms.joint:none",
}
"""Name -> module:function; loaded on request."""


def plugin_of(name: str) -> Plugin | None:
    """Return the plug-in of a name, None for a registered transform. Raises UsageError for an unknown name."""
    return find(TRANSFORMS, name, "transform")


def load_transform(name: str) -> Transform:
    """Import and return a transform. Raises UsageError for an unknown name."""
    plugin = plugin_of(name)
    if plugin is not None:
        return guarded(plugin)
    module, function = TRANSFORMS[name].split(":")
    transform: Transform = getattr(importlib.import_module(module), function)
    return transform


def guarded(plugin: Plugin) -> Transform:
    """Return a plug-in's transform, with one-line errors for what it raises, and for a wrong result."""

    def transform(images: Tensor, inside: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        before = (images.shape, images.dtype), (inside.shape, inside.dtype)
        moved = plugin.call(plugin.value, images, inside, generator)
        facts = tuple((getattr(part, "shape", None), getattr(part, "dtype", None)) for part in moved)
        if facts != before:
            raise plugin.refuse(
                f"it returned {facts}; expected (images, inside) of the same shapes and types as its inputs: {before}"
            )
        return moved[0], moved[1]

    return transform
