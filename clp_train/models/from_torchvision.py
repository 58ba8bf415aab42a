"""Any classifier of torchvision.models by name, random or with weights from a local file. Nothing is downloaded."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from torch import nn
from torchvision import models
from torchvision.ops import StochasticDepth

from clp_aug.contract.errors import UsageError
from clp_train.models.given import Given
from clp_train.models.parts import ALL_BUT_HEAD
from clp_train.models.weights import Weights, load_fitting, note_start
from clp_train.models.wrapped import WrappedClassifier

WITH_AUXILIARY_HEADS = {"googlenet": "aux", "inception_v3": "AuxLogits"}  # they only add losses in training
WITHOUT_LINEAR_HEAD = ("squeezenet1_0", "squeezenet1_1")


class MNASNet(models.MNASNet):
    """MNASNet that loads states without version numbers, as runs and files have; torchvision's own refuses them."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, {"version": self._version} | local_metadata, *rest)


class TorchvisionClassifier(WrappedClassifier):
    """A network of torchvision with a new last linear layer: (N, 3, H, W) in [0, 1] -> Output.

    Dropout and stochastic depth are always off here.
    """

    def __init__(self, body: nn.Module, classes: int, mean: Sequence[float], std: Sequence[float]) -> None:
        for module in body.modules():
            if isinstance(module, (nn.Dropout, StochasticDepth)):
                module.p = 0.0
        place, last = linear_head(body)
        super().__init__(body, place, nn.Linear(last.in_features, classes), mean, std)


def linear_head(body: nn.Module) -> tuple[str, nn.Linear]:
    """Return the name and the layer that computes the logits: the last linear one."""
    return [(name, module) for name, module in body.named_modules() if isinstance(module, nn.Linear)][-1]


def check(name: str) -> None:
    """Raise UsageError for an unknown or unusable name."""
    names = models.list_models(module=models)
    if name not in names:
        matches = difflib.get_close_matches(name, names, n=5, cutoff=0.5) or ["resnet50", "resnext50_32x4d"]
        raise UsageError(
            f"unknown torchvision classifier {name!r}: expected one of {len(names)}, such as {', '.join(matches)}"
        )
    if name in WITHOUT_LINEAR_HEAD:
        raise UsageError(f"torchvision:{name} ends in a convolution; choose a classifier with a linear last layer")


def build(name: str, given: Given) -> TorchvisionClassifier:
    """Return the classifier of a name with a new head.

    With torchvision's weights, its preprocessing for that network normalises; otherwise the data's mean and std.
    Weights that are not loaded are initialised by torchvision, from a seed that the generator draws. Raises InputError
    if the weights are not this network's; weights of the old head and of auxiliary heads are ignored.
    """
    check(name)
    weights = given.weights_of_body
    given.seed_layers()
    body = make_body(name, weights is not None)
    mean, std = given.mean, given.std
    if weights is not None:
        load(body, name, weights)
        preset = models.get_model_weights(name).DEFAULT.transforms()
        mean, std = preset.mean, preset.std
    network = TorchvisionClassifier(body, given.classes, mean, std)
    if weights is not None:
        note_start(network, weights, ALL_BUT_HEAD)
    return network


def make_body(name: str, pretrained: bool) -> nn.Module:
    """Return the network of torchvision with its own initialisation."""
    body: nn.Module = models.get_model_builder(name)(weights=None, **options(name, pretrained))
    if isinstance(body, models.MNASNet):
        body.__class__ = MNASNet
    return body


def options(name: str, pretrained: bool) -> dict[str, bool]:
    """Return the options of constructors with auxiliary heads; their weights would add a second normalisation."""
    if name not in WITH_AUXILIARY_HEADS:
        return {}
    return {"aux_logits": False, "init_weights": not pretrained, "transform_input": pretrained}


def load(body: nn.Module, name: str, weights: Weights) -> None:
    """Load all but the heads, in place."""
    head = f"{linear_head(body)[0]}."
    load_fitting(body, weights, (head, WITH_AUXILIARY_HEADS.get(name, head)), f"torchvision:{name}")
