"""READ: the content of a JSON file of a sample in a tar: plain values by key, and a box."""

from __future__ import annotations

from typing import Any

from clp_aug.contract.errors import InputError
from clp_aug.datasets.box_forms.found import Corners, number
from clp_aug.datasets.names import LONGEST, shown

BOX, CORNERS = "box", ("x0", "y0", "x1", "y1")
MOST_KEYS = 1000
FORM = "expected box: [x0, y0, x1, y1] in pixels, half open"


def facts_of(content: Any, where: str) -> tuple[Corners | None, dict[str, str]]:
    """Return the box of a sample, and its other values by key in lower case: texts, whole numbers, true and false.

    content: of a JSON file; where: its place, for messages. Lists, objects, numbers with a fraction, and values longer
    than a name may be are left out. Raises InputError for anything but an object, and for a malformed box.
    """
    if not isinstance(content, dict):
        raise InputError(f"{where}: a {type(content).__name__}; expected an object, e.g. with a key label")
    if len(content) > MOST_KEYS:
        raise InputError(f"{where}: {len(content):,} keys, expected at most {MOST_KEYS:,}; take some out")
    given = {key.lower(): value for key, value in content.items()}
    box = None
    if given.get(BOX) is not None:
        box = corners_of(given[BOX], where)
    elif all(given.get(name) is not None for name in CORNERS):
        box = corners_of([given[name] for name in CORNERS], where)
    texts = {key: as_text(value) for key, value in given.items() if key != BOX and key not in CORNERS}
    return box, {key: text for key, text in texts.items() if text is not None and len(key) <= LONGEST}


def as_text(value: Any) -> str | None:
    """Return a plain value as text, as in a table; None for any other value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else None
    return value.strip() if isinstance(value, str) and len(value) <= LONGEST else None


def corners_of(content: Any, where: str) -> Corners | None:
    """Return a box as x0, y0, x1, y1, half open; None for one without area, and for null.

    content: four numbers, or an object with these keys. Raises InputError for a malformed box.
    """
    if content is None:
        return None
    if isinstance(content, dict):
        content = content.get(BOX, [content.get(name) for name in CORNERS])
    if not isinstance(content, list) or len(content) != len(CORNERS):
        raise InputError(f"{where}: the box is {shown(content)}; {FORM}")
    x0, y0, x1, y1 = (number(value, name, where) for value, name in zip(content, CORNERS, strict=True))
    if not (0 <= x0 <= x1 and 0 <= y0 <= y1):
        raise InputError(f"{where}: box {(x0, y0, x1, y1)}; {FORM}")
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
