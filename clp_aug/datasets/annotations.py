"""READ: masks and boxes that come with the pictures of a file data set."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_aug.datasets.annotation_settings import AS_BY_DEFAULT, AnnotationSettings, numbers_of
from clp_aug.datasets.annotation_words import PIXELS, REFUSE, RELATIVE, UNION
from clp_aug.datasets.base import Dataset, FileDataset
from clp_aug.datasets.box_forms import AUTO, TABLE, Form, form_of
from clp_aug.datasets.box_forms.choosing import COUNT, PASS, choose
from clp_aug.datasets.box_forms.found import Corners
from clp_aug.datasets.box_forms.pictures import Pictures
from clp_aug.datasets.mask_forms import MaskForm
from clp_aug.datasets.masks import NotMasks, mask_files, match, unused

AnyDataset = TypeVar("AnyDataset", bound=Dataset)
AnyFileDataset = TypeVar("AnyFileDataset", bound=FileDataset)


def with_annotations(
    dataset: AnyDataset,
    masks_dir: Path | str | None = None,
    boxes_csv: Path | str | None = None,
    of_more: bool = False,
    settings: AnnotationSettings = AS_BY_DEFAULT,
) -> AnyDataset:
    """Return the data set with masks from a folder and boxes from a file; they replace the old ones.

    masks_dir: files matched as `masks.match_masks` says; boxes_csv: a file or folder in one of the forms of
    `box_forms`; of_more: they belong to a larger set, and entries of pictures that this set does not have are ignored;
    settings: how to read both; the paths in it are ignored. Partial coverage is fine: `annotations.masks` and
    `annotations.boxes` of the result hold the matches by row, and its remarks say what did not match. Raises UsageError
    for a data set without picture files, InputError if nothing matches or a file is wrong. Source: ours.
    """
    if masks_dir is None and boxes_csv is None:
        return dataset
    if not isinstance(dataset, FileDataset):
        raise UsageError(f"data set {dataset.name} has no picture files that --masks or --boxes could name; drop them")
    annotated = copy.copy(dataset)
    if masks_dir is not None:
        attach_masks(annotated, Path(masks_dir), of_more, settings)
    if boxes_csv is not None:
        attach_boxes(annotated, Path(boxes_csv), of_more, settings)
    return annotated


def with_given(dataset: AnyDataset, settings: AnnotationSettings) -> AnyDataset:
    """Return the data set with the masks and boxes of the settings; see `with_annotations`.

    Raises InputError if the masks below its root are doubtful and no others are given.
    """
    if isinstance(dataset, FileDataset) and dataset.annotations.doubt and settings.masks is None:
        raise InputError(dataset.annotations.doubt)
    return with_annotations(dataset, settings.masks, settings.boxes, settings=settings)


def with_own(
    dataset: AnyFileDataset, masks: Path | None = None, boxes: Path | None = None, of_more: bool = False
) -> AnyFileDataset:
    """Return the data set with masks and boxes from below its own root; see `with_annotations`.

    Files that do not look like masks are marked as doubtful: training ignores them, and the settings of clp-augment can
    say how to read them.
    """
    try:
        return with_annotations(dataset, masks, boxes, of_more)
    except NotMasks as error:
        doubtful = copy.copy(dataset)
        doubtful.annotations = replace(dataset.annotations, doubt=str(error))
        return with_annotations(doubtful, None, boxes, of_more)


def attach_masks(dataset: FileDataset, folder: Path, of_more: bool, settings: AnnotationSettings) -> None:
    """Replace the masks of the data set by those of a folder."""
    form, files = MaskForm(settings.masks_form, numbers_of(settings.masks_object)), mask_files(folder)
    masks, said = match(dataset.samples.name, files, form, any_format=settings.masks is not None)
    remark = None if of_more else unused(files, masks)
    dataset.remarks = (*dataset.remarks, *([remark] if remark else ()), *said)
    reading = replace(dataset.annotations.reading, mask_form=form, masks_frame=settings.masks_frame)
    dataset.annotations = replace(dataset.annotations, masks=masks, reading=reading, doubt="")


def attach_boxes(dataset: FileDataset, path: Path, of_more: bool, settings: AnnotationSettings) -> None:
    """Replace the boxes of the data set by those of a file or folder."""
    form = form_of(path, settings.boxes_form)
    units = units_of(form, settings)
    chosen = choose(
        form.load()(path, settings.boxes_form),
        Pictures(dataset.samples.name, dataset.root),
        path,
        settings.boxes_several or (UNION if form.several else REFUSE),
        units,
        [dataset.class_names[label] for label in dataset.samples.label.tolist()],
        PASS if of_more else COUNT,
    )
    if not chosen.boxes:
        chosen.remarks.append(f"{path}: no box in it is of a picture of this set")
    dataset.remarks = (*dataset.remarks, *chosen.remarks)
    old = dataset.annotations
    reading = replace(old.reading, relative=units == RELATIVE, boxes_frame=settings.boxes_frame)
    dataset.annotations = replace(
        old, boxes=chosen.boxes, reading=reading, source=str(path), places=chosen.places, sizes=chosen.sizes
    )


def units_of(form: Form, settings: AnnotationSettings) -> str | None:
    """Return the units of a form, None if unknown. Raises SettingError for pixels if the form has relative values."""
    if form.relative and settings.boxes_units == PIXELS:
        raise SettingError("boxes_units", PIXELS, "values of yolo are fractions of the picture's sides; leave it out")
    return settings.boxes_units or (RELATIVE if form.relative else None)


def read_boxes(names: Sequence[str], path: Path, of_more: bool = False) -> dict[int, Corners]:
    """Read boxes in source pixels, half open, from a table with the columns file, x0, y0, x1, y1: row -> box.

    The table may use other names of columns, see docs/how-to/boxes.md. A box without area says that the picture has
    none, as in published tables: the row is left out; with of_more, so is a picture that is not among the names. Raises
    InputError, with file and line, for an unknown or repeated picture and for values that are no box, and if no box is
    left.
    """
    return choose(TABLE.load()(path, AUTO), Pictures(names), path, strangers=PASS if of_more else "").boxes
