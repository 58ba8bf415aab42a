"""Start weights of a classifier: from a file, or from a run's folder. Nothing is downloaded or executed."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from clp_aug.contract.errors import InputError
from clp_aug.nets.reading import allowance, check_size, check_unpacked, first_line
from clp_aug.nets.stored import check_values
from clp_train.models.names import SAFE
from clp_train.models.parts import ALL, ALL_BUT_HEAD, Classifier, StartWeights

LARGEST = 2**36  # bytes of a pickled file
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")
"""Keys under which other trainers store the tensors, the most specific first."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Prefixes that data parallelism, compilation and training frameworks add to the name of every tensor."""
FIRST, OTHERS = "nets.0.", "nets."  # name prefix of the first of two networks of a run, and of both
OF_A_CLASSIFIER = "normalise.mean"  # a tensor that only weights of a run have, not those of a bare network
HEAD = "head."
RESULT = "result.json"  # beside the weights of a run
COUNTER = "num_batches_tracked"  # of batch norm; old files lack it
SHOWN = 80  # characters of a tensor's name

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of tensors by name."""
Convert = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Tensors by name in one version -> the same in another."""


@dataclass(frozen=True)
class Weights:
    """A file of weights, possibly from a run's folder. Names are those in the file, without wrappers.

    Reading raises InputError for a file that holds no tensors.
    """

    path: Path

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor; for a .safetensors file no value is read for it."""
        if self._pickled is not None:
            return {name: tuple(value.shape) for name, value in self._pickled.items()}
        shapes: dict[str, tuple[int, ...]] = self._read(shapes_in)
        return shapes

    @property
    def of_a_classifier(self) -> bool:
        """Whether they are those of a run, with head and normalisation, not of a bare network."""
        return any(name.endswith(OF_A_CLASSIFIER) for name in self.shapes)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors."""
        tensors: dict[str, Tensor] = self._read(load_file) if self._pickled is None else self._pickled
        return tensors

    def told_model(self) -> str:
        """Return "they are of MODEL, " if a result beside the file names the model of its run; else ""."""
        try:
            result = json.loads((self.path.parent / RESULT).read_text(encoding="utf-8"))
            return f"they are of {result['config']['model'][:SHOWN]}, "
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    def sha256(self) -> str:
        """Return the digest of the file's bytes, in hexadecimal."""
        digest = hashlib.sha256()
        with open(self.path, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
        return digest.hexdigest()

    @cached_property
    def _pickled(self) -> dict[str, Tensor] | None:
        return None if self.path.suffix == SAFE else self._read(unpickled)

    def _read(self, read: Callable[[Path], Any]) -> Any:
        try:
            return read(self.path)
        except Exception as error:  # a parser may raise anything on hostile bytes
            raise InputError(
                f"weights {self.path}: not a readable {self.path.suffix} file of tensors ({first_line(error)}); write"
                f" it again, best as {SAFE}"
            ) from None


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that a .safetensors file says it has."""
    with safe_open(path, "np") as tensors:  # works for types that numpy lacks, too
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def unpickled(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of torch.save, without their wrappers; only tensors are ever unpickled.

    Raises ValueError, or what torch raises, for a file without tensors.
    """
    size = check_size(path, LARGEST)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_unpacked(archive.infolist(), allowance(size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about contents of the file; unreadable contents are an error
        content = torch.load(path, map_location="cpu", weights_only=True)
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
    if not isinstance(content, Mapping):
        raise ValueError(f"it has no named tensors, neither at its top level nor under {', '.join(WRAPPERS)}")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def own_names(stored: Iterable[str], expected: Collection[str]) -> dict[str, str]:
    """Return the name in a file -> the network's own name, for the tensors of the (first) network.

    Prefixes that all names share are removed until one is a name of the network. expected: the network's names.
    """
    names = {name: name for name in stored}
    prefix: str | None = ""
    while prefix is not None and not any(own in expected for own in names.values()):
        names = {name: own.removeprefix(prefix) for name, own in names.items()}
        prefix = next((p for p in PREFIXES if names and all(own.startswith(p) for own in names.values())), None)
    if names and all(own.startswith(OTHERS) for own in names.values()):
        names = {name: own.removeprefix(FIRST) for name, own in names.items() if own.startswith(FIRST)}
    return names


def take_classifier(network: Classifier, weights: Weights, model: str) -> None:
    """Load the weights of a run into a whole classifier, in place, and record that.

    The last layer is loaded too if its tensors fit; else the network keeps its own. model: its name. Raises InputError
    if other tensors do not fit.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    names = own_names(weights.shapes, expected)
    given = {own: weights.shapes[name] for name, own in names.items()}
    heads = ({name: shape for name, shape in some.items() if name.startswith(HEAD)} for some in (expected, given))
    has_head = next(heads) == next(heads)
    load_fitting(network, weights, () if has_head else (HEAD,), model)
    note_start(network, weights, ALL if has_head else ALL_BUT_HEAD)


def note_start(network: Classifier, weights: Weights, what: str) -> None:
    """Record a network's start weights on it. what: the loaded part, in words."""
    network.start_weights = StartWeights(weights.path.as_posix(), weights.sha256(), what)


def load_fitting(
    network: nn.Module, weights: Weights, ignored: tuple[str, ...], model: str, convert: Convert | None = None
) -> None:
    """Load the tensors of a network, except ignored ones, in place. Shapes are compared before any value is read.

    ignored: name prefixes of tensors that are neither loaded nor expected in the file; convert: converts tensors of an
    earlier version, by name, if they do not fit directly. Raises InputError for tensors that do not fit, with their
    number, and for values that are not finite.
    """
    current = network.state_dict()
    names = own_names(weights.shapes, current)
    expected = {name: value for name, value in current.items() if not name.startswith(ignored)}
    shapes = {own: weights.shapes[name] for name, own in names.items()}
    wrong, tensors = misfits(expected, shapes, ignored), None
    if wrong and convert is not None:
        tensors = converted(convert, {own: weights.tensors()[name] for name, own in names.items()})
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        wrong = misfits(expected, shapes, ignored) if tensors else wrong
    if wrong:
        raise InputError(
            f"weights {weights.path}: {len(wrong)} tensors do not fit {model}, the first is {wrong[0][:SHOWN]!r};"
            f" {weights.told_model()}give weights of {model}"
        )
    if tensors is None:
        tensors = {names[name]: value for name, value in weights.tensors().items() if name in names}
    tensors = {name: value for name, value in tensors.items() if not name.startswith(ignored)}
    numbers = {name: value for name, value in tensors.items() if current[name].is_floating_point()}
    check_values(numbers, f"weights {weights.path}", f"give weights of {model}")
    network.load_state_dict(tensors, strict=False)


def converted(convert: Convert, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in another version; {} if they cannot be converted."""
    try:
        return {name: value for name, value in convert(tensors).items() if isinstance(value, Tensor)}
    except Exception:  # the converter is made for one network, and these tensors may be of any
        return {}


def misfits(expected: Mapping[str, Tensor], shapes: Shapes, ignored: tuple[str, ...] = ()) -> list[str]:
    """Return the names of tensors that are missing, unexpected, or of another shape; counters may be missing."""
    given = {name: shape for name, shape in shapes.items() if not name.startswith(ignored)}
    counters = {name for name in expected if name.endswith(COUNTER)}
    return sorted(k for k in (expected.keys() | given.keys()) - counters
                  if k not in expected or k not in given or tuple(expected[k].shape) != given[k])  # fmt: skip
