"""REPORT: one self-contained page of several runs of the same data, and the same as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clp_aug.common.files import written_beside
from clp_train.auditing.audit import Audit
from clp_train.auditing.audit import as_json as audit_as_json
from clp_train.report import compare_audits
from clp_train.report.compare_audits import Audits
from clp_train.report.compare_looks import Looks, sheet
from clp_train.report.compare_parts import (
    TONES,
    Row,
    curves,
    different_settings,
    groups,
    headline,
    headline_note,
    measures,
)
from clp_train.report.compare_pictures import Answers, agreement, answers_of, confusions, disagreements
from clp_train.report.compare_runs import Runs
from clp_train.report.template import rendered


class Compared(NamedTuple):
    """The content of a page of several runs. rows: its headline; answers: split -> predictions of all runs, or why
    there are none; looks: Grad-CAM; audits: None without an audit set.
    """

    runs: Runs
    rows: list[Row]
    answers: Mapping[str, Answers | str]
    looks: Looks
    audits: Audits | None

    @property
    def extra(self) -> list[tuple[str, list[str]]]:
        """Further columns of the headline: (title, one text per line)."""
        return [] if self.audits is None else compare_audits.columns(self.audits, self.rows)


def compared(runs: Runs, looks: Looks, audits: Audits | None) -> Compared:
    """Collect the content of a page. Raises InputError for a file that is not a table of predictions. Source: ours."""
    return Compared(runs, headline(runs), {split: answers_of(runs, split) for split in runs.splits}, looks, audits)


def write_compare_page(out: Path, found: Compared) -> None:
    """Write the page to `out`: one HTML file without any outside resource or script; the same runs, the same bytes.

    Raises InputError when the disk refuses.
    """
    page = rendered("compare.html", parts_of(found))
    with written_beside(Path(out)) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))  # a path may have bytes that are not text


def parts_of(found: Compared) -> dict[str, Any]:
    """Return the values of the template, by name."""
    runs = found.runs
    variants = f"{len(runs.variants)} variant" + ("s" if len(runs.variants) > 1 else "")
    return {
        "title": f"{len(runs.runs)} runs on {runs.first['dataset']}",
        "lead": f"{headline_note(runs)} · {variants} · data {runs.first['fingerprint'][:12]}",
        "variants": [(variant.name, v % TONES) for v, variant in enumerate(runs.variants)],
        "measures": [measure.title for measure in measures(runs.first)],
        "rows": found.rows,
        "extra": found.extra,
        "has_spread": any(len(row.members) > 1 for row in found.rows),
        "audits": None if found.audits is None else compare_audits.section(runs, found.audits),
        "groups": [groups(runs, split) for split in runs.splits],
        "panels": curves(runs),
        "splits": [of_split(runs, split, answers) for split, answers in found.answers.items()],
        "sheet": sheet(found.looks, runs.first["class_names"]),
        "looks": found.looks,
        "settings": different_settings(runs),
    }


def of_split(runs: Runs, split: str, answers: Answers | str) -> dict[str, Any]:
    """Return the page's values for single pictures of a split, or why there are none."""
    if isinstance(answers, str):
        return {"split": split, "why_not": answers}
    return {
        "split": split,
        "why_not": "",
        "confusions": confusions(runs, answers, split),
        "agreement": agreement(answers),
        "pairs": disagreements(runs, answers),
    }


def as_json(found: Compared) -> dict[str, Any]:
    """Return the comparison as plain JSON, without curves and pictures; shares are in [0, 1]."""
    runs = found.runs
    asked = measures(runs.first)
    audits = [None] * len(runs.runs) if found.audits is None else found.audits.by_run
    by_run = {row.members[0]: row for row in found.rows if len(row.members) == 1}
    return {
        "dataset": runs.first["dataset"],
        "fingerprint": runs.first["fingerprint"],
        "runs": [
            {
                "folder": str(run.folder),
                "name": run.name,
                "method": run.result["config"]["method"],
                "seed": run.seed,
                "model": run.result["config"]["model"],
                "epoch": run.snapshot["epoch"],
                "seconds": run.result["seconds"],
                "figures": [
                    {"title": each.title, "split": each.split, "value": value}
                    for each, value in zip(asked, by_run[i].values, strict=True)
                ],
                "audit": audit_as_json(audit) if isinstance(audit, Audit) else audit,
            }
            for i, (run, audit) in enumerate(zip(runs.runs, audits, strict=True))
        ],
        "variants": [{"name": each.name, "runs": [runs.runs[i].name for i in each.runs]} for each in runs.variants],
        "settings": dict(different_settings(runs)),
        "splits": {split: plain_split(runs, answers) for split, answers in found.answers.items()},
    }


def plain_split(runs: Runs, answers: Answers | str) -> dict[str, Any]:
    """Return how runs differ on single pictures as plain JSON."""
    if isinstance(answers, str):
        return {"why_not": answers}
    return {"agreement": agreement(answers), "pairs": disagreements(runs, answers)}
