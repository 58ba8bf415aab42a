"""The user's own networks: any nn.Module that a function of the user returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from clp_aug.common.plugins import Plugin
from clp_aug.contract.errors import SettingError
from clp_train.models.given import Given
from clp_train.models.parts import ALL, ALL_BUT_HEAD, Classifier
from clp_train.models.weights import load_fitting, note_start, own_names
from clp_train.models.wrapped import FoundClassifier, find_head, head_like

CLASSES = ("classes", "num_classes", "n_classes")
"""Names of arguments that get the number of classes although they have a default."""
EXPECTED = "expected a function of the number of classes, or without arguments, that returns a torch.nn.Module"
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def check(plugin: Plugin) -> None:
    """Raise UsageError for a plug-in that is not a function of the number of classes, or without arguments."""
    arguments(plugin, 2)


def build(plugin: Plugin, given: Given) -> Classifier:
    """Return the network of a factory as a classifier.

    A `Classifier` is used unchanged. In another nn.Module the last linear layer is found, or named by `given.head`. It
    is kept if it has the right number of classes, else a new one replaces it. Layers initialise themselves, from a seed
    that the generator draws; the data's mean and std normalise. Raises UsageError for a factory that fails or returns
    no network, SettingError for a name that is not a linear layer, InputError for weights that do not fit.
    """
    given.seed_layers()
    network = make(plugin, given.classes)
    if isinstance(network, Classifier):
        if given.head is not None:
            reason = f"has no effect because {plugin.name} returns a Classifier, whose last layer is its head"
            raise SettingError("model_head", given.head, reason, {"model_head": None})
        return network
    place = find_head(network, given.classes, plugin.name, given.head)
    taken = ""
    if given.weights_of_body is not None:
        taken = load_bare(network, place, plugin.name, given)
    head = head_like(network.get_submodule(place), given.classes, plugin.name)
    classifier = FoundClassifier(network, place, head, given.mean, given.std)
    if given.weights_of_body is not None:
        note_start(classifier, given.weights_of_body, taken)
    return classifier


def make(plugin: Plugin, classes: int) -> nn.Module:
    """Return the network of a factory. Raises UsageError if it fails or does not return an nn.Module."""
    network = plugin.call(plugin.value, **arguments(plugin, classes))
    if not isinstance(network, nn.Module):
        raise plugin.refuse(f"it returns {type(network).__name__}, expected a torch.nn.Module")
    return network


def arguments(plugin: Plugin, classes: int) -> dict[str, int]:
    """Return the arguments of a factory: the number of classes if it takes it, else none.

    Raises UsageError for a factory that needs other arguments.
    """
    factory: Callable[..., Any] = plugin.value
    if isinstance(factory, nn.Module) or not callable(factory):
        raise plugin.refuse(f"it is of type {type(factory).__name__}; {EXPECTED}")
    parameters = [p for p in inspect.signature(factory).parameters.values() if p.kind not in VARIADIC]
    required = [p for p in parameters if p.default is p.empty]
    if len(required) > 1 or any(p.kind is p.POSITIONAL_ONLY for p in required):
        raise plugin.refuse(f"it takes {', '.join(p.name for p in required)}; {EXPECTED}")
    taken = required or [p for p in parameters if p.name in CLASSES]
    return {taken[0].name: classes} if taken else {}


def load_bare(network: nn.Module, place: str, model: str, given: Given) -> str:
    """Load weights of the bare network, including its last layer if the shapes fit; return in words what was loaded."""
    weights, head = given.weights_of_body, f"{place}."
    assert weights is not None
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    shapes = {own: weights.shapes[name] for name, own in own_names(weights.shapes, expected).items()}
    fits = all(shapes.get(name) == shape for name, shape in expected.items() if name.startswith(head))
    load_fitting(network, weights, () if fits else (head,), model)
    return ALL if fits else ALL_BUT_HEAD
