"""The registry of random transforms that move a picture and its box mask together; one function and one line each.

A transform is a function (images, inside, generator) -> (images, inside): uint8 or float (n, 3, H, W) and bool
(n, H, W) in and out, every number drawn from the torch.Generator, parameters per picture.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from clp_aug.contract.errors import pick

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


def load_transform(name: str) -> Transform:
    """Import and return a transform. Raises UsageError for an unknown name."""
    module, function = pick(TRANSFORMS, name, "transform").split(":")
    transform: Transform = getattr(importlib.import_module(module), function)
    return transform
