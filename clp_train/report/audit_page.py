"""REPORT: one self-contained page of an audit of one model, or of two side by side: verdict, figures, pictures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from clp_aug.common.files import written_beside
from clp_aug.common.text import printable
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.audit import Audit
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.figures import Comparison, Figures
from clp_train.auditing.verdict import NONE_SEEN, SOME, STRONG
from clp_train.auditing.views import BACKGROUND, MIX_OTHER, MIX_OWN, MIX_SAME, AuditSet
from clp_train.auditing.words import percent, points
from clp_train.report.audit_bars import Mark, Panel, clearest, interval_text, panel, value_text
from clp_train.report.audit_strips import choose, named, strata_of, strips

ROWS = 60  # most pictures on a page
LETTERS = ("A", "B")
TONES = {STRONG: "bad", SOME: "doubt", NONE_SEEN: "good"}
"""Word of a verdict -> its tone on the page."""
VIEW_NAMES = {
    MIX_OWN: "object pasted back (mix-own)",
    MIX_SAME: "on its own class's backgrounds (mix-same)",
    MIX_OTHER: "on other classes' backgrounds (mix-other)",
}
MIXED = (
    "Where the split mixes backgrounds over classes, a model that follows them scores as guessing does here: only the"
    " gap shows it."
)
CANNOT_SEE = (
    "a shortcut within the box, on the object itself or close around it",
    "the size and the place of the object: they stay as they are in all views",
    "what pasting and filling leave behind, such as edges and blurred patches; the cost of cutting shows how much"
    " this affects the model",
    "backgrounds of other kinds than those that were pasted",
)


def write_audit_page(
    path: Path, audits: Sequence[Audit], reader: ShardReader, comparison: Comparison | None, rows: int = ROWS
) -> None:
    """Write the page of one audit, or of two audits of the same audit set, to `path`: one HTML file without any outside
    resource. The same audits give the same bytes.

    reader: the shard of the audit set; its pictures are read one by one; comparison: of two audits, else None; rows:
    most pictures to show one by one. Raises ValueError for another number of audits or audits of different pictures,
    InputError for a damaged picture and when the disk refuses. Source: ours.
    """
    import jinja2

    check(audits)
    source = resources.files(__package__).joinpath("audit_page.html").read_text("utf-8")
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    audit_set = audits[0].audit_set
    chosen = choose(strata_of(audit_set), [audit.figures.moved for audit in audits], rows)
    page = template.stream(
        **head_of(audits, reader),
        **figures_of(audits, comparison),
        script_digest=digest_of_script(source),
        models=LETTERS[: len(audits)],
        shown=len(chosen),
        how_chosen=how_chosen(len(audit_set), len(chosen), rows, len(audits)),
        filters=filters(audit_set, sorted(set(audit_set.label[chosen].tolist())), sorted(set(audit_set.group[chosen]))),
        width=reader.shape[2],
        height=reader.shape[1],
        strips=strips(audits, reader, chosen),
    )
    with written_beside(Path(path)) as temporary:
        page.dump(str(temporary), encoding="utf-8", errors="replace")


def check(audits: Sequence[Audit]) -> None:
    """Raise ValueError unless there are one or two audits, of the same pictures."""
    if len(audits) not in (1, len(LETTERS)):
        raise ValueError(f"a page shows one audit or two, not {len(audits)}")
    if any(audit.audit_set.sample_id.tolist() != audits[0].audit_set.sample_id.tolist() for audit in audits):
        raise ValueError("both audits of a page must be of the same pictures")


def digest_of_script(source: str) -> str:
    """Return the hash of the page's one script for its policy: no other script, as in a class name, can run."""
    script = source.partition("<script>")[2].partition("</script>")[0]
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def head_of(audits: Sequence[Audit], reader: ShardReader) -> dict[str, Any]:
    """Return the head of the page: title, audited pictures, verdicts, source of backgrounds."""
    audit_set = audits[0].audit_set
    names = [printable(audit.subject_name) for audit in audits]
    title = f"Does {named(names[0])} look at the background?"
    return {
        "title": title if len(names) == 1 else "Before and after: how much two models rely on the background",
        "lead": lead(audit_set, reader.header.dataset),
        "verdicts": [verdict(audit, name) for audit, name in zip(audits, names, strict=True)],
        "backgrounds": backgrounds(audit_set),
        "cannot_see": CANNOT_SEE,
        "settings": settings(audits, reader),
    }


