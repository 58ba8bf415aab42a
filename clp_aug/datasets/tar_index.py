"""READ: the samples of one tar file in the layout of webdataset, found by one pass over its headers.

Files that share their path up to the first dot of its last part are one sample:

    cat/1.jpg    its picture, with any suffix that can be read; also cat/1.image.jpg
    cat/1.cls    its label, a whole number; else the key label of cat/1.json, else cat/1.txt, if that is one short line
    cat/1.json   an object; keys label, split, group, box, x0, y0, x1, y1, and attributes
    cat/1.mask.png or .seg.png, cat/1.box.json

Source of the layout: the documentation of webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import json
import sys
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from clp_aug.common.files import disk_error
from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.datasets.base import MAX_BYTES
from clp_aug.datasets.box_forms.found import Corners
from clp_aug.datasets.names import LONGEST, short_path, shown
from clp_aug.datasets.table_columns import LABEL, WHOLE
from clp_aug.datasets.tar_facts import corners_of, facts_of
from clp_aug.datasets.tar_headers import Entry, entries_of

PICTURE, MASK, CLS, JSON, TEXT, BOX, OTHER = range(7)
MASK_WORDS = ("mask", "seg")
KNOWN = {"cls": CLS, "class": CLS, "json": JSON, "txt": TEXT, "box.json": BOX}
RANKS = {CLS: 3, JSON: 2, TEXT: 1}  # the label of the file with the highest rank is used
SPELT = {PICTURE: "pictures", MASK: "masks", CLS: "labels", JSON: "JSON files", TEXT: "texts", BOX: "boxes"}
MOST_TEXT = 1 << 20  # bytes of a JSON file
BUFFER = 1 << 14


@dataclass
class TarIndex:
    """The samples of one tar file; every list has one entry per sample, in the order of their first files.

    name: of the picture in the tar; start, size: place of its bytes; label: as text, "" without one; rank: of RANKS, 0
    without a label; masks: sample -> (name, start, size); boxes: sample -> x0, y0, x1, y1, half open; values: key of
    the JSON files -> text, "" without a value; others: suffix -> number of ignored files; tar_size: of the tar file, in
    bytes.
    """

    tar_size: int = 0
    name: list[str] = field(default_factory=list)
    start: array[int] = field(default_factory=lambda: array("q"))
    size: array[int] = field(default_factory=lambda: array("q"))
    label: list[str] = field(default_factory=list)
    rank: bytearray = field(default_factory=bytearray)
    masks: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    boxes: dict[int, Corners] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def index_of(path: Path) -> TarIndex:
    """Return the samples of a tar file. Raises InputError for a file that cannot be read, and as `Pass` does."""
    try:
        with open(path, "rb", buffering=BUFFER) as file:
            size = file.seek(0, 2)
            return Pass(path, file, size).run()
    except OSError as error:
        raise disk_error(path, error, "read") from None


def kind_of(suffix: str) -> int:
    """Return the kind of a sample's file, by the part of its name after the first dot, in lower case."""
    if suffix in KNOWN:
        return KNOWN[suffix]
    words = suffix.split(".")
    if not f".{words[-1]}".endswith(images.SUFFIXES) or "" in words:
        return OTHER
    return MASK if any(word in MASK_WORDS for word in words[:-1]) else PICTURE


