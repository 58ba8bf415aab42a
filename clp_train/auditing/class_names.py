"""The class names of a model's logits: from the model, from the user's file, or those of ImageNet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clp_aug.contract.errors import InputError, UsageError
from clp_train.auditing.imagenet import CLASSES, imagenet_names
from clp_train.auditing.opened import Names, Opened

MOST_BYTES = 2**24  # of a file of names
IMAGENET = "imagenet"
EXPECTED = "expected one name a line, or a JSON list of names, in the order of the logits"


def names_in(path: Path) -> Names:
    """Return the names in a file: one a line, with commas between synonyms; a JSON list, or a JSON object by index.

    "imagenet" means the names of ImageNet, unless there is a file of that name. Raises InputError for a file without
    names. Source: ours.
    """
    if str(path) == IMAGENET and not path.exists():
        return imagenet_names()
    text = text_of(path)
    try:
        values = json.loads(text) if text.lstrip()[:1] in ("[", "{") else text.rstrip().splitlines()
        names = tuple(names_of(value) for value in in_order(values))
    except (ValueError, TypeError, RecursionError) as error:
        reason = f"not JSON ({error})" if isinstance(error, json.JSONDecodeError) else error
        raise InputError(f"--classes {path}: {reason}; {EXPECTED}") from None
    if len(names) < 2:
        raise InputError(f"--classes {path}: {len(names)} names; {EXPECTED}, of two classes or more")
    return names


def text_of(path: Path) -> str:
    """Return a file's text, UTF-8. Raises InputError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"--classes {path}: more than {MOST_BYTES >> 20} MiB; {EXPECTED}")
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"--classes {path}: cannot read ({reason}); {EXPECTED}") from None


def in_order(values: Any) -> Sequence[Any]:
    """Return the items of a list, or of an object by index: {"0": "tench", "1": ...}. Raises ValueError for others."""
    if isinstance(values, dict):
        if sorted(values) != sorted(str(i) for i in range(len(values))):
            raise ValueError("a JSON object whose keys are not 0, 1, 2, ...")
        return [values[str(i)] for i in range(len(values))]
    if not isinstance(values, list):
        raise ValueError("no list")
    return values


def names_of(value: Any) -> tuple[str, ...]:
    """Return the names of one logit from a text or a list of synonyms. Raises ValueError for anything else."""
    names = value if isinstance(value, list) else [value]
    stripped = tuple(name.strip() for name in names if isinstance(name, str))
    if not names or len(stripped) != len(names) or not all(stripped):
        raise ValueError(f"{str(value)[:40]!r} is not a name")
    return stripped


def names_for(spec: str, count: int, given: Names | None, file: Path | None, opened: Opened) -> Names:
    """Return the names of `count` logits: the given ones, else the model's own, or ImageNet's for its 1,000 classes.

    given, file: names of the user and their file, None for none. Raises InputError if the numbers of names and logits
    differ, UsageError if there are no names. Source: ours.
    """
    own = imagenet_names() if opened.imagenet and count == CLASSES and given is None else opened.class_names
    names, source = (own, "its file") if given is None else (given, f"--classes {file}")
    if names is None:
        raise UsageError(
            f"model {spec}: the names of its {count:,} classes are unknown; give --classes FILE, one name a line in"
            f" the order of the logits{', or --classes imagenet' if count == CLASSES else ''}"
        )
    if len(names) != count:
        raise InputError(
            f"model {spec}: {source} has {len(names):,} names, but the model gives {count:,} logits; give one name for"
            " each logit, in their order"
        )
    return names
