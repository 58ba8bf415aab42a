"""A network from elsewhere as a classifier: its last linear layer is taken out, a new one stands behind it."""

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
"""Has one more; it takes longer to load than the rest of a run, and no network has that one before it is loaded."""
NAME_IT = "let it end there, or name the layer that gives its logits with model_head"
SHOWN = 6  # layers that a message names


class HardSigmoid(nn.Module):
    """min(max(x + 3, 0), 6) / 6; torch's own has no second derivative, which eq. (6) and the meta step need."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


class EndError(ValueError):
    """A network does not end in the layer that was taken for its last one, whatever the pictures."""


class WrappedClassifier(Classifier):
    """A network whose layer at a place is taken out, and a linear one behind it: (N, 3, H, W) in [0, 1] -> Output.

    The features are what the network gives without that layer.
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
        """Return what comes into the last layer, (N, A), of float (N, 3, H, W) in [0, 1]."""
        with sdpa_kernel(SDPBackend.MATH):  # the one attention with forward-mode and second derivatives
            return as_features(self.body(self.normalise(x)))


class FoundClassifier(WrappedClassifier):
    """One whose last layer was found, or named by a user: `check_end` looks whether it is the last."""

    def __init__(
        self, body: nn.Module, place: str, head: nn.Linear, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(body, place, head, mean, std)
        self.place = place

    def features(self, x: Tensor) -> Tensor:
        """Return the same. Raises EndError where the last layer does not take it."""
        features = super().features(x)
        if features.shape[1] != self.head.in_features:
            raise EndError(f"it does not end in its layer {self.place}; {NAME_IT}")
        return features

    def check_end(self, run: Callable[[Tensor], Any], images: Tensor) -> None:
        """Raise EndError unless the features of pictures are what comes into the place of the last layer.

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
    """Return what a network gave for N pictures as (N, A): the tensor, or the logits or the first of several ones.

    Raises EndError for anything that is not one vector a picture.
    """
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif not isinstance(output, Tensor):
        output = getattr(output, "logits", output)
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise EndError(f"it gives {type(output).__name__}, expected a tensor of logits")
    if output.ndim > 2 and output.shape[2:].numel() == 1:
        output = output.flatten(1)
    if output.ndim != 2:
        raise EndError(f"its last layer gets {tuple(output.shape)}, expected one vector a picture; pool before it")
    return output


def last_of(body: nn.Module, head: str) -> list[str]:
    """Return the beginnings of the names of the last block's parameters, and of all that follows it.

    The block is the last child with a layer of weights before the child that holds the head; of a sequence, its last
    such part. Layers are taken to be registered in the order in which they run. Where all weights stand beside the head
    in one child, the block is looked for in there; of a network without any, it is the holder of the head.
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
    """Tell whether a module is a row of blocks, one after the other."""
    loaded = sys.modules.get(ENCODER)
    return type(block) in (SEQUENCES if loaded is None else (*SEQUENCES, loaded.Encoder))


def has_weights(module: nn.Module) -> bool:
    """Tell whether a module holds a layer of weights."""
    return any(values.ndim > 1 for values in module.parameters())


def is_head(module: nn.Module) -> bool:
    """Tell whether a module is linear in one vector a picture: a linear layer, or a convolution of one pixel."""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def find_head(body: nn.Module, classes: int, model: str, named: str | None = None) -> str:
    """Return the place of a network's last layer: the named one, or the last linear one, of as many outputs as there
    are classes if there is such a one; the last convolution of one pixel where no layer is linear.

    named: its dotted place, None to find it. Raises SettingError for a place where no such layer is, UsageError for a
    network without any.
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
        raise UsageError(f"model {model}: it has no linear layer, which must give its logits")
    if not found[-1]:
        raise UsageError(f"model {model}: it is a linear layer itself, expected a network that ends in one")
    return found[-1]


def head_like(layer: nn.Module, classes: int, model: str) -> nn.Linear:
    """Return a last layer in place of another one: that one where it has the classes, or its weights where it is no
    plain linear layer but computes the same; else a new one.

    Raises UsageError for one that computes something else than a linear layer.
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
    """Tell whether a layer computes x W^T + b of its weight and bias, and nothing else."""
    weight, bias = linear_part(layer)
    x = torch.linspace(-1, 2, 3 * weight.shape[1]).sin().view(3, -1).to(weight)
    with torch.no_grad():
        return torch.allclose(layer(x), F.linear(x, weight, bias), atol=1e-5)
