"""REPORT: the audit of several runs on one audit set, side by side: accuracy by view, background gaps, verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.errors import ClpError
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.audit import Audit, audit
from clp_train.auditing.classes import match_classes
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.figures import Comparison, compare
from clp_train.auditing.subject import open_subject
from clp_train.auditing.views import read_audit_set
from clp_train.auditing.words import interval_of, percent, points
from clp_train.report.compare_parts import DASH, Row
from clp_train.report.compare_runs import Runs


class Audits(NamedTuple):
    """The audits of the runs, in their order. reader: the audit set; by_run: an audit, or why there is none;
    differences: the gap of each run minus that of the first run with an audit; None for that run and without an audit.
    """

    reader: ShardReader
    by_run: tuple[Audit | str, ...]
    differences: tuple[Comparison | None, ...]

    @property
    def done(self) -> list[Audit]:
        """The audits of runs that have one."""
        return [each for each in self.by_run if isinstance(each, Audit)]


def audits_of(runs: Runs, shard: Path, device: str, watch: Watch = unwatched) -> Audits:
    """Audit every run on a shard. Raises InputError for a shard that is no audit set; failures of a run are kept."""
    reader = audit_reader(shard)
    found = tuple(audit_of(run.folder, reader, device, watch) for run in runs.runs)
    first = next((each for each in found if isinstance(each, Audit)), None)
    return Audits(reader, found, tuple(difference(first, each) for each in found))


def audit_reader(shard: Path) -> ShardReader:
    """Return the reader of an audit set. Raises InputError for any other shard."""
    reader = ShardReader(shard)
    read_audit_set(reader)
    return reader


def audit_of(folder: Path, reader: ShardReader, device: str, watch: Watch) -> Audit | str:
    """Return the audit of one run, or why there is none."""
    try:
        subject = open_subject(str(folder), classes=None, size=reader.shape[1], device=device)
        class_map = match_classes(subject.class_names, reader.header.class_names)
        return audit(reader, subject, class_map, maps=False, watch=watch)
    except ClpError as error:
        return str(error)


def difference(first: Audit | None, other: Audit | str) -> Comparison | None:
    """Return how an audit differs from the first one, on the classes that both have."""
    if first is None or isinstance(other, str) or other is first:
        return None
    known = first.class_map.known & other.class_map.known
    return compare(first.audit_set, first.answers, other.answers, known)


def columns(audits: Audits, rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """Return the columns of the headline for audits, (title, one text per line): gaps in points, and verdicts.

    A line of several runs has their mean gap with the standard deviation of a sample, and every verdict that occurs.
    """
    gaps, words = [], []
    for row in rows:
        some = [each for each in (audits.by_run[i] for i in row.members) if isinstance(each, Audit)]
        values = [each.figures.gap.value for each in some if each.figures.gap.value is not None]
        deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
        gaps.append(points(statistics.fmean(values)) + deviation if values else DASH)
        words.append(", ".join(dict.fromkeys(each.verdict.word for each in some)) or DASH)
    return [("background gap, points", gaps), ("reliance", words)]


def section(runs: Runs, audits: Audits) -> dict[str, Any]:
    """Return the page's values for audits: a description, one line per figure with one cell per run, and remarks."""
    done = [(run, each) for run, each in zip(runs.runs, audits.by_run, strict=True) if isinstance(each, Audit)]
    views = list(done[0][1].figures.by_view) if done else []
    lines = [("reliance on backgrounds", [(each.verdict.word, "") for _, each in done])]
    lines.append(("background gap, points", [estimate(each.figures.gap, True) for _, each in done]))
    if done:
        first = done[0][0].name
        rows = zip(runs.runs, audits.by_run, audits.differences, strict=True)
        minus = [(DASH, "") if d is None else estimate(d.gap, True) for _, each, d in rows if isinstance(each, Audit)]
        lines.append((f"gap minus that of {first}, points", minus))
    lines += [(view, [estimate(each.figures.by_view[view], False) for _, each in done]) for view in views]
    lines.append(("answers that change with the background", [estimate(a.figures.flips, False) for _, a in done]))
    return {
        "what": what(audits),
        "runs": [run.name for run, _ in done],
        "lines": lines if done else [],
        "evidence": [(run.name, each.verdict.word, list(each.verdict.evidence)) for run, each in done],
        "remarks": [f"{run.name}: {each}" for run, each in zip(runs.runs, audits.by_run, strict=True)
                    if isinstance(each, str)],
    }  # fmt: skip


def estimate(figure: Estimate, is_difference: bool) -> tuple[str, str]:
    """Return an Estimate as text, and its interval as text."""
    return (points if is_difference else percent)(figure.value), interval_of(figure).strip()


def what(audits: Audits) -> str:
    """Return one sentence about the audited pictures and the source of their backgrounds."""
    header = audits.reader.header
    settings = header.settings["audit"]
    return (
        f"{audits.reader.path.name}: pictures of the split {settings['split']} of {header.dataset}, backgrounds of the"
        f" split {settings['backgrounds']}; 95 % intervals in brackets"
    )
