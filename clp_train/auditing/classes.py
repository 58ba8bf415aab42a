"""Which class of the shard each logit of a model stands for: by name, and by a table of the user's where names differ.

Names count as the same without case, accents and everything but letters and digits; of several names, with commas or as
WordNet ids, one is enough. Never by order: two classes for two logits say nothing of which is which.
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
"""The class of the shard of a logit that stands for none."""
SHOWN = 3  # names of each side that a message has
WORDNET = re.compile(r"(n\d{8})[\W_]*(.*)", re.DOTALL)
COLUMNS = ("model", "shard")


@dataclass(frozen=True)
class ClassMap:
    """Which class each logit stands for. Source: ours.

    index: int64 (K,), logit -> class of the shard, or OTHER; known: bool (C,), classes of the shard that a logit stands
    for; remarks: what a user should know of the others, a line each.
    """

    index: np.ndarray
    known: np.ndarray
    remarks: tuple[str, ...] = ()


class Lookup:
    """Classes of one side by name: as they are written, else by `key`; a key of two classes stands for neither."""

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self.exact = unique((text, i) for i, some in enumerate(names) for text in some)
        self.whole = unique((key(text), i) for i, some in enumerate(names) for text in some)
        self.parts = unique((key(part), i) for i, some in enumerate(names) for text in some for part in parts(text))

    def find(self, names: Sequence[str]) -> int:
        """Return the class that one of some names is of, the first that is, OTHER for none."""
        texts = [*names, *(part for name in names for part in parts(name))]
        for table, keys in ((self.exact, texts), (self.whole, map(key, texts)), (self.parts, map(key, texts))):
            found = next((table[one] for one in keys if table.get(one) is not None), None)
            if found is not None:
                return found
        return OTHER


def unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int | None]:
    """Return text -> class, None where two classes have it."""
    found: dict[str, int | None] = {}
    for text, i in pairs:
        found[text] = i if found.get(text, i) == i else None
    return found


def key(name: str) -> str:
    """Return what two spellings of one name have in common: its letters and digits, small and without accents.

    A name without any is its own key.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold()
    return "".join(c for c in plain if c.isalnum()) or name.strip()


def parts(name: str) -> list[str]:
    """Return the names that one text has: "tench, Tinca tinca", and "n02085620-Chihuahua" as id and name."""
    found = [part.strip() for part in name.split(",") if part.strip()] if "," in name else []
    wordnet = WORDNET.fullmatch(name.strip())
    if wordnet and wordnet[2]:
        found += [wordnet[1], wordnet[2], *parts(wordnet[2])]
    return found


def match_classes(
    subject_names: Sequence[Sequence[str]], shard_names: Sequence[str], mapping: Path | None = None
) -> ClassMap:
    """Return which class of the shard each logit of a model stands for; several may stand for one.

    subject_names: of each logit all that it is called; mapping: a CSV table with columns model (name or index of a
    logit) and shard (name of a class, nothing for another class), which counts before names. Raises InputError for
    a table of unknown names, and where no class matches. Source: ours.
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
                raise InputError(f"{where}: {name!r} is of another class in line {before[k][1]}; keep one of the lines")
        found.append((logits, c))
    return found


def logits_called(name: str, subject_names: Sequence[Sequence[str]], where: str) -> list[int]:
    """Return the logits of a name, or the one of an index. Raises InputError for a name that none has."""
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
        f"{where}: the model has no class {shortened(name)!r}; {near}give a name of the model's, or an index below"
        f" {len(subject_names):,}"
    )


def class_called(name: str, shard_names: Sequence[str], classes: Lookup, where: str) -> int:
    """Return the class of the shard of a name, OTHER for nothing. Raises InputError for a name that none has."""
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
        f"no class of the model ({of_model}) is one of the shard ({some(shard_names)}); {remedy}, or the model's names"
        " with --classes FILE"
    )


def some(names: Sequence[str]) -> str:
    """Return the first names in words, and how many there are."""
    more = f", ... of {len(names):,}" if len(names) > SHOWN else ""
    return ", ".join(shortened(name) for name in names[:SHOWN]) + more


def remarks_on(
    index: np.ndarray, known: np.ndarray, subject_names: Sequence[Sequence[str]], shard_names: Sequence[str]
) -> tuple[str, ...]:
    """Return what a user should know: classes that the model does not have, logits that are of no class."""
    remarks = []
    if not known.all():
        lost = [name for name, there in zip(shard_names, known, strict=True) if not there]
        free = [name for names, c in zip(subject_names, index, strict=True) if c == OTHER for name in names]
        near = [
            f"{shortened(name)}: {suggestion(free, name).strip()}" for name in lost[:SHOWN] if suggestion(free, name)
        ]
        hint = f" ({'; '.join(near)}; --mapping FILE says so)" if near else ""
        remarks.append(f"{len(lost):,} of {len(known):,} classes are none of the model's: {some(lost)}{hint}")
    others = int((index == OTHER).sum())
    if others:
        remarks.append(
            f"{others:,} of the model's {len(index):,} classes are none of the shard's: they count as another"
        )
    return tuple(remarks)
