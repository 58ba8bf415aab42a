"""READ: which picture of a data set a name in a file of boxes means; see docs/how-to/boxes.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from clp_aug.contract.errors import InputError
from clp_aug.datasets.box_forms.found import Found
from clp_aug.datasets.names import same_place, shown
from clp_aug.datasets.paths import relative


class Pictures:
    """The pictures of a data set by name. names: relative paths, one per row; root: the folder they are relative to."""

    def __init__(self, names: Sequence[str], root: Path | None = None) -> None:
        self.names, self.root = names, root
        self.by_path = {name: row for row, name in enumerate(names)}
        self.by_name: dict[str, list[int]] = defaultdict(list)  # without folders
        self.by_path_stem: dict[str, list[int]] = defaultdict(list)
        self.by_stem: dict[str, list[int]] = defaultdict(list)  # without folders
        for row, name in enumerate(names):
            path = PurePosixPath(name)
            self.by_name[path.name].append(row)
            self.by_path_stem[path.with_name(path.stem).as_posix()].append(row)
            self.by_stem[path.stem].append(row)

    def row_of(self, found: Found, where: str) -> int | None:
        """Return the row of a box's picture, None for an unknown picture.

        where: file and place, for messages. Raises InputError for a name that several pictures have.
        """
        if not found.by_stem:
            return self.named(found.picture, where)
        row = self.of_stem(found.picture, where)
        return self.named(found.other, where) if row is None and found.other else row

    def named(self, name: str, where: str) -> int | None:
        """Return the row of a picture by its path, absolute or below the root, or by its bare name if it is unique."""
        if name in self.by_path:
            return self.by_path[name]
        text = name.replace("\\", "/")
        path = same_place(text) if self.root is None else relative(text, self.root)
        if path is None or "\0" in path:
            return None
        if path in self.by_path or "/" in path:
            return self.by_path.get(path)
        return self.only(self.by_name.get(path, []), name, where)

    def of_stem(self, stem: str, where: str) -> int | None:
        """Return the row of a picture by its path without suffix.

        A stem without a folder may fit a picture in any folder. A stem with a folder never fits by its last part only:
        the boxes of dog/1 are not those of cat/1.
        """
        rows = self.by_path_stem.get(stem) or ([] if "/" in stem else self.by_stem.get(stem, []))
        return self.only(rows, stem, where)

    def only(self, rows: Sequence[int], name: str, where: str) -> int | None:
        """Return the one row of a name, None for none. Raises InputError for several."""
        if len(rows) > 1:
            raise InputError(
                f"{where}: {shown(name)} fits {len(rows)} pictures, {self.names[rows[0]]} and {self.names[rows[1]]};"
                f" expected a path such as {self.names[rows[0]]}"
            )
        return rows[0] if rows else None