class Pass:
    """One pass over a tar file. Raises InputError for a sample with two files of a kind, without a picture, and with a
    label, JSON or box that cannot be read.
    """

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.where, self.file, self.index = path, str(path), file, TarIndex(size)
        self.row_of: dict[str, int] = {}  # path up to the first dot -> sample
        self.there: list[int] = []  # sample -> its kinds, as bits
        self.kinds: dict[str, int] = {}  # suffix -> kind

    def run(self) -> TarIndex:
        """Read every file of the tar."""
        for entry in entries_of(self.file, self.index.tar_size, self.where):
            folder, slash, base = entry.name.rpartition("/")
            stem, dot, suffix = base.partition(".")
            if not stem or not dot or (stem.startswith("__") and stem.endswith("__")):
                self.index.others["hidden" if not stem else "no suffix"] += 1
                continue
            suffix = suffix.lower()
            kind = self.kinds.get(suffix)
            if kind is None:
                kind = self.kinds[suffix] = kind_of(suffix)
            if kind == OTHER:
                self.index.others[f".{suffix[:20]}"] += 1
            else:
                self.take(entry, f"{folder}{slash}{stem}", kind)
        return self.finished()

    def take(self, entry: Entry, key: str, kind: int) -> None:
        """Take one file of a sample."""
        index, row = self.index, self.row_of.get(key)
        if row is None:
            row = self.row_of[key] = len(index.label)
            index.name.append("")
            index.start.append(0)
            index.size.append(0)
            index.label.append("")
            index.rank.append(0)
            self.there.append(0)
        if self.there[row] >> kind & 1:
            raise InputError(
                f"{self.where}: sample {short_path(key)} has two {SPELT[kind]}, the second is {short_path(entry.name)};"
                " give samples different names up to the first dot, or remove one"
            )
        self.there[row] |= 1 << kind
        if kind == PICTURE:
            if entry.size > MAX_BYTES:
                raise InputError(f"{self.where}: {short_path(entry.name)} has {entry.size:,} bytes, more than any"
                                 " picture needs; remove it")  # fmt: skip
            index.name[row], index.start[row], index.size[row] = entry
        elif kind == MASK:
            index.masks[row] = (entry.name, entry.start, entry.size)
        else:
            self.read(entry, row, kind)

    def read(self, entry: Entry, row: int, kind: int) -> None:
        """Read a label, a JSON file or a box."""
        most = MOST_TEXT if kind in (JSON, BOX) else LONGEST + 2  # a line, and its end
        if entry.size > most:
            if kind != TEXT:
                raise InputError(f"{self.place(entry)}: {entry.size:,} bytes, expected at most {most:,}; remove it")
            return
        self.file.seek(entry.start)
        data = self.file.read(entry.size)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{self.place(entry)}: it is not UTF-8; write it again") from None
        if kind in (CLS, TEXT):
            text = text.strip()
            if text and "\n" not in text:
                self.set_label(text, row, kind, entry)
            elif kind == CLS:
                raise InputError(f"{self.place(entry)}: {shown(text)}; expected a label, for example 7")
            return
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:100]
            raise InputError(f"{self.place(entry)}: not JSON ({reason}); write it again") from None
        self.take_json(content, row, kind, entry)

    def place(self, entry: Entry) -> str:
        """Return the place of an entry, for messages."""
        return f"{self.where}: {short_path(entry.name)}"

    def take_json(self, content: Any, row: int, kind: int, entry: Entry) -> None:
        """Take the content of a sample's JSON file."""
        where = self.place(entry)
        box, values = (corners_of(content, where), {}) if kind == BOX else facts_of(content, where)
        if box is not None and self.index.boxes.setdefault(row, box) != box:
            raise InputError(f"{self.place(entry)}: box {box}, but {self.index.boxes[row]} in another file of the"
                             " sample; keep one")  # fmt: skip
        label = next((values.pop(name) for name in LABEL if name in values), "")
        for name in LABEL:
            values.pop(name, None)
        if label:
            self.set_label(label, row, kind, entry)
        for name, value in values.items():
            column = self.index.values.setdefault(sys.intern(name), [])
            column += [""] * (row + 1 - len(column))
            column[row] = sys.intern(value)

    def set_label(self, label: str, row: int, kind: int, entry: Entry) -> None:
        """Take a label unless a file of a higher rank has given one. Raises InputError for two different numbers."""
        index, rank = self.index, RANKS[kind]
        old = index.label[row]
        if index.rank[row] > 1 and rank > 1 and old != label and WHOLE.fullmatch(old) and WHOLE.fullmatch(label):
            raise InputError(f"{self.place(entry)}: label {label}, but {old} in another file of the sample; fix one")
        if rank > index.rank[row]:
            index.label[row], index.rank[row] = sys.intern(label), rank

    def finished(self) -> TarIndex:
        """Return the index, without samples with neither picture nor label. Raises InputError for a label alone."""
        keep = [row for row, there in enumerate(self.there) if there >> PICTURE & 1]
        if len(keep) < len(self.there):
            self.check_lone()
            self.drop_lone(keep)
        for column in self.index.values.values():
            column += [""] * (len(self.index.name) - len(column))
        return self.index

    def check_lone(self) -> None:
        """Raise InputError for a sample with a label, mask or box but without a picture."""
        for key, row in self.row_of.items():
            if not self.there[row] >> PICTURE & 1 and self.there[row] & (1 << CLS | 1 << MASK | 1 << BOX):
                raise InputError(
                    f"{self.where}: sample {short_path(key)} has no picture; expected {short_path(key)}.jpg, or another"
                    " of " + ", ".join(images.SUFFIXES)
                )

    def drop_lone(self, keep: list[int]) -> None:
        """Leave out samples without a picture: texts and JSON files about the whole set."""
        index = self.index
        index.others[".json or .txt without a picture"] += len(self.there) - len(keep)
        new = {old: row for row, old in enumerate(keep)}
        for name, column in index.values.items():
            column += [""] * (len(self.there) - len(column))
            index.values[name] = [column[row] for row in keep]
        index.name, index.label = [index.name[row] for row in keep], [index.label[row] for row in keep]
        index.rank = bytearray(index.rank[row] for row in keep)
        index.start = array("q", (index.start[row] for row in keep))
        index.size = array("q", (index.size[row] for row in keep))
        index.masks = {new[row]: mask for row, mask in index.masks.items()}
        index.boxes = {new[row]: box for row, box in index.boxes.items() if row in new}
