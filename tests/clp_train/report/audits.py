"""Made audits for the tests of their page: answers of a model of known reliance, and pictures that tell their row."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from clp_train.auditing.audit import Audit
from clp_train.auditing.classes import ClassMap
from clp_train.auditing.figures import compare, measure
from clp_train.auditing.verdict import verdict_of
from clp_train.report.audit_page import write_audit_page
from tests.clp_train.auditing.made import FIRST_DONOR, made_audit

DONORS = 5
LOOKED = {"inside": 0.625, "pointing": 0.7, "area": 0.25, "maps": 30, "zero": 1, "no_map": None}

HOSTILE = (
    "<script>document.body.dataset.hacked = 1</script>",
    "'\"><img src=x onerror=alert(1)>",
    "קטב\u202e חתול",
    "x" * 5000,
)


class Shelf:
    """What a page asks of the reader of a shard: every row is a picture of one colour of its own."""

    def __init__(self, rows: int, classes: int, side: int = 8) -> None:
        self.path, self.shape = Path("somewhere/made.h5"), (rows, side, side, 3)
        self.header = SimpleNamespace(dataset="made", tool_version="1.2.3")
        donors = classes * DONORS
        self.tables = {
            "train/sample_id": FIRST_DONOR + np.arange(donors),
            "train/label": np.repeat(np.arange(classes), DONORS),
        }

    def image(self, i: int) -> np.ndarray:
        return np.full(self.shape[1:], (i % 256, i // 256, 77), np.uint8)


def row_of(pixel: np.ndarray) -> int:
    """Return which row of a Shelf a pixel is of."""
    return int(pixel[0]) + 256 * int(pixel[1])


def made(pictures=40, classes=2, draws=3, reliance=0.8, names=None, groups=True, seed=0, **change) -> Audit:
    """Return an audit of a made model. names: of its classes; change: fields of the AuditSet to set."""
    rng = np.random.default_rng(seed)
    audit_set, answers = made_audit(
        pictures, classes, draws, reliance=reliance, accuracy=0.9, rng=rng, groups=groups, donors=DONORS
    )
    change = ({"class_names": tuple(names)} if names else {}) | change
    return audited(dataclasses.replace(audit_set, **change), answers)


def audited(audit_set, answers, name="runs/erm") -> Audit:
    """Return the audit of these answers."""
    known = np.ones(len(audit_set.class_names), bool)
    figures = measure(audit_set, answers, known, resamples=100)
    return Audit(
        subject_name=name,
        subject_kind="run",
        remarks=("pictures are resized to 160 pixels",),
        audit_set=audit_set,
        class_map=ClassMap(np.arange(len(known)), known),
        answers=answers,
        figures=figures,
        verdict=verdict_of(figures, audit_set),
        attention=LOOKED,
        fitted=0.875,
    )


def twice(first: Audit, reliance: float, seed: int = 1, name: str = "runs/clp") -> Audit:
    """Return the audit of another made model on the audit set of the first."""
    audit_set = first.audit_set
    again, answers = made_audit(
        len(audit_set), len(audit_set.class_names), audit_set.settings["draws"], reliance=reliance, accuracy=0.9,
        rng=np.random.default_rng(seed), groups=bool(audit_set.group_names), donors=DONORS,
    )  # fmt: skip
    assert again.rows.keys() == audit_set.rows.keys()
    return audited(audit_set, answers, name)


def shelf_of(audit: Audit, side: int = 8) -> Shelf:
    """Return pictures for an audit."""
    return Shelf(len(audit.answers.predicted), len(audit.audit_set.class_names), side)


class Page(HTMLParser):
    """What the tests look at: strips in order, pictures, forms, the script, all text."""

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.strips, self.images, self.options, self.said = html, [], [], [], {}, []
        self.body, self.form, self.text, self.script, self.select, self.within = {}, {}, "", "", "", ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.within = tag
        if tag in ("body", "form"):
            setattr(self, tag, attributes)
        elif tag == "article":
            self.strips.append(attributes)
        elif tag == "img":
            self.images.append(attributes)
        elif tag == "select":
            self.select = attributes["name"]
        elif tag == "option":
            self.options.setdefault(self.select, []).append(attributes["value"])
        elif tag == "span" and "said" in attributes.get("class", ""):
            self.said.append(attributes["class"].split()[1])

    def handle_data(self, data):
        if self.within == "script":
            self.script += data
        elif self.within != "style":
            self.text += f"{data} "

    def handle_endtag(self, tag):
        self.within = ""

    def words(self):
        """Return all text with one blank between words."""
        return " ".join(self.text.split())

    def places(self):
        """Return the static places of the strips that are not hidden, in the order of the page."""
        return [int(strip["data-place"]) for strip in self.strips if "hidden" not in strip]


def page_of(folder: Path, *audits: Audit, rows: int = 60, side: int = 8) -> Page:
    """Write the page of one audit or two into a folder, return it read. side: of its pictures, in pixels."""
    first, both = audits[0], None
    if len(audits) > 1:
        answers = (audit.answers for audit in audits)
        both = compare(first.audit_set, *answers, first.class_map.known, resamples=100)
    write_audit_page(folder / "page.html", audits, shelf_of(first, side), both, rows)
    return Page((folder / "page.html").read_text("utf-8"))
