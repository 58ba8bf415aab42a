"""Which epoch of a run is selected: the measures for it, and what each must know about val. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

AUTO, LAST, GAP = "auto", "last", "gap"
WORST_GROUP, WORST_CLASS = "worst-group", "worst-class"
GROUPS, CLASSES, NOTHING = "groups of val", "classes of val", "nothing"


class By(NamedTuple):
    """One way to compare epochs. key: of the measure in a history line; title: its name; knew: what it uses of val."""

    key: str
    title: str
    knew: str


BEFORE_OTHERS = "val_before_others"
"""The key of the accuracy of val's objects on backgrounds of other classes, mean over classes."""
WAYS = {
    WORST_GROUP: By("val_worst", "worst group", GROUPS),
    WORST_CLASS: By("val_worst_class", "worst class", CLASSES),
    "balanced": By("val_balanced", "mean of the classes", CLASSES),
    "average": By("val_average", "average", CLASSES),
    LAST: By("epoch", "last epoch", NOTHING),
    GAP: By(BEFORE_OTHERS, "accuracy on backgrounds of other classes", "boxes of val"),
}
SELECT = (AUTO, *WAYS)
WITH_PATIENCE = tuple(name for name in SELECT if name != LAST)
"""Ways to select for which patience makes sense: a later epoch can be no better than an earlier one."""


def way_of(select: str, needs: Collection[str]) -> str:
    """Return how the epochs of a run are compared, a name of WAYS. select: of SELECT; needs: of the method's entry.

    AUTO uses groups of val only if the method also knows the groups of training pictures.
    """
    if select != AUTO:
        return select
    return WORST_GROUP if "groups" in needs else WORST_CLASS


def merit(line: Mapping[str, Any], way: str) -> tuple[float, float]:
    """Return the value of an epoch from its history line: the measure, then val's average; of equal epochs the later
    wins.

    For LAST it is the number of the epoch, which needs no val.
    """
    value: float = line[WAYS[way].key]
    return value, 0.0 if way == LAST else line["val_average"]


def title_of(way: str, has_groups: bool) -> str:
    """Return the name of the measure that compares epochs; if groups are unknown, they are classes."""
    return WAYS[WORST_CLASS if way == WORST_GROUP and not has_groups else way].title


def knew_of(way: str, has_groups: bool) -> str:
    """Return in words what the selection knew about val, as `By` has it."""
    return WAYS[WORST_CLASS if way == WORST_GROUP and not has_groups else way].knew
