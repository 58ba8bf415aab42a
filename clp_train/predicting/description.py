"""classifier.json: the description of a trained classifier. Loading needs this file and the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clp_aug.common.files import disk_error, written_beside
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import FITS, MAX_SIDE
from clp_train.loading.data import RunData
from clp_train.running.checkpoint import CHECKPOINT, LAST, SELECTED

DESCRIPTION, RESULT = "classifier.json", "result.json"
PLACES = ("meta", "audit", "root", "out", "cache")
"""Settings with paths on the machine of the run, which nobody needs afterwards."""
NORMALISING = ("torchvision:googlenet", "torchvision:inception_v3")
WRITE_IT = "the command of that run with --resume writes the missing files"


@dataclass(frozen=True)
class Description:
    """The description of a trained classifier.

    size, fit: of its pictures, the side in pixels and how they become square; config: the run's settings, as in
    result.json; cells: (class, group, training pictures) for each pair that has pictures, None if unknown;
    group_weights: weights of the groups in the weighted average; weights: name of the file of weights beside this one;
    epoch: of these weights, from 1; left_out: names of pictures that the run left out; attributes: columns of the data
    set that form its groups; transform_input: whether the body normalises a second time, as some torchvision networks
    with weights do.
    """

    dataset: str
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    size: int
    fit: str
    config: Mapping[str, Any]
    weights: str
    epoch: int
    group_weights: tuple[int, ...] = ()
    cells: tuple[tuple[int, int, int], ...] | None = None
    left_out: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    transform_input: bool = False

    @property
    def method(self) -> str:
        """The method of its training."""
        return str(self.config["method"])

    def about(self) -> dict[str, Any]:
        """Return the description that an exported program carries."""
        return {
            "class_names": list(self.class_names),
            "dataset": self.dataset,
            "epoch": self.epoch,
            "fit": self.fit,
            "input": f"float32 (N, 3, {self.size}, {self.size}), RGB in [0, 1]",
            "method": self.method,
            "model": str(self.config["model"]),
            "output": "logits (N, classes); their softmax are probabilities",
            "size": self.size,
        }


def describe(result: Mapping[str, Any], data: RunData | None = None, network: nn.Module | None = None) -> Description:
    """Return the description of a run's classifier from its result; with `data` also its numbers of training pictures.

    network: its own if available; else only the name of the model is used.
    """
    snapshot = result["selected"] or result["last"]
    settings = result["shard_settings"]
    return Description(
        dataset=result["dataset"],
        class_names=tuple(result["class_names"]),
        group_names=tuple(result["group_names"]) if result["has_groups"] else (),
        size=settings["size"],
        fit=settings["fit"],
        config={name: value for name, value in result["config"].items() if name not in PLACES},
        weights=SELECTED if result["selected"] else LAST,
        epoch=snapshot["epoch"],
        group_weights=tuple(result.get("average_weights") or result["train_group_counts"]),
        cells=cells_of(result) if data is None else counted(data),
        left_out=tuple(settings.get("left_out", ())),
        attributes=tuple(settings.get("attributes") or ()),
        transform_input=normalises_twice(result["config"]["model"] if network is None else network),
    )


def normalises_twice(network: nn.Module | str) -> bool:
    """Return whether a network's body normalises a second time: torchvision models with weights and auxiliary heads do.

    network: itself, or its name, NAME@WEIGHTS.
    """
    if isinstance(network, str):
        name, at, _ = network.partition("@")
        return bool(at) and name in NORMALISING
    return bool(getattr(getattr(network, "body", None), "transform_input", False))


def counted(data: RunData) -> tuple[tuple[int, int, int], ...]:
    """Return (class, group, number of training pictures) for each pair that has pictures."""
    pairs = torch.stack([data.train.label, data.train.group], dim=1)
    cells, counts = pairs.unique(dim=0, return_counts=True)
    return tuple((c, g, n) for (c, g), n in zip(cells.tolist(), counts.tolist(), strict=True))


def cells_of(result: Mapping[str, Any]) -> tuple[tuple[int, int, int], ...] | None:
    """Return the same from a result alone, None if it has groups: it does not count pictures by class and group."""
    if result["has_groups"]:
        return None
    return tuple((c, c, n) for c, n in enumerate(result["train_group_counts"]) if n)


def write_description(folder: Path, description: Description) -> None:
    """Write classifier.json. Raises InputError when the disk refuses."""
    with written_beside(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(asdict(description), indent=1) + "\n", encoding="utf-8")


def read_description(folder: Path) -> Description:
    """Return the description of the classifier in a folder, from classifier.json, or from result.json of an earlier
    run.

    Raises InputError for a folder without a finished run, and for files of another kind.
    """
    if not folder.is_dir():
        kind = "it is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {kind}; give the folder of a finished run of clp-train")
    if (folder / CHECKPOINT).exists() and not (folder / RESULT).exists():
        raise InputError(f"{folder}: an unfinished run; continue it with the command of that run and --resume")
    for name, read in ((DESCRIPTION, from_json), (RESULT, describe)):
        if (folder / name).exists():
            return read_as(folder / name, read)
    raise InputError(f"{folder}: no {RESULT}, so no finished run; train with clp-train --out {folder}")


def read_as(path: Path, read: Any) -> Description:
    """Return the description that `read` makes of a JSON file. Raises InputError for any other file."""
    try:
        found: Description = read(json.loads(path.read_text("utf-8")))
        check(found)
        return found
    except OSError as error:
        raise disk_error(path, error, "read") from None
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: not a description of a classifier by clp-train ({reason}); train again") from None


def from_json(values: Mapping[str, Any]) -> Description:
    """Return a description from plain JSON. Raises TypeError, LookupError or ValueError for any other content."""
    lists = ("class_names", "group_names", "group_weights", "left_out", "attributes")
    cells = values["cells"]
    plain: dict[str, Any] = {k: tuple(v) if k in lists else v for k, v in values.items() if k != "cells"}
    return Description(**plain, cells=None if cells is None else tuple((int(c), int(g), int(n)) for c, g, n in cells))


def check(found: Description) -> None:
    """Raise ValueError for values that no run can have."""
    names: Sequence[Any] = (*found.class_names, *found.group_names, *found.left_out, *found.attributes, found.dataset)
    if not all(isinstance(name, str) for name in names) or len(found.class_names) < 2:
        raise ValueError("expected names, of at least two classes")
    if type(found.size) is not int or not 0 < found.size <= MAX_SIDE or found.fit not in FITS:
        raise ValueError(f"size {found.size!r}, fit {found.fit!r}")
    if found.weights not in (LAST, SELECTED) or not isinstance(found.config["method"], str):
        raise ValueError(f"weights {found.weights!r}")
    if not isinstance(found.config["model"], str) or type(found.epoch) is not int:
        raise ValueError(f"model {found.config['model']!r}, epoch {found.epoch!r}")
    groups = len(found.group_names) or len(found.class_names)
    for c, g, n in found.cells or ():
        if not (0 <= c < len(found.class_names) and 0 <= g < groups and 0 < n < 1 << 40):
            raise ValueError(f"cell {(c, g, n)}")
