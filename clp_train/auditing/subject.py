"""The subject of an audit: any classifier, opened and ready to be asked, with the names of its classes.

A model is written as a run's folder, FILE.pt2, FILE.onnx, timm:NAME@FILE, torchvision:NAME@FILE, efficientnet-lite0,
MODULE:NAME or FILE.py:NAME. Nothing is downloaded. The only code that runs is code that the user names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets.devices import AUTO
from clp_aug.nets.reading import first_line
from clp_train.auditing.class_names import names_for, names_in
from clp_train.auditing.opened import Names, Opened, resized
from clp_train.auditing.programs import ONNX, PT2, open_onnx, open_pt2
from clp_train.models import MODELS, find
from clp_train.models.names import SUFFIXES, split
from clp_train.models.parts import Classifier
from clp_train.models.wrapped import EndError, FoundClassifier
from clp_train.pictures.types import as_input

LITE0 = "efficientnet-lite0"
FORMS = (
    "a run's folder, FILE.pt2, FILE.onnx, timm:NAME@FILE, torchvision:NAME@FILE, efficientnet-lite0, MODULE:NAME or"
    " FILE.py:NAME"
)
TRIAL = 2  # pictures
LOWEST = torch.finfo(torch.float32).tiny  # replaces a probability of 0, so that its logarithm is finite


@dataclass(frozen=True)
class Subject:
    """A classifier that is audited. Source: ours.

    name: as the user wrote it; kind: "run", "pt2", "onnx", "timm", "torchvision", "efficientnet-lite0", "factory";
    class_names: all names of each logit, (K,); size: the side of the pictures that it needs, None for any; fit: how
    pictures became square in its training, None if unknown; logits: uint8 (n, 3, H, H) on the CPU, of any side, ->
    float32 (n, K) on the CPU, in evaluation mode; their softmax gives the probabilities; network: for Grad-CAM, on its
    device, takes `resized(pictures, size)`, None if it is not a torch network; remarks: notes for the user about the
    use of the model, one line each.
    """

    name: str
    kind: str
    class_names: Names
    size: int | None
    fit: str | None
    logits: Callable[[Tensor], Tensor]
    network: Classifier | None = None
    remarks: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """The number of logits."""
        return len(self.class_names)


def open_subject(
    spec: str,
    *,
    classes: Path | None,
    size: int,
    device: str = AUTO,
    model: str | None = None,
    method: str | None = None,
) -> Subject:
    """Open a classifier and try it once, with plain pictures of the shard's side.

    classes: a file of the names of its classes, or "imagenet"; size: the shard's; device: a value of
    --device; model, method: names of the run's model and method if they are plug-ins. Raises UsageError for a text that
    does not name a model, and for missing packages; InputError for files that are missing, damaged or of another
    network, and for names that do not fit the logits; SettingError for a device that does not exist. Source: ours.
    """
    given = None if classes is None else names_in(classes)
    opened = open_model(spec, None if given is None else len(given), device, model, method)
    logits, count, remarks = try_out(spec, opened, size)
    names = names_for(spec, count, given, classes, opened)
    return Subject(spec, opened.kind, names, opened.size, opened.fit, logits, opened.network, remarks)


def open_model(spec: str, classes: int | None, device: str, model: str | None, method: str | None) -> Opened:
    """Open the model that the user names. classes: how many class names the user gave. Raises what `open_subject`
    raises.
    """
    path = Path(spec)
    if path.is_dir():
        return open_run(path, device, model, method)
    for suffix, opens in ((PT2, open_pt2), (ONNX, open_onnx)):
        if path.suffix.lower() == suffix:
            return opens(path, device)
    from clp_train.auditing import pretrained

    name, file = split(spec)
    kind, _, rest = name.partition(":")
    if kind in ("timm", "torchvision"):
        find(name)  # raises for a model without NAME
        if file is None:
            raise pretrained.no_weights(spec, name)
        opens_network = {"timm": pretrained.open_timm, "torchvision": pretrained.open_torchvision}[kind]
        return opens_network(spec, rest, file, device)
    if spec == LITE0:
        return pretrained.open_lite0(device)
    if name in MODELS:
        raise UsageError(f"model {spec}: {name} is audited as a run; give the folder that clp-train wrote")
    if ":" not in name:
        raise no_model(spec, path)
    plugin = find(name).plugin
    assert plugin is not None  # any other name with a colon was refused
    return pretrained.open_factory(spec, plugin, file, classes, device)


def no_model(spec: str, path: Path) -> InputError | UsageError:
    """Return the error for a text that does not name a model."""
    if path.suffix in SUFFIXES and path.exists():
        how = "timm:NAME@FILE, torchvision:NAME@FILE or FILE.py:NAME@FILE"
        return UsageError(f"model {spec}: a file of weights is not a whole network; give {how}")
    what = "it is a file of another kind" if path.exists() else "no such folder or file"
    return InputError(f"model {spec}: {what}; expected {FORMS}")


def open_run(folder: Path, device: str, model: str | None, method: str | None) -> Opened:
    """Open the classifier of a finished run, with its method's adjustment. Raises what `load_classifier` raises."""
    from clp_train.predicting.trained import load_classifier

    classifier = load_classifier(folder, device, model=model, method=method)
    place = next(classifier.parameters()).device
    names = tuple((name,) for name in classifier.class_names)
    about = classifier.about
    return Opened("run", classifier, place, about.size, about.fit, classifier.network, names)