def lead(audit_set: AuditSet, dataset: str) -> str:
    """Return the line below the title."""
    groups = f" · {len(audit_set.group_names)} groups" if audit_set.group_names else ""
    split = audit_set.settings.get("split", "unknown split")
    return f"{printable(dataset)}, {split}: {len(audit_set):,} pictures · {len(audit_set.class_names)} classes{groups}"


def verdict(audit: Audit, name: str) -> dict[str, Any]:
    """Return the card of a model: name, word, tone, evidence, gap."""
    gap = audit.figures.gap
    return {
        "name": name,
        "kind": audit.subject_kind,
        "word": audit.verdict.word,
        "tone": TONES.get(audit.verdict.word, "unknown"),
        "gap": points(gap.value),
        "interval": interval_text(gap),
        "remarks": [printable(remark) for remark in audit.remarks],
        "evidence": [printable(sentence) for sentence in audit.verdict.evidence],
    }


def backgrounds(audit_set: AuditSet) -> str:
    """Return sentences about the source of backgrounds and the composition of pictures."""
    at = audit_set.settings
    pool, draws = at.get("pool"), at.get("draws")
    cut = {"matte": "cut out along its matte", "box": "its whole box"}.get(at.get("paste", ""), "as the shard has it")
    return (
        f"Backgrounds are pictures of the split “{at.get('backgrounds', 'unknown')}”, at most {pool} a class, whose"
        f" own objects were removed first ({at.get('remove')}). Each audited picture has {draws} of its own class and"
        f" {draws} of other classes; its object ({cut}) stays in its place. With backgrounds of another split the gap"
        " would be another."
    )


def settings(audits: Sequence[Audit], reader: ShardReader) -> list[tuple[str, str]]:
    """Return the settings of the audit: (name, value)."""
    pairs = [("shard", reader.path.name), ("dataset", reader.header.dataset)]
    pairs += [(name, str(value)) for name, value in sorted(audits[0].audit_set.settings.items())]
    height, width = reader.shape[1:3]
    pairs += [("picture", f"{width} × {height} pixels"), ("made by version", reader.header.tool_version)]
    for letter, audit in zip(LETTERS, audits, strict=False):
        which = f", {letter}" if len(audits) > 1 else ""
        pairs.append((f"model{which}", f"{audit.subject_name} ({audit.subject_kind})"))
        pairs += [(f"left out{which}: {why}", f"{n:,}") for why, n in audit.figures.left_out.items() if n]
    return [(printable(name), printable(value)) for name, value in pairs]


def figures_of(audits: Sequence[Audit], comparison: Comparison | None) -> dict[str, Any]:
    """Return the bars and the table of other figures."""
    audit_set, figures = audits[0].audit_set, [audit.figures for audit in audits]
    return {
        "panels": [p for p in panels(audit_set, figures, marks_of(audits)) if p is not None],
        "others": [*others(figures), attention_row(audits)],
        "changes": [] if comparison is None else change_rows(comparison),
    }


def panels(audit_set: AuditSet, figures: Sequence[Figures], marks: Sequence[Mark]) -> list[Panel | None]:
    """Return the bars of the page, None for panels without data."""
    views = [(view, [each.by_view[view] for each in figures]) for view in audit_set.rows]
    total = ("all pictures", [each.gap for each in figures])
    of_class = [(named(n), [f.gap_by_class[c] for f in figures]) for c, n in enumerate(audit_set.class_names)]
    of_group = [(named(n), [f.gap_by_group[g] for f in figures]) for g, n in enumerate(audit_set.group_names)]
    classes, class_note = clearest(of_class, "classes")
    groups, group_note = clearest(of_group, "groups")
    seen = [(VIEW_NAMES.get(view, view), of_models) for view, of_models in views if not view.startswith(BACKGROUND)]
    alone = [(view, of_models) for view, of_models in views if view.startswith(BACKGROUND)]
    return [
        panel("Accuracy under each view, in %", seen, True),
        panel("How often the background alone gives the label, in %", alone, True, marks, MIXED),
        panel("Background gap of each class, in points", [total, *classes], False, note=class_note),
        panel("Background gap of each group, in points", groups, False, note=group_note),
    ]


