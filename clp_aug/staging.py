"""The folder from which a killed run continues: the laid-out shard, and a mark for each finished block.

A mark has digests of the block's content and of its pictures. So the order of writes to the disk does not matter: a
block with lost bytes is made again, and a run does not continue with pictures that have changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from clp_aug.common.files import check_name, disk_error, move, remove_leftovers, sync, written_beside
from clp_aug.common.plugins import difference
from clp_aug.contract.blank import Blank
from clp_aug.contract.damage import UNCHECKED, UNREADABLE, errno_of
from clp_aug.contract.digests import picture_digest
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.rereading import Map, in_this_process, rereads
from clp_aug.contract.schema import DIGESTS
from clp_aug.contract.shards import ShardReader, untold

HDF5 = b"\x89HDF\r\n\x1a\n"  # first bytes of such a file
RESUME, OVERWRITE = "--resume", "--overwrite"
LAID_OUT, MANIFEST, DONE = "shard.h5", "run.json", ".done"
Rows = Mapping[str, tuple[int, int]]
"""Data set of the shard -> start and stop of its rows."""


class Staging:
    """The folder of an unfinished run, beside its shard. `key` ties it to the run's settings and data."""

    def __init__(self, shard: Path, key: dict[str, Any]) -> None:
        self.shard, self.key = shard, key
        self.folder = shard.with_name(shard.name + ".parts")
        self.manifest = self.folder / MANIFEST
        self.blank = Blank(self.folder / LAID_OUT)

    def open(self, resume: bool, overwrite: bool) -> bool:
        """Make the folder, or continue with an existing one; return whether it is new.

        With both flags an unfinished run is continued: it was started to replace the shard. Raises UsageError if the
        shard or an unfinished run exists and no flag says what to do, or if --resume finds other settings; InputError
        if the folder cannot be written.
        """
        check_name(self.shard)
        try:
            return self._open(resume, overwrite)
        except OSError as error:
            raise disk_error(self.folder, error) from None

    def _open(self, resume: bool, overwrite: bool) -> bool:
        if self.shard.is_dir():
            raise UsageError(f"--out {self.shard} is a folder; give the name of a file in it")
        if self.shard.exists() and not looks_like_a_shard(self.shard):
            raise UsageError(f"--out {self.shard} is a file of another kind and is not replaced; give another --out")
        unfinished = self.manifest.exists() and self.blank.path.exists()
        if not unfinished:
            self._remove_leftovers()
        if self.shard.exists() and not overwrite and not (resume and unfinished):
            raise UsageError(f"{self.shard} exists{self._difference()}, or give {OVERWRITE}, or another --out")
        if unfinished and not (resume or overwrite):
            raise UsageError(
                f"{self.folder} holds an unfinished run; give {RESUME} to continue or {OVERWRITE} to start again"
            )
        if unfinished and resume:
            self._compare()
            return False
        self._remove_leftovers()
        self.folder.mkdir(parents=True)
        return True

    def _remove_leftovers(self) -> None:
        """Remove the folder, if there is one. Raises UsageError if it holds files that are not from clp-augment."""
        if not self.folder.exists():
            return
        for path in self.folder.iterdir():
            if not path.name.startswith((LAID_OUT, MANIFEST)) and path.suffix != DONE:
                raise UsageError(f"{self.folder} holds {path.name}, which is not ours; move it, or give another --out")
        shutil.rmtree(self.folder)

    def begin(self) -> None:
        """Write the run's key: from now on the run can be resumed. The laid-out file is synced to the disk first."""
        with self._laid_out():
            sync(self.blank.path)
        with written_beside(self.manifest) as temporary:
            temporary.write_text(json.dumps(self.key, sort_keys=True, indent=1), encoding="utf-8")

    def _compare(self) -> None:
        remove_leftovers(self.manifest)
        try:
            stored = json.loads(self.manifest.read_bytes())
        except (ValueError, RecursionError):
            stored = None
        if not isinstance(stored, dict):
            raise self._damaged()
        try:
            self.blank.check()
        except (*UNCHECKED, InputError) as error:
            raise self._refusal(error, "read") from None
        other = first_difference(stored, self.key, {*stored, *self.key})
        if other:
            raise self._of_another(other)

    def _damaged(self) -> InputError:
        return InputError(f"{self.folder} is damaged; give {OVERWRITE} to start again")

    def _refusal(self, error: Exception, doing: str) -> InputError:
        """Return the error if the laid-out file cannot be used: the disk refuses, or it is damaged."""
        code = errno_of(error)
        if code is None:
            return self._damaged()
        return disk_error(self.blank.path, OSError(code, os.strerror(code)), doing)

    @contextmanager
    def _laid_out(self, doing: str = "write") -> Iterator[None]:
        """Context that turns errors of the laid-out file into one line. Raises InputError."""
        try:
            yield
        except UNREADABLE as error:
            raise self._refusal(error, doing) from None

    def _of_another(self, what: str) -> UsageError:
        return UsageError(f"{self.folder} is of {what}; give {OVERWRITE} to start again, or another --out")

    def _difference(self) -> str:
        """Return in words whether the existing shard has the same settings and data."""
        try:
            header = ShardReader(self.shard).header
        except InputError:
            return " and is damaged"
        stored = {**header.settings, "fingerprint": header.fingerprint}
        other = first_difference(stored, self.key, stored.keys() & self.key.keys())
        return f" and is of {other}: rename it" if other else "; use it"

    def fill(self, name: str, start: int, values: np.ndarray | Sequence[np.ndarray]) -> None:
        """Write rows into the shard, like `Blank.fill`. Raises InputError for a damaged file or a refusing disk."""
        with self._laid_out():
            self.blank.fill(name, start, values)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows of a data set as they are now, by default all. Raises InputError like `fill`."""
        with self._laid_out("read"):
            return self.blank.read(name, start, stop)

    def mark(self, block: str, rows: Rows, pictures: Mapping[str, str]) -> None:
        """Note that a block is finished. rows: that it filled; pictures: name -> digest of its pictures. Raises
        InputError if the disk refuses.
        """
        text = json.dumps({"content": self.content(rows), "pictures": dict(pictures)})
        try:
            self._mark(block).write_text(text, encoding="utf-8")
        except OSError as error:
            raise disk_error(self._mark(block), error) from None

    def is_marked(self, block: str) -> bool:
        """Return whether a block has a mark; `has` also checks its content."""
        return self._mark_of(block) is not None

    def has(self, block: str, rows: Rows, pictures: Callable[[], Mapping[str, str]]) -> bool:
        """Return whether a block is finished and its content is what was written.

        pictures: as in `mark`, called only if needed. Raises UsageError for a picture that has changed since,
        InputError for a damaged file or a disk that refuses.
        """
        mark = self._mark_of(block)
        if mark is None or mark["content"] != self.content(rows) or not self.whole(rows):
            return False
        before = mark["pictures"].items()
        changed = sorted(before - pictures().items()) if before else []
        if changed:
            raise self._of_another(f"a run on other pictures: {changed[0][0]} has changed since")
        return True

    def content(self, rows: Rows) -> str:
        """Return sha256 over rows of tables, and the digests of rows of pictures. Raises InputError like `fill`."""
        digest = hashlib.sha256()
        for name, (start, stop) in sorted(rows.items()):
            values = self.read(DIGESTS.get(name, name), start, stop)
            digest.update(f"{name} {start} {stop} ".encode() + np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def whole(self, rows: Rows) -> bool:
        """Return whether rows of pictures fit their digests. Raises InputError like `fill`."""
        for name in rows.keys() & DIGESTS.keys():
            start, stop = rows[name]
            digests = self.read(DIGESTS[name], start, stop)
            try:
                pictures = self.blank.pictures(name, start, stop)
            except UNREADABLE:  # a checksum does not fit: the block is made again; worse damage shows when it is filled
                return False
            if any(picture_digest(picture) != digest for picture, digest in zip(pictures, digests, strict=True)):
                return False
        return True

    def _mark(self, block: str) -> Path:
        return self.folder / f"{block}{DONE}"

    def _mark_of(self, block: str) -> dict[str, Any] | None:
        """Return the content of a block's mark, None if it did not reach the disk."""
        try:
            stored = json.loads(self._mark(block).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(stored, dict) or not stored.keys() >= {"content", "pictures"}:
            return None
        pictures = stored["pictures"]
        if not isinstance(pictures, dict) or not all(isinstance(digest, str) for digest in pictures.values()):
            return None
        return stored

    def publish(self, advance: Callable[[int], None] = untold, work: Map = in_this_process) -> None:
        """Seal the shard, read all of it to check the written bytes, give it its name, and remove the folder.

        advance: called with the number of pictures and mattes read since the last call; work: maps over `Reread`s.
        Meanwhile the file is synced to the disk. Raises InputError for wrong bytes, a damaged file, or if the disk
        refuses.
        """
        with self._laid_out():
            self.blank.seal()
            self.blank.close()
        with ThreadPoolExecutor(1) as beside:
            synced = beside.submit(sync, self.blank.path)
            try:
                for done in work(rereads(self.blank.path)):
                    advance(done)
            except InputError as error:
                raise InputError(
                    f"the disk returned other bytes than were written ({error}); check the disk, then give {RESUME}"
                ) from None
        if (refused := synced.exception()) is not None:
            raise disk_error(self.shard, refused) if isinstance(refused, OSError) else refused
        move(self.blank.path, self.shard)
        self.remove()

    def remove_if_empty(self) -> None:
        """Remove the folder of a run that failed before it finished a block: there is nothing to resume."""
        if self.folder.exists() and not any(self.folder.glob("*" + DONE)):
            self.remove()

    def remove(self) -> None:
        """Remove the folder; the shard is complete, or there is none. The next run removes what the disk keeps."""
        self.blank.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def looks_like_a_shard(path: Path) -> bool:
    """Return whether a file is an HDF5 file, or empty."""
    with open(path, "rb") as file:
        return file.read(len(HDF5)) in (HDF5, b"")


def first_difference(stored: dict[str, Any], current: dict[str, Any], names: Collection[str]) -> str:
    """Return the first setting, by name, in which a stored run differs from the current one, in words; "" for none."""
    current = json.loads(json.dumps(current))
    for name in sorted(names):
        if stored.get(name) != current.get(name):
            if name == "fingerprint":
                return "a run on other pictures: names, labels or splits have changed since"
            if name == "plugins":
                return f"a run with {difference(stored.get(name), current.get(name))}"
            if name.endswith("_device"):
                before, now = stored.get(name, "the cpu"), current.get(name, "the cpu")
                return f"a run on {before}, now on {now}, which rounds differently: go on there"
            return f"a run with {name} = {stored.get(name)!r}, now {current.get(name)!r}"
    return ""
