"""READ: the registry of forms in which people keep boxes. One file a form, or a family of forms; docs/how-to/boxes.md."""

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
    """One form. where: "module:function" of what reads a path: (path, name of the form) -> boxes; suffix: of its files,
    "" for tables, whatever they are called; folder: one file a picture; relative: values are shares of the picture's
    sides; several: whether more than one box a picture is usual.
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
"""A table whose header tells which columns the corners are in."""


def form_of(path: Path, name: str = AUTO) -> Form:
    """Return the form of a file or folder: the named one, or by suffix; tables tell by their header.

    Raises InputError for a folder where a file is expected and the other way round, and for a folder whose files may be
    of two forms.
    """
    folder = is_folder(path)
    if name == AUTO:
        return form_of_folder(path) if folder else form_of_file(path)
    form = FORMS[name]
    if form.folder and not folder:
        raise InputError(f"boxes {path}: no folder; expected one {form.suffix} file a picture, as {name} has it")
    if folder and not form.folder:
        raise InputError(f"boxes {path}: a folder; expected one file in the form {name}")
    return form


def form_of_file(path: Path) -> Form:
    """Return the form of one file, by its suffix."""
    for name, form in FORMS.items():
        if form.suffix and path.suffix.lower() == form.suffix and form.suffix != ".txt":
            if form.folder:
                raise InputError(f"boxes {path}: one file of {name}; give the folder that holds one a picture")
            return form
    return TABLE


def form_of_folder(path: Path) -> Form:
    """Return the form of a folder of files, one a picture. Raises InputError where none or two kinds are there."""
    files = files_below(path)
    kinds = {name: form for name, form in FORMS.items() if form.folder}
    there = {name for name, form in kinds.items() if any(file.suffix.lower() == form.suffix for file in files)}
    if len(there) == 1:
        return kinds[there.pop()]
    names = " or ".join(f"{form.suffix} ({name})" for name, form in kinds.items())
    if there:
        both = " and ".join(sorted(there))
        raise InputError(f"boxes {path}: files of {both}; name the one that counts: --boxes-form")
    held = f"it holds {some(file.relative_to(path).as_posix() for file in files)}" if files else "no file in it"
    raise InputError(f"boxes {path}: {held}; expected one {names} file a picture")
