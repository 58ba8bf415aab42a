"""AUDIT: the figures of a model from its answers to an audit set, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clp_train.auditing.answers import Answers
from clp_train.auditing.bootstrap import RESAMPLES
from clp_train.auditing.cells import cells_of, donor_ids, flips_between, flips_within, has, labels_of_rows, moved_by
from clp_train.auditing.estimates import Estimate, Plan, estimate
from clp_train.auditing.views import MIX_OTHER, MIX_OWN, MIX_SAME, ORIGINALS, AuditSet

UNKNOWN_CLASS = "of classes that the model does not have"
NO_PAIR = "without backgrounds of both kinds"
NOT_MADE = "views that could not be made"


@dataclass(frozen=True)
class Figures:
    """The figures of one model. P audited pictures, C classes, G groups (0 if none are known).

    Figures without "class" or "group" in their names are means over classes, all with the same weight. Effects of a
    background on pictures of every class, such as hiding them, then cancel in the gap. by_view: accuracy under each
    view; gap: accuracy on backgrounds of the own class minus that on other classes', for pictures that have
    both; gap_by_class (C,), gap_by_group (G,); others_by_class (C,): accuracy on backgrounds of other classes;
    lowest_before_others: the lowest of these, used as the worst group if groups are unknown; cutting: accuracy of
    originals minus mix-own, the cost of pasting alone; flips: share of pairs (own class, other class) of one picture
    with different predicted classes; flips_anyway: the same for pairs of two backgrounds of the own class;
    confidence_shift: probability of the label on backgrounds of the own class minus other classes'; by_group (G,):
    accuracy of originals; worst_group: index of the lowest of these, None without groups; guessing: its accuracy, 1 /
    known classes; moved: float64 (P,), how much the background moves the probability of the label, mean before the own
    class minus mean on other classes, NaN if unknown; usable: bool (P,), pictures of known classes with both kinds
    of backgrounds; by_class: int64 (C,), the number of usable pictures; left_out: reason -> number of pictures, for
    NOT_MADE number of rows.
    """

    by_view: Mapping[str, Estimate]
    gap: Estimate
    gap_by_class: tuple[Estimate, ...]
    gap_by_group: tuple[Estimate, ...]
    cutting: Estimate
    flips: Estimate
    flips_anyway: Estimate
    confidence_shift: Estimate
    by_group: tuple[Estimate, ...]
    worst_group: int | None
    guessing: float | None
    others_by_class: tuple[Estimate, ...]
    lowest_before_others: Estimate
    moved: np.ndarray
    usable: np.ndarray
    by_class: np.ndarray
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Comparison:
    """Two models on one audit set, with the same resamples, so that chance in pictures and backgrounds cancels.

    gap, original: the second model's gap, and accuracy of originals, minus the first's; gap_p, original_p: two-sided
    bootstrap p values, in (0, 1], of "there is no difference"; gaps, originals: of each of the two models, on
    pictures of classes that both have.
    """

    gap: Estimate
    gap_p: float
    original: Estimate
    original_p: float
    gaps: tuple[Estimate, Estimate]
    originals: tuple[Estimate, Estimate]


def measure(
    audit_set: AuditSet, answers: Answers, known: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> Figures:
    """Return the figures of a model's answers. known: bool (C,), classes that the model has; seed: of the resamples.

    Pictures of other classes, and rows of -1, are left out and counted. Source: ours; the gap is the BG-gap of
    Xiao et al. 2021, here with backgrounds from the user's own pictures.
    """
    classes = len(audit_set.class_names)
    is_known = known[audit_set.label]
    both = is_known & has(audit_set, MIX_SAME) & has(audit_set, MIX_OTHER)
    found = estimate(plan_of(audit_set, answers, is_known), len(audit_set), len(donor_ids(audit_set)), seed, resamples)
    there = len(np.unique(audit_set.label[is_known]))
    others = found["others by class"]
    return Figures(
        by_view={view: found[f"view {view}"][0] for view in audit_set.rows},
        gap=found["gap"][0],
        gap_by_class=found["gap by class"],
        gap_by_group=found["gap by group"],
        cutting=found["cutting"][0],
        flips=found["flips"][0],
        flips_anyway=found["flips anyway"][0],
        confidence_shift=found["confidence"][0],
        by_group=found["by group"],
        worst_group=lowest(found["by group"]),
        guessing=1 / there if there else None,
        others_by_class=others,
        lowest_before_others=others[lowest(others) or 0],
        moved=moved_by(audit_set, answers.of_label, both),
        usable=both,
        by_class=np.bincount(audit_set.label[both], minlength=classes),
        left_out={
            UNKNOWN_CLASS: int((~is_known).sum()),
            NO_PAIR: int((is_known & ~both).sum()),
            NOT_MADE: int(sum((rows < 0).sum() for rows in audit_set.rows.values())),
        },
    )


def plan_of(audit_set: AuditSet, answers: Answers, is_known: np.ndarray) -> Plan:
    """Return the plan of all figures of `measure`. is_known: bool (P,), pictures to use."""
    right, predicted = is_right(audit_set, answers), answers.predicted
    classes, groups = len(audit_set.class_names), len(audit_set.group_names)
    of_group = audit_set.group if groups else np.full(len(audit_set), -1)
    plan, label = Plan(), audit_set.label
    for view in audit_set.rows:
        plan.mean(f"view {view}", cells_of(audit_set, view, right, is_known, label), classes, average=True)
    plan.mean("others by class", cells_of(audit_set, MIX_OTHER, right, is_known, label), classes)
    plan.mean("by group", cells_of(audit_set, ORIGINALS, right, is_known, of_group), groups)
    plan.mean("flips", flips_between(audit_set, predicted, is_known), classes, average=True)
    plan.mean("flips anyway", flips_within(audit_set, predicted, is_known), classes, average=True)
    mixed = MIX_SAME, MIX_OTHER
    take_difference(plan, "gap", audit_set, mixed, right, is_known)
    take_difference(plan, "gap by class", audit_set, mixed, right, is_known, label, classes)
    take_difference(plan, "gap by group", audit_set, mixed, right, is_known, of_group, groups)
    take_difference(plan, "confidence", audit_set, mixed, answers.of_label, is_known)
    take_difference(plan, "cutting", audit_set, (ORIGINALS, MIX_OWN), right, is_known)
    return plan


def take_difference(
    plan: Plan,
    name: str,
    audit_set: AuditSet,
    views: tuple[str, str],
    value: np.ndarray,
    chosen: np.ndarray,
    stratum: np.ndarray | None = None,
    strata: int = 1,
) -> None:
    """Add the mean of a value, (N,), under the first view minus the second, to a plan, for chosen pictures, bool (P,),
    that have both. stratum: int64 (P,), as in `cells_of`; None for the mean over classes.
    """
    paired = chosen & has(audit_set, views[0]) & has(audit_set, views[1])
    by, count = (audit_set.label, len(audit_set.class_names)) if stratum is None else (stratum, strata)
    first, second = (cells_of(audit_set, view, value, paired, by) for view in views)
    plan.difference(name, first, second, count, average=stratum is None)


def is_right(audit_set: AuditSet, answers: Answers) -> np.ndarray:
    """Return 1 for each row whose predicted class is its label, else 0: float64 (N,)."""
    return (answers.predicted == labels_of_rows(audit_set, len(answers.predicted))).astype(np.float64)


def lowest(estimates: Sequence[Estimate]) -> int | None:
    """Return the index of the lowest value, None if no value is known."""
    values = [np.inf if each.value is None else each.value for each in estimates]
    return int(np.argmin(values)) if min(values, default=np.inf) < np.inf else None


def compare(
    audit_set: AuditSet,
    answers_a: Answers,
    answers_b: Answers,
    known: np.ndarray,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Return how two models differ on the same pictures, the second minus the first.

    known: bool (C,), classes that both have. Source: ours; the comparison is paired, because the difference of gaps is
    the gap of the differences of single answers.
    """
    is_known, mixed = known[audit_set.label], (MIX_SAME, MIX_OTHER)
    right = [is_right(audit_set, answers) for answers in (answers_a, answers_b)]
    plan = Plan()
    for name, value in (("first", right[0]), ("second", right[1]), ("difference", right[1] - right[0])):
        take_difference(plan, f"gap, {name}", audit_set, mixed, value, is_known)
        cells = cells_of(audit_set, ORIGINALS, value, is_known, audit_set.label)
        plan.mean(f"original, {name}", cells, len(audit_set.class_names), average=True)
    found = estimate(plan, len(audit_set), len(donor_ids(audit_set)), seed, resamples)
    return Comparison(
        gap=found["gap, difference"][0],
        gap_p=found.p_value["gap, difference"],
        original=found["original, difference"][0],
        original_p=found.p_value["original, difference"],
        gaps=(found["gap, first"][0], found["gap, second"][0]),
        originals=(found["original, first"][0], found["original, second"][0]),
    )
