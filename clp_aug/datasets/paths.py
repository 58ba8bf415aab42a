"""READ: paths that lists name, as they were on another machine or as people write them, made names below a root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import is_file, leads_out, short_path

TRIED = 50  # pictures looked for before a root is called wrong


def below(root: Path, paths: Sequence[str], path: Path, bases: Sequence[str] = ("",)) -> list[str]:
    """Return the names of pictures relative to the root, in the order of their paths.

    paths: as a list has them, of any machine; path: of the list, for messages; bases: folders below the root that the
    paths may start from. The first picture that is found tells the base, and how many first parts of all paths do not
    count. Raises InputError when none of the first is found, when pictures are missing or would lie outside the root,
    and for a picture that stands there twice.
    """
    parts = [PurePosixPath(text.replace("\\", "/")).parts for text in paths]
    starts = ((base, n) for own in parts[:TRIED] for base in bases if (n := dropped(root / base, own)) is not None)
    base, count = next(starts, ("", None))
    if count is None:
        raise InputError(
            f"{path}: no picture of it below {root}, looked for {short_path(paths[0])} and every end"
            " of it; give the folder that holds the pictures with --root"
        )
    names = [PurePosixPath(base, *own[count:]).as_posix() for own in parts]
    check_there(root, names, path)
    taken: set[str] = set()
    for name in names:
        if name in taken:
            raise InputError(f"{path}: picture {short_path(name)} stands there twice; no picture may be in two splits")
        taken.add(name)
    return names


def dropped(root: Path, parts: tuple[str, ...]) -> int | None:
    """Return how many first parts of a path to leave out, the fewest, to find it below the root; None if it is not."""
    ends = ((n, PurePosixPath(*parts[n:]).as_posix()) for n in range(len(parts)))
    return next((n for n, name in ends if not leads_out(name) and is_file(root / name)), None)


def check_there(root: Path, names: Sequence[str], path: Path) -> None:
    """Raise InputError that counts the pictures which are missing below the root, or would lie outside it.

    path: of the list that names them.
    """
    missing = [name for name in names if leads_out(name) or not is_file(root / name)]
    if missing:
        raise InputError(
            f"{path}: {len(missing):,} of {len(names):,} pictures are missing, first {root}/{short_path(missing[0])};"
            f" restore them or take them out of {path.name}"
        )


def relative(text: str, root: Path) -> str | None:
    """Return a path of a table as a name below the root, spelt in one way; None for one that leads elsewhere.

    Backslashes are slashes, ./ does not count, and an absolute path may name the root itself.
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