def marks_of(audits: Sequence[Audit]) -> list[Mark]:
    """Return the references for the background alone, each value once: guessing, and a classifier of backgrounds."""
    found: dict[float, dict[str, list[str]]] = {}
    for letter, audit in zip(LETTERS, audits, strict=False):
        values = {
            "guessing": audit.figures.guessing,
            "a classifier fitted to backgrounds": audit.fitted,
        }
        for text, value in values.items():
            if value is not None:
                found.setdefault(round(value, 3), {}).setdefault(text, []).append(letter)
    return [
        Mark(value, "; ".join(t if len(who) == len(audits) else f"{t} ({who[0]})" for t, who in texts.items()))
        for value, texts in found.items()
    ]


def others(figures: Sequence[Figures]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the figures without a bar: (name, [(value, interval) of each model])."""

    def row(text: str, estimates: Sequence[Estimate], share: bool) -> tuple[str, list[tuple[str, str]]]:
        return text, [(value_text(each, share), interval_text(each)) for each in estimates]

    rows = [
        row("background gap, in points", [f.gap for f in figures], False),
        row("cost of cutting: original minus object pasted back, in points", [f.cutting for f in figures], False),
        row("answers that differ between backgrounds of the own and another class", [f.flips for f in figures], True),
        row("answers that differ between two backgrounds of the own class", [f.flips_anyway for f in figures], True),
        row("loss of the label's probability on other classes' backgrounds, in points",
            [f.confidence_shift for f in figures], False),
    ]  # fmt: skip
    worst = [None if f.worst_group is None else f.by_group[f.worst_group] for f in figures]
    known = [each for each in worst if each is not None]
    return rows + ([row("accuracy of the worst group of originals", known, True)] if len(known) == len(worst) else [])


def attention_row(audits: Sequence[Audit]) -> tuple[str, list[tuple[str, str]]]:
    """Return how much of Grad-CAM is inside the box of originals, or why there is no map."""
    found = [audit.attention for audit in audits]
    cells = [
        (percent(None), f"no map: {each['no_map']}")
        if each["inside"] is None
        else (percent(each["inside"]), f"the box covers {percent(each['area'])}; {each['maps']:,} maps")
        for each in found
    ]
    return "share of Grad-CAM within the box", cells


def change_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return how the second model differs from the first: (name, first, second, difference, interval, p value)."""
    gaps, originals = comparison.gaps, comparison.originals
    gap_of, share_of = ([show(e.value) for e in pair] for show, pair in ((points, gaps), (percent, originals)))
    return [
        ("background gap, in points", *gap_of, *difference(comparison.gap, comparison.gap_p)),
        ("accuracy of originals", *share_of, *difference(comparison.original, comparison.original_p)),
    ]


def difference(estimate: Estimate, p: float) -> tuple[str, str, str]:
    """Return a difference in points, its interval and its p value as text."""
    return points(estimate.value), interval_text(estimate), f"{p:.3f}" if p >= 0.001 else "< 0.001"


def how_chosen(pictures: int, shown: int, rows: int, models: int) -> str:
    """Return one sentence about the choice of pictures on the page."""
    if shown == pictures:
        return f"All {pictures:,} pictures"
    half = (rows + 1) // 2
    which = "either model" if models > 1 else "the model"
    return (
        f"{shown:,} of {pictures:,} pictures: up to {half} that the background moved most under {which}, the others"
        " spread over classes and groups"
    )


def filters(audit_set: AuditSet, labels: Sequence[int], groups: Sequence[int]) -> dict[str, list[tuple[int, str]]]:
    """Return the choices of the filters by class and group: (index, name), only for those on the page."""
    names = audit_set.group_names
    return {
        "class": [(label, named(audit_set.class_names[label])) for label in labels],
        "group": [(int(group), named(names[group])) for group in groups if 0 <= group < len(names)],
    }
