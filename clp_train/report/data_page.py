"""REPORT: one self-contained page of an audited data set: verdict, classes, pictures that contradict their label."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from clp_aug.common.files import written_beside
from clp_aug.contract.images import data_uri
from clp_train.auditing.data_advice import Advice
from clp_train.auditing.data_audit import DataAudit
from clp_train.auditing.data_groups import NO_GROUPS
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.words import in_percent

PER_CLASS = 12  # pictures of a class
MOST_PICTURES = 240  # pictures of all classes, about 5 MB
MOST_BARS = 60  # classes; --json has all


def write_data_page(audit: DataAudit, advice: Advice, out: Path) -> None:
    """Write the page of an audit of data to `out`: one HTML file without any outside resource or script.

    The page shows the pictures with backgrounds that speak most strongly against their label, with their boxes; these
    pictures are read again. The same audit gives the same bytes. Raises InputError when a picture cannot be read or the
    disk refuses.
    """
    import jinja2

    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(resources.files(__package__).joinpath("data_page.html").read_text("utf-8"))
    page = template.render(
        title=f"backgrounds of {audit.boxes.dataset.name}",
        word=audit.verdict.word,
        lead=lead(audit),
        evidence=audit.verdict.evidence,
        remarks=audit.remarks,
        chance=audit.figures.chance,
        bars=bars_of(audit),
        groups=group_rows(audit),
        values=() if audit.guess.made_of == NO_GROUPS else audit.guess.values,
        made_of=audit.guess.made_of,
        size=audit.boxes.size,
        is_telling=audit.is_telling,
        classes=shown_pictures(audit),
        advice=advice,
    )
    with written_beside(out) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))


def lead(audit: DataAudit) -> str:
    """Return the line below the title."""
    train, all_of_them = int(audit.is_train.sum()), len(audit.rows)
    return (f"{train:,} training and {all_of_them - train:,} held-out pictures · features of {audit.eyes} · boxes by"
            f" {audit.boxes.matte}")  # fmt: skip


def bars_of(audit: DataAudit) -> list[dict[str, Any]]:
    """Return the bars: all classes from the background and from the box alone, then each class with pictures."""
    figures = audit.figures
    own = [bar(name, figures.recall[c]) for c, name in enumerate(audit.class_names[:MOST_BARS]) if figures.counts[c]]
    of_all = bar("all classes, balanced", figures.background)
    return [of_all, bar("from place and size of the box alone", figures.control), *own]


def bar(name: str, estimate: Estimate) -> dict[str, Any]:
    """Return the template's values for a share: name, text, and the places of bar and interval, in percent."""
    value = estimate.value or 0.0
    low, high = (value if end is None else end for end in (estimate.low, estimate.high))
    return {
        "name": name, "text": in_percent(estimate), "width": round(100 * value, 2), "low": round(100 * low, 2),
        "span": round(100 * (high - low), 2),
    }  # fmt: skip


def group_rows(audit: DataAudit) -> list[tuple[str, list[int]]]:
    """Return the training pictures of each guessed group: (class, one number per value); empty without guesses."""
    if audit.guess.made_of == NO_GROUPS:
        return []
    return [(name, audit.group_counts[c].tolist()) for c, name in enumerate(audit.class_names)]


def shown_pictures(audit: DataAudit) -> list[dict[str, Any]]:
    """Return the classes with their pictures that have the strongest background against the label, strongest first.

    PER_CLASS pictures of each class, fewer if there are many classes.
    """
    against, found = audit.against, list[dict[str, Any]]()
    most, left = min(PER_CLASS, max(1, MOST_PICTURES // len(audit.class_names))), MOST_PICTURES
    for c, name in enumerate(audit.class_names):
        own = against[audit.label[against] == c]
        chosen = own[: min(most, left)].tolist()
        if chosen:
            found.append({"name": name, "count": len(own), "pictures": [entry(audit, i) for i in chosen]})
            left -= len(chosen)
    return found


def entry(audit: DataAudit, i: int) -> dict[str, Any]:
    """Return the template's values for one picture."""
    boxes, row = audit.boxes, int(audit.rows[i])
    image = np.ascontiguousarray(boxes.dataset.image(row, boxes.size, boxes.fit))
    return {
        "uri": data_uri(image),
        "box": boxes.box[row].tolist(),
        "name": audit.name(i),
        "like": audit.class_names[audit.likeness[i]],
        "share": f"{100 * audit.shares[i, audit.label[i]]:.1f} %",
        "nats": f"{audit.own[i]:+.2f}",
    }
