"""Any classifier of torchvision.models by name, random or with weights out of a local file. Nothing is downloaded."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision import models
from torchvision.ops import StochasticDepth

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets.reading import first_line
from clp_aug.nets.stored import check_values
from clp_train.models.parts import Classifier, Normalise, Output

WITH_AUXILIARY_HEADS = {"googlenet": "aux", "inception_v3": "AuxLogits"}  # which only add losses in training
WITHOUT_LINEAR_HEAD = ("squeezenet1_0", "squeezenet1_1")
SEQUENCES = (nn.Sequential, nn.ModuleList, models.vision_transformer.Encoder)
SUFFIX = ".safetensors"


class HardSigmoid(nn.Module):
    """min(max(x + 3, 0), 6) / 6; torch's own has no second derivative, which eq. (6) and the meta step need."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


class MNASNet(models.MNASNet):
    """One that takes up states without version numbers, as runs and files hold them: its own refuses those."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, {"version": self._version} | local_metadata, *rest)


class TorchvisionClassifier(Classifier):
    """A network of torchvision with its last linear layer taken out, and a new one: (N, 3, H, W) in [0, 1] -> Output.

    Dropout and stochastic depth are off: the passes of one step must be of one network.
    """

    def __init__(self, body: nn.Module, classes: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for place, module in list(body.named_modules()):
            if isinstance(module, (nn.Dropout, StochasticDepth)):
                module.p = 0.0
            if isinstance(module, nn.Hardsigmoid):
                body.set_submodule(place, HardSigmoid())
        place, last = linear_head(body)
        body.set_submodule(place, nn.Identity())
        self.normalise = Normalise(mean, std)
        self.body = body
        self.head = nn.Linear(last.in_features, classes)
        self.tail = tuple(f"body.{name}" for name in last_of(body, place)) + ("head.",)

    def forward(self, x: Tensor) -> Output:
        with sdpa_kernel(SDPBackend.MATH):  # the one attention with forward-mode and second derivatives
            features = self.body(self.normalise(x))
        return Output(features, self.head(features))


def linear_head(body: nn.Module) -> tuple[str, nn.Linear]:
    """Return the place and the layer that gives the logits: the last linear one."""
    return [(name, module) for name, module in body.named_modules() if isinstance(module, nn.Linear)][-1]


def last_of(body: nn.Module, head: str) -> list[str]:
    """Return the beginnings of the names of the last block's parameters, and of all that follows it.

    The block is the last child with a layer of weights before the child that holds the head; of a sequence, its last
    such part. Torchvision registers layers in the order in which they run.
    """
    holder = head.split(".")[0]
    children = list(body.named_children())
    children = children[: [name for name, _ in children].index(holder)]
    prefix, beginnings = "", [f"{holder}."]
    while True:
        at = max(i for i, (_, child) in enumerate(children) if any(p.ndim > 1 for p in child.parameters()))
        beginnings += [f"{prefix}{name}." for name, _ in children[at + 1 :]]
        name, block = children[at]
        prefix += f"{name}."
        if type(block) not in SEQUENCES:
            return [prefix, *beginnings]
        children = list(block.named_children())


def split(text: str) -> tuple[str, Path | None]:
    """Return name and file of NAME or NAME@FILE."""
    name, at, file = text.partition("@")
    return name, Path(file) if at else None


def check(text: str) -> None:
    """Raise UsageError for an unknown or unusable name, InputError when there is no such file of weights."""
    name, file = split(text)
    names = models.list_models(module=models)
    if name not in names:
        matches = difflib.get_close_matches(name, names, n=5, cutoff=0.5) or ["resnet50", "resnext50_32x4d"]
        raise UsageError(f"unknown torchvision classifier {name!r}: there are {', '.join(matches)} among {len(names)}")
    if name in WITHOUT_LINEAR_HEAD:
        raise UsageError(f"torchvision:{name} ends in a convolution; choose a classifier with a linear last layer")
    if file is not None and file.suffix != SUFFIX:
        raise UsageError(
            f"torchvision:{text}: expected weights in a {SUFFIX} file, as safetensors.torch.save_file writes"
        )
    if file is not None and not file.is_file():
        raise InputError(f"torchvision:{text}: no such file; give the path of the weights, nothing is downloaded")


def build(
    text: str, classes: int, mean: Sequence[float], std: Sequence[float], generator: torch.Generator
) -> TorchvisionClassifier:
    """Return the classifier of NAME or NAME@FILE.safetensors under a new head.

    mean, std: used without a file; with one, those of torchvision's preprocessing for that network. What is not
    loaded starts in torchvision's own way, from a seed that `generator` draws. Raises InputError when the file does
    not hold this network's tensors; those of its old head, and of auxiliary heads, are ignored.
    """
    check(text)
    name, file = split(text)
    with torch.random.fork_rng(devices=[]):  # torchvision's start values come from the global generator of the CPU
        torch.default_generator.manual_seed(int(torch.randint(1 << 62, (), generator=generator)))
        body = make_body(name, file is not None)
        if file is not None:
            load(body, name, file)
            preset = models.get_model_weights(name).DEFAULT.transforms()
            mean, std = preset.mean, preset.std
        return TorchvisionClassifier(body, classes, mean, std)


def make_body(name: str, pretrained: bool) -> nn.Module:
    """Return the network of torchvision, started its own way."""
    body: nn.Module = models.get_model_builder(name)(weights=None, **options(name, pretrained))
    if isinstance(body, models.MNASNet):
        body.__class__ = MNASNet
    return body


def options(name: str, pretrained: bool) -> dict[str, bool]:
    """Return what the constructors with auxiliary heads must be told; their weights bring a second normalisation."""
    if name not in WITH_AUXILIARY_HEADS:
        return {}
    return {"aux_logits": False, "init_weights": not pretrained, "transform_input": pretrained}


def load(body: nn.Module, name: str, file: Path) -> None:
    """Load all but the head from a file, in place. Shapes are compared before any value is read."""
    head = f"{linear_head(body)[0]}."
    prefixes = (head, WITH_AUXILIARY_HEADS.get(name, head))
    expected = {k: v for k, v in body.state_dict().items() if not k.startswith(head)}
    shapes = {k: shape for k, shape in shapes_in(file).items() if not k.startswith(prefixes)}
    counters = {k for k in expected if k.endswith("num_batches_tracked")}  # old files lack them
    wrong = sorted(k for k in (expected.keys() | shapes.keys()) - counters
                   if k not in expected or k not in shapes or tuple(expected[k].shape) != shapes[k])  # fmt: skip
    if wrong:
        raise InputError(
            f"weights {file}: {len(wrong)} tensors do not fit torchvision's {name}, the first is {wrong[0][:80]!r};"
            f" give weights of {name}"
        )
    tensors = {k: v for k, v in tensors_in(file).items() if k in shapes}
    numbers = {k: v for k, v in tensors.items() if expected[k].is_floating_point()}
    check_values(numbers, f"weights {file}", f"give weights of {name}")
    body.load_state_dict(tensors, strict=False)


def shapes_in(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that a file of weights says it has. Raises InputError for another file."""
    try:
        with safe_open(file, "np") as tensors:  # of these types too that numpy has not; no value is read
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except Exception as error:  # what hostile bytes make a parser raise is nowhere listed
        raise unreadable(file, error) from None


def tensors_in(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights. Raises InputError for another file."""
    try:
        tensors: dict[str, Tensor] = load_file(file)
        return tensors
    except Exception as error:  # what hostile bytes make a parser raise is nowhere listed
        raise unreadable(file, error) from None


def unreadable(file: Path, error: Exception) -> InputError:
    """Return what is said of a file that holds no weights."""
    return InputError(f"weights {file}: not a readable {SUFFIX} file ({first_line(error)}); write it again")
