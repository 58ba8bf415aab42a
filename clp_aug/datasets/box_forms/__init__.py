"""READ: the registry of forms of boxes. One file per form, or per family of forms; docs/how-to/boxes.md."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import files_below, is_folder, some

if TYPE_CHECKING:
    from clp_aug.datasets.box_forms.found import Found

AUTO = "auto"


@dataclass(frozen=True)
class Form:
    """One form. where: "module:function" of its reader: (path, name of the form) -> boxes; suffix: of its files, "" for
    tables, which may have any; folder: one file per picture; relative: values are fractions of the picture's sides;
    several: whether more than one box per picture is usual.
    """

    where: str
    suffix: str = ""
    folder: bool = False
    relative: bool = False
    several: bool = False

    def load(self) -> Callable[[Path, str], Iterable[Found]]:
        """Return the function that reads a file or folder of this form."""
        module, _, name = self.where.partition(":")
        function: Callable[[Path, str], Iterable[Found]] = getattr(importlib.import_module(module), name)
        return function


FORMS = {
    "xyxy": Form("clp_aug.datasets.box_forms.table:read"),
    "xywh": Form("clp_aug.datasets.box_forms.table:read"),
    "cxcywh": Form("clp_aug.datasets.box_forms.table:read"),
    "coco": Form("clp_aug.datasets.box_forms.coco:read", ".json", several=True),
    "yolo": Form("clp_aug.datasets.box_forms.yolo:read", ".txt", folder=True, relative=True, several=True),
    "voc": Form("clp_aug.datasets.box_forms.voc:read", ".xml", folder=True, several=True),
}
TABLE = Form("clp_aug.datasets.box_forms.table:read")
"""A table; its header says which columns hold the corners."""


def form_of(path: Path, name: str = AUTO) -> Form:
    """Return the form of a file or folder: the named form, else by suffix; for tables by their header.

    Raises InputError for a folder if a file is expected and the other way round, and for a folder with files of two
    forms.
    """
    folder = is_folder(path)
    if name == AUTO:
        return form_of_folder(path) if folder else form_of_file(path)
    form = FORMS[name]
    if form.folder and not folder:
        raise InputError(f"boxes {path}: no folder; expected one with a {form.suffix} file per picture, as in {name}")
    if folder and not form.folder:
        raise InputError(f"boxes {path}: a folder; expected one file in the form {name}")
    return form


def form_of_file(path: Path) -> Form:
    """Return the form of one file, by its suffix."""
    for name, form in FORMS.items():
        if form.suffix and path.suffix.lower() == form.suffix and form.suffix != ".txt":
            if form.folder:
                raise InputError(f"boxes {path}: one file of {name}; give the folder that holds one per picture")
            return form
    return TABLE


def form_of_folder(path: Path) -> Form:
    """Return the form of a folder with one file per picture. Raises InputError for files of no form or of two."""
    files = files_below(path)
    kinds = {name: form for name, form in FORMS.items() if form.folder}
    there = {name for name, form in kinds.items() if any(file.suffix.lower() == form.suffix for file in files)}
    if len(there) == 1:
        return kinds[there.pop()]
    names = " or ".join(f"{form.suffix} ({name})" for name, form in kinds.items())
    if there:
        both = " and ".join(sorted(there))
        raise InputError(f"boxes {path}: files of {both}; choose one with --boxes-form")
    held = f"it holds {some(file.relative_to(path).as_posix() for file in files)}" if files else "no file in it"
    raise InputError(f"boxes {path}: {held}; expected one {names} file per picture")
