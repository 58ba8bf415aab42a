"""Any classifier of timm by name, random or with weights from a local file. Nothing is downloaded."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from clp_aug.contract.errors import SettingError, UsageError, listed, suggestion
from clp_aug.nets.reading import first_line
from clp_train.models.given import Given
from clp_train.models.parts import ALL, ALL_BUT_HEAD, Classifier
from clp_train.models.weights import Weights, load_fitting, note_start, own_names
from clp_train.models.wrapped import WrappedClassifier, head_like

CONVERTER = "checkpoint_filter_fn"
"""Name of the function in a timm module that renames weights of earlier versions."""


def check(name: str) -> None:
    """Raise UsageError for a name that timm does not have, or without timm."""
    timm = library()
    kind, _, tag = name.partition(".")
    if not timm.is_model(kind):
        names = timm.list_models()
        near = suggestion(names, kind) or "timm.list_models() has their names; "
        raise UsageError(f"unknown timm classifier {name!r}: {near}there are {len(names)}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{kind}.*")]
    if tag and tag not in tags:
        raise UsageError(
            f"timm:{name}: timm knows no weights {tag!r} of {kind}; {suggestion(tags, tag)}it knows"
            f" {listed(tags) or 'none'}"
        )


def library() -> Any:
    """Return timm. Raises UsageError if it is not installed."""
    try:
        import timm
    except ImportError:
        raise UsageError("timm:NAME needs timm: pip install 'causal-logit-perturbation[timm]'") from None
    return timm


def build(name: str, given: Given) -> Classifier:
    """Return the classifier of a name with a head of `given.classes` classes.

    With timm's weights, timm's preprocessing for that network normalises; otherwise the data's mean and std. Weights
    that are not loaded are initialised by timm, from a seed that the generator draws. A network for one size is built
    for the run's size, by timm's own means. Raises InputError if the weights are not this network's; weights of the old
    head are ignored unless they have the same number of classes. Raises SettingError for a size that the network cannot
    take.
    """
    check(name)
    given.seed_layers()
    body = library().create_model(name, pretrained=False, num_classes=given.classes)
    preset = body.pretrained_cfg
    places = [preset["classifier"]] if isinstance(preset["classifier"], str) else list(preset["classifier"])
    weights, mean, std, taken = given.weights_of_body, given.mean, given.std, ""
    if weights is not None:
        taken = load(body, places, weights, name)
        mean, std = preset["mean"], preset["std"]
    head = head_like(body.get_submodule(places[0]), given.classes, f"timm:{name}")
    if len(places) > 1:
        join_heads(body, head.in_features, name)
    fit_size(body, preset, given.size, name)
    network = WrappedClassifier(body, places[0], head, mean, std)
    if weights is not None:
        note_start(network, weights, taken)
    return network


def join_heads(body: nn.Module, width: int, name: str) -> None:
    """Let a network with several last layers return the mean of their inputs, in place.

    width: of the first one's input. Raises UsageError if the widths differ.
    """
    if width != vars(body).get("head_hidden_size", vars(body)["num_features"]):
        raise UsageError(f"timm:{name} has several last layers of different widths; choose another model")
    body.reset_classifier(0)  # type: ignore[operator]  # every network of timm has it


def load(body: nn.Module, places: Sequence[str], weights: Weights, name: str) -> str:
    """Load weights in place, with timm's conversion of earlier versions; return in words what was loaded.

    places: of its last layers. One is loaded if the shapes fit; two are not, because they were trained separately.
    """
    heads = tuple(f"{place}." for place in places)
    expected = {key: tuple(value.shape) for key, value in body.state_dict().items()}
    shapes = {own: weights.shapes[key] for key, own in own_names(weights.shapes, expected).items()}
    of_head = [key for key in expected if key.startswith(heads)]
    fits = len(places) == 1 and all(shapes.get(key) == expected[key] for key in of_head)
    load_fitting(body, weights, () if fits else heads, f"timm:{name}", converter_of(body))
    return ALL if fits else ALL_BUT_HEAD


def converter_of(body: nn.Module) -> Any:
    """Return timm's converter of earlier versions of a network's tensors by name, None if timm has none."""
    convert = getattr(sys.modules[type(body).__module__], CONVERTER, None)
    if convert is None:
        return None

    def converted(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = convert(dict(tensors), body)
        return found

    return converted


def fit_size(body: nn.Module, preset: Mapping[str, Any], size: int | None, name: str) -> None:
    """Change a network for one size to another size, in place, if timm can; a later pass shows what it takes.

    Raises SettingError for a size that timm cannot change it to.
    """
    usual, resize = preset["input_size"][-1], getattr(body, "set_input_size", None)
    if size in (None, usual) or not preset.get("fixed_input_size") or resize is None:
        return
    try:
        with warnings.catch_warnings():  # of torch, about timm's interpolation
            warnings.simplefilter("ignore", UserWarning)
            resize(img_size=(size, size))
    except Exception as error:  # each network refuses in its own way
        reason = f"it does not take pictures of {size} x {size} ({first_line(error)}), expected {usual} x {usual}"
        remedy = f"make the shard with clp-augment --size {usual}, or choose another model"
        raise SettingError("model", f"timm:{name}", f"{reason}: {remedy}") from None