def plain_pictures(size: int) -> Tensor:
    """Return TRIAL pictures to try a model with: uint8 (TRIAL, 3, size, size), slopes of grey and of colours."""
    slope = torch.arange(size) * 255 // max(1, size - 1)
    grey = slope.expand(3, size, size)
    coloured = torch.stack([grey[0], grey[0].T, 255 - grey[0]])
    return torch.stack([grey, coloured]).to(torch.uint8)


def try_out(spec: str, opened: Opened, size: int) -> tuple[Callable[[Tensor], Tensor], int, tuple[str, ...]]:
    """Return the function `logits` of a `Subject`, the number of logits, and notes for the user.

    Raises InputError for a model that does not take pictures of that side, or returns anything but logits.
    """
    remarks = list(opened.remarks)
    side = opened.size or size
    if side != size:
        remarks.append(f"pictures of {size} x {size} are resized to {side} x {side}, the size that the model takes")
    x = resized(as_input(plain_pictures(size)).to(opened.device), opened.size)
    try:
        with torch.no_grad():
            if isinstance(opened.network, FoundClassifier):
                opened.network.check_end(opened.network, x)
            found = opened.run(x)
    except InputError:
        raise
    except EndError as error:
        reason = str(error).partition(";")[0]
        raise InputError(f"model {spec}: {reason}; let it end there, or export it as FILE.pt2 or FILE.onnx") from None
    except Exception as error:  # a model may raise anything
        raise InputError(
            f"model {spec}: it does not take pictures of {side} x {side} ({first_line(error)}); make the shard with"
            " another --size, or take another export"
        ) from None
    check_logits(spec, found)
    shares = are_probabilities(found)
    if shares:
        remarks.append("it gives probabilities, not logits: their logarithms are used")
    return as_function(opened, shares), found.shape[1], tuple(remarks)


def check_logits(spec: str, found: object) -> None:
    """Raise InputError unless a model gave floating-point logits, (TRIAL, K) with K >= 2, without NaN."""
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != TRIAL or not found.is_floating_point():
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"model {spec}: for {TRIAL} pictures it gives {given}, expected logits ({TRIAL}, classes)")
    if found.shape[1] < 2:
        raise InputError(f"model {spec}: it gives one number per picture, expected one logit for each of its classes")
    if found.isnan().any():
        raise InputError(f"model {spec}: it gives NaN for plain pictures; give other weights")


def are_probabilities(found: Tensor) -> bool:
    """Return whether the output of a model, (n, K), holds probabilities, not logits."""
    values = found.double()
    return bool(values.min() >= 0 and torch.allclose(values.sum(1), torch.ones_like(values[:, 0]), atol=1e-3))


def as_function(opened: Opened, shares: bool) -> Callable[[Tensor], Tensor]:
    """Return the function `logits` of a `Subject`. shares: whether the model gives probabilities."""

    @torch.no_grad()
    def logits(pictures: Tensor) -> Tensor:
        found = opened.run(resized(as_input(pictures.to(opened.device)), opened.size)).float().cpu()
        return found.clamp(min=LOWEST).log() if shares else found

    return logits
