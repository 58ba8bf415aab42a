"""READ the benchmarks of the generalised long tail: ImageNet-GLT, MSCOCO-GLT (Tang et al. 2022), and ours.

One JSON file per training set. Train-GLT is long-tailed in classes and, within them, in attributes; Train-CBL has
balanced classes. Besides "cat2id" and "id2cat" the file has the splits train, val, test_lt (drawn like train), test_bl
(balanced classes) and test_bbl (balanced attributes, too), each with "label", "frequency" and "attribute" (0 many .. 2
few) of its pictures by name. If names are only keys, "path" has the paths of the pictures. Protocols: CLT is Train-GLT
measured on test_bl, GLT is Train-GLT on test_bbl, ALT is Train-CBL on test_bbl. Training never sees attributes: here
they are neither groups nor labels, only strata of the reports.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotations import with_own
from clp_aug.datasets.base import FileDataset, Samples
from clp_aug.datasets.names import LONGEST_PATH, check_names, is_file, is_folder, short_path, shown
from clp_aug.datasets.paths import below

LONG_TAILED, BALANCED = "Train-GLT", "Train-CBL"
SPLITS = {
    LONG_TAILED: ("train", "val", "test_bl", "test_bbl", "test_lt"),
    BALANCED: ("train", "val", "test_bbl", "test_bl", "test_lt"),
}
"""The most important test split comes first."""
PROTOCOLS = {LONG_TAILED: {"test_bl": "CLT", "test_bbl": "GLT"}, BALANCED: {"test_bbl": "ALT"}}
STRATA = {
    "frequency": ("many shots", "medium shots", "few shots"),
    "attribute": ("head attribute", "middle attribute", "tail attribute"),
}
Strata = Mapping[str, tuple[tuple[str, ...], np.ndarray]]


@dataclass(frozen=True)
class Layout:
    """One published file: name of the data set, training set, possible places of the file below the root."""

    name: str
    training: str
    files: tuple[str, ...]


def places(written: str, configured: str) -> tuple[str, ...]:
    """Return the possible places of a file of MSCOCO: by the authors' scripts, and by their configuration."""
    return tuple(
        f"{folder}/{file}" for file in ("annotation.json", "annotations/annotation.json")
        for folder in (written, configured)
    )  # fmt: skip


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("imagenet-glt", LONG_TAILED, ("imagenet_sup_intra_lt_inter_lt.json",)),
        Layout("imagenet-cbl", BALANCED, ("imagenet_sup_intra_lt_inter_bl.json",)),
        Layout("mscoco-glt", LONG_TAILED, places("coco_glt", "coco_lt")),
        Layout("mscoco-cbl", BALANCED, places("coco_cbl", "coco_bl")),
        Layout("generated-glt", LONG_TAILED, ("generated_glt.json",)),
        Layout("generated-cbl", BALANCED, ("generated_cbl.json",)),
    )
}


class GltDataset(FileDataset):
    """Pictures with the splits, protocols and strata of one training set."""

    def __init__(
        self, layout: Layout, root: Path, class_names: Sequence[str], samples: Samples, strata: Strata
    ) -> None:
        self.splits, self.protocols = SPLITS[layout.training], PROTOCOLS[layout.training]
        self.strata = strata
        super().__init__(layout.name, root, class_names, samples)


