"""Which epoch of a run counts: what epochs are compared by, and what has to be known of val for that. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

AUTO, LAST, GAP = "auto", "last", "gap"
WORST_GROUP, WORST_CLASS = "worst-group", "worst-class"
GROUPS, CLASSES, NOTHING = "groups of val", "classes of val", "nothing"


class By(NamedTuple):
    """One way to compare epochs. key: of the measure in a history line; title: of the measure; knew: what of val."""

    key: str
    title: str
    knew: str


BEFORE_OTHERS = "val_before_others"
"""The key of the accuracy of val's objects before backgrounds of other classes, each class counted alike."""
WAYS = {
    WORST_GROUP: By("val_worst", "worst group", GROUPS),
    WORST_CLASS: By("val_worst_class", "worst class", CLASSES),
    "balanced": By("val_balanced", "mean of the classes", CLASSES),
    "average": By("val_average", "average", CLASSES),
    LAST: By("epoch", "last epoch", NOTHING),
    GAP: By(BEFORE_OTHERS, "accuracy before backgrounds of other classes", "boxes of val"),
}
SELECT = (AUTO, *WAYS)
WITH_PATIENCE = tuple(name for name in SELECT if name != LAST)
"""Ways in which an epoch can be no better than one before it."""


def way_of(select: str, needs: Collection[str]) -> str:
    """Return how the epochs of a run are compared, a name of WAYS. select: of SELECT; needs: of the method's entry.

    AUTO is what the run may know: groups only where the method is told those of training pictures, too.
    """
    if select != AUTO:
        return select
    return WORST_GROUP if "groups" in needs else WORST_CLASS


def merit(line: Mapping[str, Any], way: str) -> tuple[float, float]:
    """Return what an epoch is worth by its history line: the measure, then val's average; of equals the later counts.

    Of LAST it is the epoch alone, which needs no val.
    """
    value: float = line[WAYS[way].key]
    return value, 0.0 if way == LAST else line["val_average"]


def title_of(way: str, has_groups: bool) -> str:
    """Return what epochs are compared by in words: groups that nobody knows are classes."""
    return WAYS[WORST_CLASS if way == WORST_GROUP and not has_groups else way].title


def knew_of(way: str, has_groups: bool) -> str:
    """Return what selection knew in words, with those of `By`."""
    return WAYS[WORST_CLASS if way == WORST_GROUP and not has_groups else way].knew
