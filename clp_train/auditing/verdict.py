"""AUDIT: the verdict in one word, with its evidence in sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clp_aug.contract.schema import OK
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.figures import NO_PAIR, NOT_MADE, UNKNOWN_CLASS, Figures
from clp_train.auditing.views import BACKGROUND, MIX_OTHER, MIX_SAME, AuditSet
from clp_train.auditing.words import in_percent, in_points, percent, points

STRONG, SOME, NONE_SEEN, CANNOT_TELL = "strong", "some", "none seen", "cannot tell"
WORDS = (STRONG, SOME, NONE_SEEN, CANNOT_TELL)

STRONG_GAP = 0.05
"""The gap is strong if even the low end of its interval is above: one answer in 20 depends on the background."""
SMALL_GAP = 0.01
"""A smaller gap counts as none, however certain it is: with large sets even tiny gaps have intervals above 0."""
WIDE_GAP = 0.10
"""The verdict is "none seen" only if the high end is below: a gap of one answer in ten would have been seen."""
CLASS_PICTURES = 10
"""Pictures that a class needs; at least two classes must have them, because a gap is between classes."""
MANY_CLASSES, MANY_PICTURES = 10, 100
"""With many small classes, this many classes and this many pictures in all are enough too."""
OK_BOXES = 0.5
"""Share of boxes that must be ok: with a wrong box the "background" still shows the object, or is removed itself."""


@dataclass(frozen=True)
class Verdict:
    """The conclusion of an audit. word: one of WORDS; evidence: sentences, the first gives the reason."""

    word: str
    evidence: tuple[str, ...]


def verdict_of(figures: Figures, audit_set: AuditSet) -> Verdict:
    """Return how much a model relies on backgrounds according to its figures. Source: ours."""
    reason = why_not_told(figures, audit_set)
    facts = (*gap_facts(figures, audit_set), *other_facts(figures), *caveats(figures, audit_set))
    if reason:
        return Verdict(CANNOT_TELL, (reason, *facts))
    gap = figures.gap
    if gap.low is not None and gap.low >= STRONG_GAP:
        return Verdict(STRONG, facts)
    return Verdict(SOME if is_seen(gap) else NONE_SEEN, facts)


def why_not_told(figures: Figures, audit_set: AuditSet) -> str | None:
    """Return the first reason why the gap would be meaningless, None if there is none."""
    names, counts = audit_set.class_names, figures.by_class
    tried = np.bincount(audit_set.label, minlength=len(names))
    if (tried > 0).sum() < 2:
        return "There are pictures of one class only; a gap needs backgrounds of at least two classes."
    if (counts > 0).sum() < 2:
        return (
            f"Of {int((counts > 0).sum())} of the {int((tried > 0).sum())} classes there are pictures that the model"
            " has a class for, with backgrounds of both kinds; two are needed."
        )
    if not enough_pictures(counts):
        return (
            f"There are too few pictures: {int((counts >= CLASS_PICTURES).sum())} classes have {CLASS_PICTURES} or"
            f" more, two are needed ({few_of(counts, names)})."
        )
    ok = float((audit_set.outcome == OK).mean())
    if ok < OK_BOXES:
        return (
            f"Boxes are too uncertain: of {percent(1 - ok)} of the pictures the matte did not find the object; give"
            " boxes or masks."
        )
    same, guessing = figures.by_view[MIX_SAME], figures.guessing
    if same.low is None or guessing is None or same.low <= guessing:
        return (
            f"Objects that are pasted are not recognised: {in_percent(same)} are right on backgrounds of their own"
            f" class, and guessing scores {percent(guessing)}."
        )
    return too_wide(figures.gap)


def is_seen(gap: Estimate) -> bool:
    """Return whether an interval is above 0 and the gap is more than tiny."""
    return gap.value is not None and gap.low is not None and gap.low > 0 and gap.value >= SMALL_GAP


def too_wide(gap: Estimate) -> str | None:
    """Return a sentence if an interval contains both no gap and a gap that matters, else None."""
    if gap.value is None or gap.low is None or gap.high is None:
        return "There is no interval of the gap: too few pictures or backgrounds."
    if is_seen(gap) or gap.high < WIDE_GAP:
        return None
    return (
        f"The interval of the gap, {points(gap.low)} to {points(gap.high)} points, contains both 0 and"
        f" {points(WIDE_GAP)} points in it: more pictures are needed."
    )


def enough_pictures(counts: np.ndarray) -> bool:
    """Return whether the usable pictures of classes, int64 (C,), are enough for a verdict."""
    many = (counts > 0).sum() >= MANY_CLASSES and counts.sum() >= MANY_PICTURES
    return bool((counts >= CLASS_PICTURES).sum() >= 2 or many)


def few_of(counts: np.ndarray, names: tuple[str, ...]) -> str:
    """Return how many pictures there are of the first classes, in words."""
    some = [f"{name}: {count}" for name, count in zip(names, counts.tolist(), strict=True)]
    return ", ".join(some[:5]) + (", ..." if len(some) > 5 else "")


def gap_facts(figures: Figures, audit_set: AuditSet) -> list[str]:
    """Return sentences about the gap. They always name the split of the backgrounds."""
    split, gap = audit_set.settings["backgrounds"], figures.gap
    where = f"with backgrounds from split {split}"
    if gap.value is None:
        return [f"No gap could be computed, {where}."]
    same, other = (in_percent(figures.by_view[view]) for view in (MIX_SAME, MIX_OTHER))
    facts = [
        f"Of pictures of split {audit_set.settings['split']}, {where}, {same} are recognised on backgrounds of"
        f" their own class, {other} on those of other classes: a gap of {in_points(gap)}."
    ]
    judged = figures.by_class >= CLASS_PICTURES
    lows = np.array([-1.0 if each.low is None else each.low for each in figures.gap_by_class])
    clearest = int(np.where(judged, lows, -1).argmax())
    if lows[clearest] > 0 and judged[clearest]:
        facts.append(
            f"Of {int(judged.sum())} classes, {audit_set.class_names[clearest]} shows it most clearly:"
            f" {in_points(figures.gap_by_class[clearest])}{by_chance(int(judged.sum()))}."
        )
    if gap.high is not None and gap.high < 0:
        facts.append("Backgrounds of other classes help: more pictures are right on them.")
    return facts


def by_chance(classes: int) -> str:
    """Return a remark if there are so many classes that one stands out by chance."""
    return "; among so many classes, one or more stand out by chance" if classes >= 20 else ""


def other_facts(figures: Figures) -> list[str]:
    """Return sentences about flips, backgrounds alone, the cost of cutting, and the worst group."""
    facts = []
    if figures.flips.value is not None:
        anyway = figures.flips_anyway
        beside = "" if anyway.value is None else f"; between two backgrounds of the own class, {in_percent(anyway)}"
        facts.append(
            f"The predicted class changes with the background in {in_percent(figures.flips)} of pairs (own class,"
            f" another class){beside}."
        )
    alone = {
        view: each for view, each in figures.by_view.items() if view.startswith(BACKGROUND) and each.low is not None
    }
    if alone and figures.guessing is not None:
        best = max(alone, key=lambda view: alone[view].value or 0)
        fill = best.removeprefix(BACKGROUND)
        low = alone[best].low
        told = (
            "gives the label away"
            if low is not None and low > figures.guessing
            else "does not give the label of these pictures away"
        )
        facts.append(
            f"The background alone {told}: {in_percent(alone[best])} are right without the object ({fill} in its"
            f" place); guessing scores {percent(figures.guessing)}."
        )
    return facts


def caveats(figures: Figures, audit_set: AuditSet) -> list[str]:
    """Return sentences about limits of the figures."""
    out, cut = [], figures.cutting
    if cut.low is not None and cut.low > STRONG_GAP:
        out.append(
            f"Cutting and pasting alone costs {in_points(cut)} (originals minus the same pictures put together"
            " again): pasted pictures are harder than originals."
        )
    small = int(((figures.by_class > 0) & (figures.by_class < CLASS_PICTURES)).sum())
    if small:
        out.append(f"{small} classes have fewer than {CLASS_PICTURES} pictures; the gaps of these classes say little.")
    for why in (UNKNOWN_CLASS, NO_PAIR):
        if figures.left_out[why]:
            out.append(f"Left out: {figures.left_out[why]:,} of {len(audit_set):,} pictures, {why}.")
    if figures.left_out[NOT_MADE]:
        out.append(f"{figures.left_out[NOT_MADE]:,} {NOT_MADE} are missing in these figures.")
    return out
