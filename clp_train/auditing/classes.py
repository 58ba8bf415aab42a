"""The class of the shard that each logit of a model belongs to: by name, or by the user's table where names differ.

Names are compared by their letters and digits alone, without case and accents. A logit may have several names, with
commas or as WordNet ids; one match is enough. Classes are never matched by their order.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clp_aug.contract.errors import InputError, suggestion
from clp_aug.datasets.names import shortened
from clp_aug.datasets.tables import read_table

OTHER = -1
"""The index of a logit that belongs to no class of the shard."""
SHOWN = 3  # names of each side in a message
WORDNET = re.compile(r"(n\d{8})[\W_]*(.*)", re.DOTALL)
COLUMNS = ("model", "shard")


@dataclass(frozen=True)
class ClassMap:
    """The class of each logit. Source: ours.

    index: int64 (K,), logit -> class of the shard, or OTHER; known: bool (C,), classes of the shard that have a logit;
    remarks: notes for the user about the other classes, one line each.
    """

    index: np.ndarray
    known: np.ndarray
    remarks: tuple[str, ...] = ()


class Lookup:
    """Classes of one side by name: exactly, else by `key`. A key of two classes finds neither."""

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self.exact = unique((text, i) for i, some in enumerate(names) for text in some)
        self.whole = unique((key(text), i) for i, some in enumerate(names) for text in some)
        self.parts = unique((key(part), i) for i, some in enumerate(names) for text in some for part in parts(text))

    def find(self, names: Sequence[str]) -> int:
        """Return the class of the first name that is known, OTHER if none is."""
        texts = [*names, *(part for name in names for part in parts(name))]
        for table, keys in ((self.exact, texts), (self.whole, map(key, texts)), (self.parts, map(key, texts))):
            found = next((table[one] for one in keys if table.get(one) is not None), None)
            if found is not None:
                return found
        return OTHER


def unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int | None]:
    """Return text -> class, None for a text of two classes."""
    found: dict[str, int | None] = {}
    for text, i in pairs:
        found[text] = i if found.get(text, i) == i else None
    return found


def key(name: str) -> str:
    """Return the part that all spellings of a name share: letters and digits, in lower case, without accents.

    A name without letters and digits is its own key.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold()
    return "".join(c for c in plain if c.isalnum()) or name.strip()


def parts(name: str) -> list[str]:
    """Return the names in one text: "tench, Tinca tinca", and "n02085620-Chihuahua" as id and name."""
    found = [part.strip() for part in name.split(",") if part.strip()] if "," in name else []
    wordnet = WORDNET.fullmatch(name.strip())
    if wordnet and wordnet[2]:
        found += [wordnet[1], wordnet[2], *parts(wordnet[2])]
    return found


def match_classes(
    subject_names: Sequence[Sequence[str]], shard_names: Sequence[str], mapping: Path | None = None
) -> ClassMap:
    """Return the class of the shard for each logit of a model; several logits may belong to one class.

    subject_names: all names of each logit; mapping: a CSV table with the columns model (name or index of a logit) and
    shard (name of a class, empty for another class), which overrides the names. Raises InputError for unknown names in
    the table, and if no class matches. Source: ours.
    """
    classes = Lookup([(name,) for name in shard_names])
    index = np.array([classes.find(names) for names in subject_names], np.int64)
    if mapping is not None:
        for logits, c in rows_of(mapping, subject_names, shard_names, classes):
            index[logits] = c
    known = np.isin(np.arange(len(shard_names)), index)
    if not known.any():
        raise nothing_matches(subject_names, shard_names, mapping)
    return ClassMap(index, known, remarks_on(index, known, subject_names, shard_names))


def rows_of(
    path: Path, subject_names: Sequence[Sequence[str]], shard_names: Sequence[str], classes: Lookup
) -> list[tuple[list[int], int]]:
    """Return (logits, class of the shard or OTHER) of each row of the user's table. Raises InputError."""
    found, before = [], dict[int, tuple[int, int]]()
    for line, row in read_table(path, COLUMNS):
        where = f"{path} line {line}"
        logits = logits_called(row["model"].strip(), subject_names, where)
        c = class_called(row["shard"].strip(), shard_names, classes, where)
        for k in logits:
            if before.setdefault(k, (c, line))[0] != c:
                name = shortened(subject_names[k][0])
                raise InputError(f"{where}: {name!r} has another class in line {before[k][1]}; keep one of the lines")
        found.append((logits, c))
    return found


def logits_called(name: str, subject_names: Sequence[Sequence[str]], where: str) -> list[int]:
    """Return the logits of a name, or the logit of an index. Raises InputError for an unknown name."""
    for spelt in (lambda text: text, key):
        found = [
            k for k, names in enumerate(subject_names)
            if any(spelt(name) == spelt(text) for one in names for text in (one, *parts(one)))
        ]  # fmt: skip
        if found:
            return found
    if name.isdecimal() and int(name) < len(subject_names):
        return [int(name)]
    near = suggestion([one for names in subject_names for one in names], name)
    raise InputError(
        f"{where}: the model has no class {shortened(name)!r}; {near}give a class name of the model, or an index below"
        f" {len(subject_names):,}"
    )


def class_called(name: str, shard_names: Sequence[str], classes: Lookup, where: str) -> int:
    """Return the class of the shard for a name, OTHER for an empty text. Raises InputError for an unknown name."""
    found = classes.find([name]) if name else OTHER
    if name and found == OTHER:
        raise InputError(
            f"{where}: the shard has no class {shortened(name)!r}; {suggestion(shard_names, name)}it has"
            f" {some(shard_names)}; leave the value empty for another class"
        )
    return found


def nothing_matches(
    subject_names: Sequence[Sequence[str]], shard_names: Sequence[str], mapping: Path | None
) -> InputError:
    """Return the error for a model and a shard without a class in common."""
    of_model = some([names[0] for names in subject_names])
    remedy = f"name them in {mapping}" if mapping else "give --mapping FILE, a CSV with the columns model,shard"
    return InputError(
        f"no class of the model ({of_model}) is in the shard ({some(shard_names)}); {remedy}, or the model's names"
        " with --classes FILE"
    )


def some(names: Sequence[str]) -> str:
    """Return the first names, and how many names there are, as text."""
    more = f", ... of {len(names):,}" if len(names) > SHOWN else ""
    return ", ".join(shortened(name) for name in names[:SHOWN]) + more


def remarks_on(
    index: np.ndarray, known: np.ndarray, subject_names: Sequence[Sequence[str]], shard_names: Sequence[str]
) -> tuple[str, ...]:
    """Return notes for the user: classes that the model does not have, and logits that belong to no class."""
    remarks = []
    if not known.all():
        lost = [name for name, there in zip(shard_names, known, strict=True) if not there]
        free = [name for names, c in zip(subject_names, index, strict=True) if c == OTHER for name in names]
        near = [
            f"{shortened(name)}: {suggestion(free, name).strip()}" for name in lost[:SHOWN] if suggestion(free, name)
        ]
        hint = f" ({'; '.join(near)}; --mapping FILE says so)" if near else ""
        remarks.append(f"{len(lost):,} of {len(known):,} classes are unknown to the model: {some(lost)}{hint}")
    others = int((index == OTHER).sum())
    if others:
        remarks.append(
            f"{others:,} of the model's {len(index):,} classes are not in the shard; they count as another class"
        )
    return tuple(remarks)
