"""A folder that gets its name only when it is complete and on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clp_aug.common.files import check_name, disk_errors, is_temporary, sync, temporary_name
from clp_aug.common.locks import held_for
from clp_aug.contract.errors import UsageError


@contextmanager
def folder_made_beside(out: Path) -> Iterator[Path]:
    """Yield a new folder beside `out`. On success it is synced to the disk and renamed to `out`; on failure it is
    removed with its content. Leftovers of killed runs are removed first.

    `out` may be an empty folder. Raises UsageError if anything else is there, or if another process makes it;
    InputError if the disk refuses.
    """
    check_name(out)
    out = out.resolve() if out.name == ".." else out
    with disk_errors(out), held_for(out):
        check_free(out)
        remove_left_folders(out)
        temporary = temporary_name(out)
        try:
            temporary.mkdir()
            yield temporary
            sync_below(temporary)
            os.replace(temporary, out)
            sync(out.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_free(out: Path) -> None:
    """Raise UsageError if `out` exists and is no empty folder."""
    if os.path.lexists(out) and not (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        raise UsageError(f"{out}: it exists already; give another --out or remove it")


def remove_left_folders(out: Path) -> None:
    """Remove the folders of killed runs beside `out`; the caller must hold its lock."""
    for name in os.listdir(out.parent):
        if is_temporary(name, out):
            shutil.rmtree(out.parent / name, ignore_errors=True)


def sync_below(folder: Path) -> None:
    """Sync a folder and everything in it to the disk, files before their folders."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))
