"""READ: turn the paths in lists, from another machine or as people write them, into names below a root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import is_file, leads_out, short_path

TRIED = 50  # pictures to try before a root is refused


def below(root: Path, paths: Sequence[str], path: Path, bases: Sequence[str] = ("",)) -> list[str]:
    """Return the names of pictures relative to the root, in the order of their paths.

    paths: as in a list, from any machine; path: of the list, for messages; bases: folders below the root that the paths
    may start from. The first picture that is found decides the base, and how many first parts of all paths are dropped.
    Raises InputError if none of the first pictures is found, for pictures that are missing or outside the root, and for
    a picture that occurs twice.
    """
    parts = [PurePosixPath(text.replace("\\", "/")).parts for text in paths]
    starts = ((base, n) for own in parts[:TRIED] for base in bases if (n := dropped(root / base, own)) is not None)
    base, count = next(starts, ("", None))
    if count is None:
        raise InputError(
            f"{path}: none of its pictures is below {root}, looked for {short_path(paths[0])} and every"
            " end of it; give the folder that holds the pictures with --root"
        )
    names = [PurePosixPath(base, *own[count:]).as_posix() for own in parts]
    check_there(root, names, path)
    taken: set[str] = set()
    for name in names:
        if name in taken:
            raise InputError(f"{path}: picture {short_path(name)} occurs twice; no picture may be in two splits")
        taken.add(name)
    return names


def dropped(root: Path, parts: tuple[str, ...]) -> int | None:
    """Return the smallest number of first parts to drop so that a path is found below the root; None if never."""
    ends = ((n, PurePosixPath(*parts[n:]).as_posix()) for n in range(len(parts)))
    return next((n for n, name in ends if not leads_out(name) and is_file(root / name)), None)


def check_there(root: Path, names: Sequence[str], path: Path) -> None:
    """Raise InputError with the number of pictures that are missing below the root, or would be outside it.

    path: of the list that names them.
    """
    missing = [name for name in names if leads_out(name) or not is_file(root / name)]
    if missing:
        raise InputError(
            f"{path}: {len(missing):,} of {len(names):,} pictures are missing, first {root}/{short_path(missing[0])};"
            f" restore them or take them out of {path.name}"
        )


def relative(text: str, root: Path) -> str | None:
    """Return a path of a table as a name below the root, in one spelling; None for a path that leads elsewhere.

    Backslashes count as slashes, ./ is dropped, and an absolute path may start with the root.
    """
    name = text.strip()
    if "\\" in name and not is_file(root / name):
        name = name.replace("\\", "/")
    if Path(name).is_absolute():
        tops = dict.fromkeys((root.absolute(), root.resolve()))
        name = next((Path(name).relative_to(top).as_posix() for top in tops if Path(name).is_relative_to(top)), name)
    if leads_out(name) or name[1:3] == ":/" or PurePosixPath(name) == PurePosixPath():
        return None
    return PurePosixPath(name).as_posix()
