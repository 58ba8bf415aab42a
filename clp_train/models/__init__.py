"""The registry of classifiers. Each gives features and logits; a new one is one file and one line here.

A classifier takes float32 (N, 3, H, W) in [0, 1], normalises inside, so that gradients with respect to the input
(eq. 6, FGSM) are in pixel units, and returns `Output`. Its last layer is `head`, an nn.Linear; `tail` holds the
beginnings of the names of its last block's parameters, the head's among them. It draws no random numbers: the
passes of one step must be of one network.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clp_aug.contract.errors import UsageError, pick

if TYPE_CHECKING:
    import torch

    from clp_train.models.parts import Classifier

TORCHVISION = "torchvision"


@dataclass(frozen=True)
class Model:
    """One registered classifier, loaded on request.

    builder: "module:function", called with (argument, classes, mean, std, generator); check: "module:function", called
    with the argument before anything is read, for what can be missing.
    """

    builder: str
    argument: object = None
    check: str = ""


MODELS = {
    "resnet8": Model("clp_train.models.resnet_cifar:build", 1),
    "resnet20": Model("clp_train.models.resnet_cifar:build", 3),
    "resnet32": Model("clp_train.models.resnet_cifar:build", 5),
    "wrn-28-10": Model("clp_train.models.wide_resnet:build", (28, 10)),
    "efficientnet-lite0": Model("clp_train.models.efficientnet:build", True, "clp_train.models.efficientnet:check"),
    "efficientnet-lite0-scratch": Model("clp_train.models.efficientnet:build", False),
    TORCHVISION: Model("clp_train.models.from_torchvision:build", check="clp_train.models.from_torchvision:check"),
}
NAMES = tuple(name for name in MODELS if name != TORCHVISION) + (f"{TORCHVISION}:NAME[@FILE.safetensors]",)
"""What a user can write."""


def check_model(name: str) -> None:
    """Raise UsageError or InputError unless the classifier of that name can be built. Light for those of our own."""
    model, argument = find(name)
    if model.check:
        load(model.check)(argument)


def build_model(
    name: str, classes: int, mean: Sequence[float], std: Sequence[float], generator: torch.Generator
) -> Classifier:
    """Return a freshly started classifier: float32 (N, 3, H, W) in [0, 1] -> Output; its last layer is `head`.

    mean, std: the channels' statistics, three floats each; a pretrained network keeps its own instead. generator:
    torch.Generator that every start value is drawn from. Raises UsageError for an unknown name, InputError for a file
    of weights that does not fit.
    """
    import torch

    model, argument = find(name)
    with torch.random.fork_rng(devices=[]):  # layers draw from the global generator before they are started again
        network: Classifier = load(model.builder)(argument, classes, mean, std, generator)
        return network


def find(name: str) -> tuple[Model, object]:
    """Return the registered entry and the argument of its functions: for torchvision what follows the colon."""
    kind, colon, rest = name.partition(":")
    model = pick(MODELS, kind, "model")
    if (kind == TORCHVISION) != bool(rest) or (colon and not rest):
        raise UsageError(f"model {name!r}: expected {NAMES[-1] if kind == TORCHVISION else kind}")
    return model, rest or model.argument


def load(function: str) -> Callable[..., Any]:
    """Import and return "module:function"."""
    module, name = function.split(":")
    target: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return target
