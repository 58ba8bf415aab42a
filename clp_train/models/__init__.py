"""The registry of classifiers. Each gives features and logits; a new one is one file and one line here."""

from __future__ import annotations

import importlib

from clp_aug.contract.errors import pick

MODELS = {
    "resnet8": ("clp_train.models.resnet_cifar", 1),
    "resnet20": ("clp_train.models.resnet_cifar", 3),
    "resnet32": ("clp_train.models.resnet_cifar", 5),
}
"""Name -> (module with `build(size, classes, mean, std, generator)`, the size it is built with); loaded on request."""


def build_model(name: str, classes: int, mean, std, generator):
    """Return a freshly started classifier: float32 (N, 3, H, W) in [0, 1] -> Output; its last layer is `head`.

    mean, std: the channels' statistics, three floats each, applied inside; generator: torch.Generator that every
    start value is drawn from. Raises UsageError for an unknown name.
    """
    module, size = pick(MODELS, name, "model")
    return importlib.import_module(module).build(size, classes, mean, std, generator)
