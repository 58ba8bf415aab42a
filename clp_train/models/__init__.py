"""The registry of classifiers. Each returns features and logits; a new one is one file and one line here.

A classifier takes float32 (N, 3, H, W) in [0, 1], normalises inside, and returns `Output`. So gradients with respect to
the input (eq. 6, FGSM) are in pixel units. Its last layer is `head`, an nn.Linear; `tail` holds name prefixes of its
last block's parameters, including the head's. The network's own noise, such as dropout, is the same in all passes of
one step (`algorithm/noise.py`); our classifiers have none.
Other networks come by name from a library (`SOURCES`), or from a function of the user.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clp_aug.common import plugins
from clp_aug.contract.errors import SettingError, UsageError
from clp_train.models.names import split, weights_file

if TYPE_CHECKING:
    import torch

    from clp_aug.common.plugins import Plugin
    from clp_train.models.parts import Classifier


@dataclass(frozen=True)
class Model:
    """One registered classifier, loaded on request.

    builder: "module:function", called with (argument, classes, mean, std, generator); check: "module:function", called
    with the argument before anything is read, to find missing packages or files.
    """

    builder: str
    argument: object = None
    check: str = ""


@dataclass(frozen=True)
class Source:
    """A source of other networks. builder: "module:function", called with the requested name and `Given`; check:
    "module:function", called with the requested name before anything is read.
    """

    builder: str
    check: str


MODELS = {
    "resnet8": Model("clp_train.models.resnet_cifar:build", 1),
    "resnet20": Model("clp_train.models.resnet_cifar:build", 3),
    "resnet32": Model("clp_train.models.resnet_cifar:build", 5),
    "wrn-28-10": Model("clp_train.models.wide_resnet:build", (28, 10)),
    "efficientnet-lite0": Model("clp_train.models.efficientnet:build", True, "clp_train.models.efficientnet:check"),
    "efficientnet-lite0-scratch": Model("clp_train.models.efficientnet:build", False),
}
SOURCES = {
    "torchvision": Source("clp_train.models.from_torchvision:build", "clp_train.models.from_torchvision:check"),
    "timm": Source("clp_train.models.from_timm:build", "clp_train.models.from_timm:check"),
}
"""Prefix before the colon of a library's network -> that library."""
OWN = Source("clp_train.models.from_factory:build", "clp_train.models.from_factory:check")
"""The user's own networks: module:name, file.py:name or an entry point of the group clp.models."""
NAMES = (*MODELS, *(f"{source}:NAME" for source in SOURCES))
"""Names that a user can write, besides the user's own networks, each with or without @WEIGHTS."""


@dataclass(frozen=True)
class Named:
    """Meaning of a name. model: where it comes from; argument: of its functions; weights: start weights, as the user
    wrote them, None for none; plugin: the user's own code, None for a registered name.
    """

    model: Model | Source
    argument: object
    weights: str | None = None
    plugin: Plugin | None = None


def check_model(name: str) -> None:
    """Raise UsageError or InputError unless the classifier of that name can be built. Fast for our own classifiers."""
    named = find(name)
    if named.model.check:
        load(named.model.check)(named.argument)
    if named.weights is not None:
        weights_file(name, named.weights)


def check_head(name: str, head: str) -> None:
    """Raise SettingError if a last layer is named for a classifier whose last layer is known."""
    if find(name).plugin is None:
        reason = f"has no effect with model {name}, whose last layer is known"
        raise SettingError("model_head", head, reason, {"model_head": None})


def build_model(
    name: str,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    generator: torch.Generator,
    head: str | None = None,
    size: int | None = None,
) -> Classifier:
    """Return a newly initialised classifier: float32 (N, 3, H, W) in [0, 1] -> Output; its last layer is `head`.

    mean, std: the channels' statistics, three floats each; a pretrained network keeps its own instead. generator:
    torch.Generator that every start value is drawn from. head: dotted name of the last layer of a user's own network,
    None to find it. size: side of the pictures in pixels, for networks that are made for one size. Raises UsageError
    for an unknown name or a network without a last layer, InputError for weights that do not fit.
    """
    import torch

    from clp_train.models.given import Given
    from clp_train.models.weights import Weights, take_classifier

    named = find(name)
    weights = None if named.weights is None else Weights(weights_file(name, named.weights))
    with torch.random.fork_rng(devices=[]):  # layers draw from the global generator before they are initialised again
        builder, network = load(named.model.builder), None
        if isinstance(named.model, Source):
            network = builder(named.argument, Given(classes, mean, std, generator, weights, head, size))
        else:
            network = builder(named.argument, classes, mean, std, generator)
    if weights is not None and network.start_weights is None:
        take_classifier(network, weights, split(name)[0])
    built: Classifier = network
    return built


def takes_any_size(name: str) -> bool:
    """Return whether a classifier of that name takes pictures of every size and has no start weights of the user."""
    named = find(name)
    return isinstance(named.model, Model) and named.weights is None


def plugin_of(name: str) -> Plugin | None:
    """Return the user's own code that makes a classifier of a name, None for a registered one. Raises as `find`."""
    return find(name).plugin


def find(name: str) -> Named:
    """Return the meaning of a name. Raises UsageError for a name that is neither registered nor a plug-in."""
    bare, weights = split(name)
    kind, colon, rest = bare.partition(":")
    if kind in SOURCES:
        if not rest:
            raise UsageError(f"model {name!r}: expected {kind}:NAME, or {kind}:NAME@WEIGHTS")
        return Named(SOURCES[kind], rest, weights)
    if kind in MODELS:
        if colon:
            raise UsageError(f"model {name!r}: expected {kind}, or {kind}@WEIGHTS")
        return Named(MODELS[kind], MODELS[kind].argument, weights)
    plugin = plugins.find(dict.fromkeys(NAMES), bare, "model")
    return Named(OWN, plugin, weights, plugin)


def load(function: str) -> Callable[..., Any]:
    """Import and return "module:function"."""
    module, name = function.split(":")
    target: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return target
