"""REPORT: the figures of clp-audit as tables for a terminal, two models side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from clp_train.auditing.audit import Audit
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.figures import Comparison
from clp_train.auditing.words import UNKNOWN, in_percent, in_points, percent
from clp_train.report.table import shown

MOST_CLASSES = 20  # nobody reads more rows; --json and the page have them
MEANINGS = {
    "mix-own": "mix-own: pasted on its own background",
    "mix-same": "mix-same: on another one of its class",
    "mix-other": "mix-other: on one of another class",
}
"""View -> its full name."""


def view_table(audits: Sequence[Audit]) -> Table:
    """Lay out the accuracy under each view, one column per model, with 95 % intervals."""
    table = table_of("accuracy under each view", audits)
    for view in audits[0].audit_set.rows:
        name = MEANINGS.get(view, view)
        add_row(table, name, [in_percent(audit.figures.by_view[view]) for audit in audits])
    return table


def figure_table(audits: Sequence[Audit], comparison: Comparison | None) -> Table:
    """Lay out the gap and the other figures, one column per model, and the difference of two models."""
    table = table_of("figure", audits)
    if comparison is not None:
        table.add_column("second - first", justify="right")
        table.add_column("p", justify="right")

    def add(name: str, spell: Callable[[Estimate], str], estimates: Sequence[Estimate]) -> None:
        add_row(table, name, list(map(spell, estimates)))

    all_figures = [audit.figures for audit in audits]
    gap_more, original_more = ([], []) if comparison is None else differences(comparison)
    add_row(table, "background gap", [*(in_points(each.gap) for each in all_figures), *gap_more])
    originals = [in_percent(each.by_view["original"]) for each in all_figures]
    add_row(table, "accuracy of originals", [*originals, *original_more])
    worst = [each.by_group[each.worst_group] for each in all_figures if each.worst_group is not None]
    if len(worst) == len(audits):
        add("worst group of originals", in_percent, worst)
    add("class changes with the background", in_percent, [each.flips for each in all_figures])
    add("... between two of the own class", in_percent, [each.flips_anyway for each in all_figures])
    add("confidence lost", in_points, [each.confidence_shift for each in all_figures])
    add("lowest class on other classes", in_percent, [each.lowest_before_others for each in all_figures])
    add("cost of cutting and pasting", in_points, [each.cutting for each in all_figures])
    table.add_section()
    add_row(table, "guessing", [percent(each.guessing) for each in all_figures])
    add_row(table, "fitted to backgrounds", [percent(audit.fitted) for audit in audits])
    add_row(table, "Grad-CAM in the box", list(map(attention_text, audits)))
    return table


def class_table(audits: Sequence[Audit]) -> Table:
    """Lay out the gap of each known class; of many classes only those with the largest gap of the first model.

    There are no rows if no class has enough pictures.
    """
    table = table_of("gap by class", audits, "pictures")
    names, first = audits[0].audit_set.class_names, audits[0].figures
    known = [c for c in range(len(names)) if any(audit.figures.by_class[c] for audit in audits)]
    if len(known) > MOST_CLASSES:
        known = sorted(known, key=lambda c: -(first.gap_by_class[c].value or 0))[:MOST_CLASSES]
        table.title = f"the {MOST_CLASSES} classes with the largest gap"
    for c in known:
        gaps = [in_points(audit.figures.gap_by_class[c]) for audit in audits]
        add_row(table, names[c], [str(max(audit.figures.by_class[c] for audit in audits)), *gaps])
    return table


def group_table(audits: Sequence[Audit]) -> Table | None:
    """Lay out accuracy of originals and gap of each group, None if groups are unknown or too many."""
    names = audits[0].audit_set.group_names
    if not 0 < len(names) <= MOST_CLASSES:
        return None
    table = Table()
    table.add_column("group")
    for audit in audits:
        table.add_column(shown(f"accuracy, {audit.subject_name}"), justify="right")
        table.add_column("gap", justify="right")
    for g, name in enumerate(names):
        cells = [
            text
            for audit in audits
            for text in (in_percent(audit.figures.by_group[g]), in_points(audit.figures.gap_by_group[g]))
        ]
        add_row(table, name, cells)
    return table


def table_of(title: str, audits: Sequence[Audit], *more: str) -> Table:
    """Return a table with a first column of this title, further columns, and one column per model."""
    table = Table()
    table.add_column(title)
    for name in more:
        table.add_column(name, justify="right")
    for audit in audits:
        table.add_column(shown(audit.subject_name), justify="right")
    return table


def add_row(table: Table, name: str, cells: Sequence[str]) -> None:
    """Add a row of literal texts: names in them are not markup."""
    table.add_row(shown(name), *map(shown, cells))


def differences(comparison: Comparison) -> tuple[list[str], list[str]]:
    """Return how two models differ in gap and in accuracy of originals, each as text with its p value as text."""
    pairs = (comparison.gap, comparison.gap_p), (comparison.original, comparison.original_p)
    gap, original = ([in_points(each), UNKNOWN if each.value is None else f"{p:.3f}"] for each, p in pairs)
    return gap, original


def attention_text(audit: Audit) -> str:
    """Return the share of the maps inside the boxes, and the share of the picture that boxes cover."""
    inside = audit.attention.get("inside")
    return UNKNOWN if inside is None else f"{percent(inside)} (box: {percent(audit.attention['area'])})"