def load(root: Path, name: str) -> GltDataset:
    """Return the data set of that name, one of LAYOUTS; ids are positions in the order of its splits.

    Paths in the file are from the machine that made it: the longest end of a path that leads to a picture below `root`,
    or below the folder of the file, is used. ROOT/masks/ and ROOT/boxes.csv are optional and may have more pictures.
    Raises InputError for a missing or wrong file, for the file of the other training set, and for missing pictures,
    with their number.
    """
    layout, root = LAYOUTS[name], Path(root)
    found = next((file for file in layout.files if is_file(root / file)), None)
    if found is None:
        raise InputError(
            f"data set {name}: no {' and no '.join(layout.files)} in {root}; put the published file there"
            + (", or make one with clp-data glt" if name.startswith("generated") else "")
        )
    path = root / found
    content = read_json(path)
    class_names = read_classes(content, path)
    columns: dict[str, list[int]] = {"label": [], **{kind: [] for kind in STRATA}}
    paths: list[str] = []
    split: list[int] = []
    for number, which in enumerate(SPLITS[layout.training]):
        keys, values_of = read_split(content, which, len(class_names), path)
        paths += keys
        split += [number] * len(keys)
        for column, values in values_of.items():
            columns[column] += values
    check_training_set(layout, split, path)
    names = below(root, paths, path, ("", found.partition("/")[0]) if "/" in found else ("",))
    strata = {kind: (STRATA[kind], np.asarray(columns[kind], np.int64)) for kind in STRATA}
    dataset = GltDataset(layout, root, class_names, Samples.of(columns["label"], split, names), strata)
    masks, boxes = root / "masks", root / "boxes.csv"
    return with_own(dataset, masks if is_folder(masks) else None, boxes if is_file(boxes) else None, of_more=True)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object. Raises InputError for anything else."""
    try:
        content = json.loads(path.read_bytes().decode())
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); give the folder that holds it with --root") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); download it again") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deep; expected an object with train, val and tests") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a {type(content).__name__} at the top; expected an object with train, val and tests")
    return content


def read_classes(content: dict[str, Any], path: Path) -> list[str]:
    """Return the class names by label: "id2cat" has them under "0", "1" and so on."""
    names = content.get("id2cat")
    if not isinstance(names, dict) or set(names) != {str(c) for c in range(len(names))} or not names:
        raise InputError(f'{path}: no "id2cat" with a name for each of "0", "1", ...; download it again')
    class_names = [names[str(c)] for c in range(len(names))]
    for name in class_names:
        if not isinstance(name, (str, int, float)):
            raise InputError(f'{path}: {shown(name)} is a name in "id2cat"; expected text')
    check_names(map(str, class_names), "class", path)
    return list(map(str, class_names))


def read_split(content: dict[str, Any], which: str, classes: int, path: Path) -> tuple[list[str], dict[str, list[int]]]:
    """Return the pictures' paths as in the file, and label, frequency and attribute of each.

    Raises InputError for a split that is missing, a picture that lacks one of the three, and values out of range.
    """
    found_part = content.get(which)
    part = found_part if isinstance(found_part, dict) else {}
    labels = part.get("label")
    if not isinstance(labels, dict):
        raise InputError(f'{path}: no split "{which}" with "label"; expected {", ".join(SPLITS[LONG_TAILED])}')
    check_names(labels, "picture", path, LONGEST_PATH)
    columns = {}
    for column, top in (("label", classes), *((kind, len(names)) for kind, names in STRATA.items())):
        values = part.get(column)
        if not isinstance(values, dict):
            raise InputError(f'{path}: split "{which}" has no "{column}" by picture; download it again')
        columns[column] = [_whole(values.get(key), column, top, key, which, path) for key in labels]
    places = part.get("path", {key: key for key in labels})
    if not isinstance(places, dict) or not all(isinstance(places.get(key), str) for key in labels):
        raise InputError(f'{path}: split "{which}" has a "path" that lacks some of its pictures; download it again')
    check_names((places[key] for key in labels), "picture", path, LONGEST_PATH)
    return [places[key] for key in labels], columns


def _whole(value: object, column: str, top: int, key: str, which: str, path: Path) -> int:
    """Return a whole number in [0, top); published files hold it as a number or as text."""
    number = value if type(value) is int else -1
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        number = int(value)
    if not 0 <= number < top:
        raise InputError(f'{path}: {column} of {short_path(key)} in "{which}" is {shown(value)}; expected 0..{top - 1}')
    return number


def check_training_set(layout: Layout, split: list[int], path: Path) -> None:
    """Raise InputError unless the file is of the training set of the layout: only Train-GLT has a test_lt."""
    has = {SPLITS[layout.training][number] for number in set(split)}
    if "train" not in has:
        raise InputError(f'{path}: split "train" has no picture; download it again')
    if ("test_lt" in has) != (layout.training == LONG_TAILED):
        other = BALANCED if layout.training == LONG_TAILED else LONG_TAILED
        raise InputError(
            f"{path}: {'a' if 'test_lt' in has else 'no'} test_lt, so this is {other}; expected {layout.training}:"
            " put the other file there, or choose the other data set"
        )
