"""READ data sets that are made in Python: arrays of pictures, torch data sets, and further arrays of labels and boxes.

A picture is a PIL image, or an array or tensor: uint8, or floats in [0, 1]; height x width, with channels last, or
first for a tensor. Pictures are not copied: each is requested when it is read, by several threads and processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.datasets.array_dataset import ArrayDataset
from clp_aug.datasets.array_pictures import ByRow, Entries, as_array, label_of
from clp_aug.datasets.base import SPLITS, Dataset, Samples
from clp_aug.datasets.folder import hold_out_rows
from clp_aug.datasets.names import check_names, shown

LABELS = ("targets", "labels")
"""Attributes of a torch data set that hold the labels."""
BESIDE = ("groups", "splits", "boxes", "masks", "class_names", "group_names", "sample_ids")
"""Attributes that an object may have besides its pictures; parameters of `from_torch`."""
READ_TWICE = 2  # pictures that are read twice, to check that they stay the same
EXPECTED = "a clp_aug Dataset, or a torch Dataset with a length and (picture, label) entries"


def from_arrays(
    pictures: ByRow,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    splits: Sequence[Any] | npt.ArrayLike | None = None,
    boxes: npt.ArrayLike | None = None,
    masks: ByRow | None = None,
    class_names: Sequence[str] | None = None,
    group_names: Sequence[str] | None = None,
    sample_ids: npt.ArrayLike | None = None,
    name: str = "arrays",
) -> Dataset:
    """Return the data set of N pictures; ids are positions unless given.

    pictures: `[row]` returns one, see the module, for example an array uint8 (N, H, W, 3); labels: whole numbers (N,)
    in [0, C); groups: whole numbers (N,) in [0, G), label * places + place for methods that need places; splits: (N,)
    "train", "val", "test" or 0, 1, 2, by default a fifth of each class is test and a tenth val; boxes: (N, 4) x0, y0,
    x1, y1 in pixels, half open, NaN without a box; masks: `[row]` returns (H, W), or None; class_names, group_names: by
    default numbers. Raises InputError, with the name of the array, for values that do not fit. Source: ours.
    """
    count = length_of(pictures, name)
    label = whole_numbers(labels, count, "labels", name)
    classes = names_for(class_names, label, "class", name)
    group = None if groups is None else whole_numbers(groups, count, "groups", name)
    group_titles = [] if group is None else names_for(group_names, group, "group", name)
    if group is None and group_names is not None:
        raise InputError(f"data set {name}: group_names without groups; give both or neither")
    rows = [f"{row:08d}" for row in range(count)]
    split = hold_out_rows(label.tolist(), rows) if splits is None else split_numbers(splits, count, name)
    ids = None if sample_ids is None else whole_numbers(sample_ids, count, "sample_ids", name)
    if masks is not None and len(masks) != count:
        raise InputError(f"data set {name}: masks of {len(masks):,} pictures; expected {count:,}")
    dataset = ArrayDataset(
        name, classes, Samples.of(label, split, rows, ids, group), group_titles, pictures,
        box_rows(boxes, count, name), masks,
    )  # fmt: skip
    if splits is None:
        dataset.remarks = ("no splits: val and test were held out of each class",)
    check_steady(dataset)
    return dataset


def from_torch(
    data: Any,
    labels: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    splits: Sequence[Any] | npt.ArrayLike | None = None,
    boxes: npt.ArrayLike | None = None,
    masks: ByRow | None = None,
    class_names: Sequence[str] | None = None,
    group_names: Sequence[str] | None = None,
    sample_ids: npt.ArrayLike | None = None,
    name: str = "torch",
) -> Dataset:
    """Return the data set of a map-style torch Dataset, whose `[i]` is (picture, label, ...), or of several by split.

    data: one Dataset, or {"train": ..., "val": ..., "test": ...}: the splits, in this order; labels: by default its
    `targets` or `labels`, else the labels of its entries (then all entries are read); class_names: by default its
    `classes`. The Dataset must not augment at random: the tools augment themselves. The rest is as in `from_arrays`.
    Raises InputError for malformed entries.
    """
    by_split = isinstance(data, Mapping)
    parts = parts_of(data, name) if by_split else [data]
    for part in parts:
        if not is_map_style(part):
            raise InputError(f"data set {name}: a {type(part).__name__}; expected {EXPECTED}")
    if by_split:
        if splits is not None:
            raise InputError(f"data set {name}: its parts are splits; leave out splits=")
        splits = [split for split in SPLITS if split in data for _ in range(len(data[split]))]
    if labels is None:
        labels = np.concatenate([labels_of(part, name) for part in parts])
    return from_arrays(
        Entries(parts), labels, groups=groups, splits=splits, boxes=boxes, masks=masks,
        class_names=getattr(parts[0], "classes", None) if class_names is None else class_names,
        group_names=group_names, sample_ids=sample_ids, name=name,
    )  # fmt: skip


def as_dataset(value: object, name: str) -> Dataset:
    """Return the result of a user's code as a data set: ours as it is, a torch Dataset through `from_torch`.

    A torch Dataset may have attributes groups, splits, boxes, masks, class_names, group_names and sample_ids; value may
    also be a mapping of splits. Raises UsageError for anything else.
    """
    if isinstance(value, Dataset):
        return value
    if isinstance(value, Mapping) and value and all(map(is_map_style, value.values())):
        return from_torch(value, name=name)
    if isinstance(value, (str, bytes, Path, Mapping)) or not is_map_style(value):
        raise UsageError(f"data set {name}: it is a {type(value).__name__}; expected {EXPECTED}")
    return from_torch(value, name=name, **{each: getattr(value, each, None) for each in BESIDE})


def is_map_style(value: object) -> bool:
    """Return whether an object has a length and entries by number."""
    return hasattr(value, "__getitem__") and hasattr(value, "__len__")


def parts_of(data: Mapping[str, Any], name: str) -> list[Any]:
    """Return the data sets of several splits, in the order of the splits. Raises InputError for other names."""
    for split in data:
        if split not in SPLITS:
            raise InputError(f"data set {name}: {shown(split)} is no split; expected some of {', '.join(SPLITS)}")
    return [data[split] for split in SPLITS if split in data]


def labels_of(data: Any, name: str) -> np.ndarray:
    """Return the labels of a torch Dataset, int64 (n,): its attribute, for a Subset that of the whole set, else the
    labels of its entries.
    """
    for attribute in LABELS:
        held = getattr(data, attribute, None)
        if held is not None and hasattr(held, "__len__") and len(held) == len(data):
            return whole_numbers(held, len(data), attribute, name)
    if hasattr(data, "indices") and hasattr(data, "dataset"):
        return labels_of(data.dataset, name)[np.asarray(data.indices, np.int64)]
    return whole_numbers([label_of(data, row, name) for row in range(len(data))], len(data), "labels", name)


def length_of(pictures: Any, name: str) -> int:
    """Return how many pictures there are. Raises InputError for none, and for an object without entries."""
    if not is_map_style(pictures):
        raise InputError(f"data set {name}: pictures are a {type(pictures).__name__}; expected entries and a length")
    if not len(pictures):
        raise InputError(f"data set {name}: no picture in it; expected at least one")
    return len(pictures)


def whole_numbers(values: Any, count: int, what: str, name: str) -> np.ndarray:
    """Return numbers of pictures, int64 (count,). Raises InputError unless they are whole numbers >= 0, one each."""
    numbers = as_array(values)
    if numbers.shape != (count,):
        raise InputError(f"data set {name}: {what} of shape {numbers.shape}; expected ({count},), one per picture")
    if numbers.dtype.kind not in "iufb" or (numbers.dtype.kind == "f" and not np.array_equal(numbers, numbers.round())):
        raise InputError(f"data set {name}: {what} are {numbers.dtype}, {shown(str(numbers[0]))} first; expected whole"
                         " numbers from 0")  # fmt: skip
    if numbers.min() < 0:
        raise InputError(f"data set {name}: {what} from {numbers.min()}; expected whole numbers from 0")
    return numbers.astype(np.int64)


def names_for(names: Sequence[str] | None, numbers: np.ndarray, what: str, name: str) -> list[str]:
    """Return the names of classes or groups, by default their numbers. Raises InputError for too few."""
    count = int(numbers.max()) + 1
    if names is None:
        return [str(number) for number in range(count)]
    titles = list(map(str, names))
    if len(titles) < count:
        raise InputError(f"data set {name}: {len(titles)} {what} names, but a {what} {count - 1}; expected {count}")
    check_names(titles, what, f"data set {name}")
    return titles


def split_numbers(splits: Any, count: int, name: str) -> np.ndarray:
    """Return the numbers of splits, int64 (count,). Raises InputError for anything that is no split."""
    values = as_array(splits)
    if values.dtype.kind not in "UO":
        numbers = whole_numbers(values, count, "splits", name)
        wrong = numbers[numbers >= len(SPLITS)].tolist()
    else:
        wrong = [value for value in values.tolist() if value not in SPLITS]
        numbers = np.array([SPLITS.index(value) for value in values.tolist() if value in SPLITS], np.int64)
    if wrong or numbers.shape != (count,):
        found = f"a split {shown(wrong[0])}" if wrong else f"splits of shape {values.shape}"
        raise InputError(f"data set {name}: {found}; expected {', '.join(SPLITS)} or 0, 1, 2, one per picture")
    return numbers


def box_rows(boxes: Any, count: int, name: str) -> np.ndarray | None:
    """Return boxes as float64 (count, 4), NaN for no box and for a box without area.

    Raises InputError for another shape, and for numbers that are no box.
    """
    if boxes is None:
        return None
    rows = boxes if hasattr(boxes, "shape") else [(np.nan,) * 4 if box is None else tuple(box) for box in boxes]
    try:
        values = np.array(as_array(rows), np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (count, 4):
        raise InputError(f"data set {name}: boxes are not of shape ({count}, 4); expected x0, y0, x1, y1 per picture")
    none = np.isnan(values).any(1)
    x0, y0, x1, y1 = values[~none].T
    if not (np.isfinite(values[~none]).all() and (x0 >= 0).all() and (y0 >= 0).all() and (x0 <= x1).all()
            and (y0 <= y1).all()):  # fmt: skip
        raise InputError(f"data set {name}: a box has invalid corners; expected 0 <= x0 < x1 and 0 <= y0 < y1")
    values[none | (values[:, 0] == values[:, 2]) | (values[:, 1] == values[:, 3])] = np.nan
    return values


def check_steady(dataset: ArrayDataset) -> None:
    """Raise InputError if the first pictures differ when they are read again."""
    for row in range(min(READ_TWICE, len(dataset.samples.name))):
        if not np.array_equal(dataset.picture(row), dataset.picture(row)):
            raise InputError(
                f"data set {dataset.name}: picture {row} differs when it is read again; leave out random"
                " augmentation, the tools augment themselves"
            )
