"""Another network as a classifier: its last linear layer is removed, and a new one follows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from clp_aug.contract.errors import SettingError, UsageError, suggestion
from clp_train.models.parts import Classifier, Normalise, Output

SEQUENCES = (nn.Sequential, nn.ModuleList)
ENCODER = "torchvision.models.vision_transformer"
"""Module of another sequence type. It loads slowly, and no network has that type before the module is loaded."""
NAME_IT = "let it end there, or name the layer that computes its logits with model_head"
SHOWN = 6  # layers that a message names


class HardSigmoid(nn.Module):
    """min(max(x + 3, 0), 6) / 6; torch's own has no second derivative, which eq. (6) and the meta step need."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


class EndError(ValueError):
    """A network does not end in its supposed last layer, for any pictures."""


class WrappedClassifier(Classifier):
    """A network without its layer at `place`, followed by a linear head: (N, 3, H, W) in [0, 1] -> Output.

    The features are the network's output without that layer.
    """

    def __init__(
        self, body: nn.Module, place: str, head: nn.Linear, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        for name, module in list(body.named_modules()):
            if isinstance(module, nn.Hardsigmoid):
                body.set_submodule(name, HardSigmoid())
        body.set_submodule(place, nn.Identity())
        self.normalise = Normalise(mean, std)
        self.body = body
        self.head = head
        self.tail = tuple(f"body.{name}" for name in last_of(body, place)) + ("head.",)

    def forward(self, x: Tensor) -> Output:
        features = self.features(x)
        return Output(features, self.head(features))

    def features(self, x: Tensor) -> Tensor:
        """Return the last layer's input, (N, A). x: float (N, 3, H, W) in [0, 1]."""
        with sdpa_kernel(SDPBackend.MATH):  # the only attention with forward-mode and second derivatives
            return as_features(self.body(self.normalise(x)))


class FoundClassifier(WrappedClassifier):
    """A wrapped network whose last layer was found, or named by a user; `check_end` checks that it is the last."""

    def __init__(
        self, body: nn.Module, place: str, head: nn.Linear, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(body, place, head, mean, std)
        self.place = place

    def features(self, x: Tensor) -> Tensor:
        """Return the same. Raises EndError if the last layer cannot take it."""
        features = super().features(x)
        if features.shape[1] != self.head.in_features:
            raise EndError(f"it does not end in its layer {self.place}; {NAME_IT}")
        return features

    def check_end(self, run: Callable[[Tensor], Any], images: Tensor) -> None:
        """Raise EndError unless the features of pictures are the input of the layer at the last layer's place.

        run: this network in evaluation mode, as a function; images: float (n, 3, H, W) in [0, 1].
        """
        inputs: list[Tensor] = []
        layer = self.body.get_submodule(self.place)
        handle = layer.register_forward_hook(lambda _module, _inputs, output: inputs.append(output))
        try:
            features = run(images).features
        finally:
            handle.remove()
        if not inputs:
            raise EndError(f"its layer {self.place} is not called; {NAME_IT}")
        if not torch.equal(as_features(inputs[-1]).to(features.dtype), features):
            raise EndError(f"it does not end in its layer {self.place}: what follows changes the logits; {NAME_IT}")


def as_features(output: Any) -> Tensor:
    """Return a network's output for N pictures as (N, A): the tensor, or `logits`, or the first of several tensors.

    Raises EndError for an output that is not one vector per picture.
    """
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif not isinstance(output, Tensor):
        output = getattr(output, "logits", output)
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise EndError(f"it returns {type(output).__name__}, expected a tensor of logits")
    if output.ndim > 2 and output.shape[2:].numel() == 1:
        output = output.flatten(1)
    if output.ndim != 2:
        raise EndError(f"its last layer gets {tuple(output.shape)}, expected one vector per picture; pool before it")
    return output


def last_of(body: nn.Module, head: str) -> list[str]:
    """Return the name prefixes of the parameters of the last block and of everything after it.

    The block is the last child with weights before the child that holds the head; in a sequence, its last part with
    weights. Layers are assumed to be registered in the order in which they run. If all weights are in the child that
    holds the head, the block is searched inside it. In a network without other weights, it is the module that holds the
    head.
    """
    path, children, prefix = head.split("."), list(body.named_children()), ""
    beginnings: list[str] = []
    for part in path:
        at = [name for name, _ in children].index(part)
        beginnings = [f"{prefix}{name}." for name, _ in children[at + 1 :] if prefix] + beginnings
        if any(has_weights(child) for _, child in children[:at]):
            beginnings.insert(0, f"{prefix}{part}.")
            children = children[:at]
            break
        children, prefix = list(children[at][1].named_children()), f"{prefix}{part}."
    else:
        return [f"{path[0]}."]
    while True:
        at = max(i for i, (_, child) in enumerate(children) if has_weights(child))
        beginnings += [f"{prefix}{name}." for name, _ in children[at + 1 :]]
        name, block = children[at]
        prefix += f"{name}."
        if not is_sequence(block):
            return [prefix, *beginnings]
        children = list(block.named_children())


def is_sequence(block: nn.Module) -> bool:
    """Return whether a module is a sequence of blocks."""
    loaded = sys.modules.get(ENCODER)
    return type(block) in (SEQUENCES if loaded is None else (*SEQUENCES, loaded.Encoder))


def has_weights(module: nn.Module) -> bool:
    """Return whether a module holds a layer of weights."""
    return any(values.ndim > 1 for values in module.parameters())


def is_head(module: nn.Module) -> bool:
    """Return whether a module is linear in one vector per picture: a linear layer, or a convolution of one pixel."""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def find_head(body: nn.Module, classes: int, model: str, named: str | None = None) -> str:
    """Return the dotted name of a network's last layer.

    It is the named one, or the last linear one, preferably with `classes` outputs; without linear layers, the last
    convolution of one pixel. named: its dotted name, None to find it. Raises SettingError for a name that is no such
    layer, UsageError for a network without any.
    """
    places = {name: module for name, module in body.named_modules() if is_head(module)}
    if named is not None:
        if named not in places:
            some = list(places)[-SHOWN:]
            reason = f"{suggestion(places, named)}expected the last linear layer of {model}; it has {', '.join(some)}"
            raise SettingError("model_head", named, reason)
        return named
    linear = [name for name, module in places.items() if isinstance(module, nn.Linear)]
    outputs = [name for name in linear if places[name].out_features == classes]
    found = outputs or linear or list(places)
    if not found:
        raise UsageError(f"model {model}: it has no linear layer; expected one that computes its logits")
    if not found[-1]:
        raise UsageError(f"model {model}: it is a linear layer itself, expected a network that ends in one")
    return found[-1]


def head_like(layer: nn.Module, classes: int, model: str) -> nn.Linear:
    """Return the replacement of a last layer with `classes` outputs.

    It is the layer itself if it has these outputs; a linear layer with its weights if it is of another type that
    computes the same; else a new one. Raises UsageError for a layer that does not compute a linear function.
    """
    if type(layer) is nn.Linear and layer.out_features == classes:
        return layer
    weight, bias = linear_part(layer)
    if isinstance(layer, nn.Linear) and not is_linear(layer):
        raise UsageError(f"model {model}: its last layer is of type {type(layer).__name__}, expected a linear one")
    head = nn.Linear(weight.shape[1], classes, bias=bias is not None)
    if len(weight) == classes:
        head.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return head


def linear_part(layer: Any) -> tuple[Tensor, Tensor | None]:
    """Return the weight, (C, A), and the bias, (C,), of a linear layer or a convolution of one pixel."""
    weight, bias = layer.weight.detach().flatten(1), layer.bias
    return weight, None if bias is None else bias.detach()


def is_linear(layer: nn.Module) -> bool:
    """Return whether a layer computes x W^T + b from its weight and bias, and nothing else."""
    weight, bias = linear_part(layer)
    x = torch.linspace(-1, 2, 3 * weight.shape[1]).sin().view(3, -1).to(weight)
    with torch.no_grad():
        return torch.allclose(layer(x), F.linear(x, weight, bias), atol=1e-5)
