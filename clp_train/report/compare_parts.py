"""REPORT: the figures of several runs side by side: headline, groups, curves, and the settings that differ."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.table import Table

from clp_aug.datasets.strata import SHOTS, shots_of
from clp_train.report.compare_runs import SEED, Runs, differing, settings_of
from clp_train.report.curves import PANELS, panel
from clp_train.report.page import plain
from clp_train.report.table import MOST_GROUPS, Result, accuracy_of, shown

TONES = 8  # colours of variants; more share them
DASH = "–"


class Measure(NamedTuple):
    """A figure of the headline. title: its name; split, key: its place in the metrics."""

    title: str
    split: str
    key: str


class Row(NamedTuple):
    """A line of the headline. values, texts: one per measure, in [0, 1] and as text; look: share of Grad-CAM in the
    box; members: indices of its runs; variant: index of its variant; nested: whether it is below the line of its
    variant.
    """

    name: str
    folder: str
    seed: str
    model: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]
    look: str
    epoch: str
    seconds: str
    members: tuple[int, ...]
    variant: int
    nested: bool

    @property
    def tone(self) -> int:
        """The colour of its variant, an index below TONES."""
        return self.variant % TONES


def measures(result: Result) -> list[Measure]:
    """Return the measures of the headline: averages of the first test split, or of all test splits with protocols."""
    metrics = (result["selected"] or result["last"])["metrics"]
    protocols = {split: name for split, name in result.get("protocols", {}).items() if split in metrics}
    if protocols:
        return [
            Measure(f"{name}, {title}", split, key)
            for split, name in protocols.items()
            for title, key in (("accuracy", "average"), ("mean precision", "precision"))
        ]
    split = next((name for name in metrics if name != "val"), "val")
    worst = "worst group" if result["has_groups"] else "worst class"
    titles = {"average": "average", "worst": worst, "weighted_average": "weighted average"}
    return [Measure(title, split, key) for key, title in titles.items()]


def headline(runs: Runs) -> list[Row]:
    """Return the headline: one line per variant, with mean and standard deviation for several runs, then its runs.

    Standard deviations are those of a sample, with n - 1. Source: ours.
    """
    asked = measures(runs.first)
    rows = []
    for v, variant in enumerate(runs.variants):
        members = [run_row(runs, i, asked, v, len(variant.runs) > 1) for i in variant.runs]
        if len(members) > 1:
            rows.append(summary_row(variant.name, members, [runs.runs[i].result for i in variant.runs]))
        rows += members
    return rows


def run_row(runs: Runs, i: int, asked: Sequence[Measure], variant: int, nested: bool) -> Row:
    """Return the line of one run."""
    run = runs.runs[i]
    metrics = run.snapshot["metrics"]
    values = tuple(metrics[each.split].get(each.key) for each in asked)
    return Row(
        run.name, str(run.folder), str(run.seed), str(run.result["config"]["model"]), values,
        tuple(spread([value]) for value in values), spread([looks_inside(run.result)]), str(run.snapshot["epoch"]),
        f"{run.result['seconds']:,.0f} s", (i,), variant, nested,
    )  # fmt: skip


def summary_row(name: str, members: Sequence[Row], results: Sequence[Result]) -> Row:
    """Return the line of a variant with several runs: means and standard deviations."""
    columns = list(zip(*(row.values for row in members), strict=True))
    seconds = statistics.fmean(result["seconds"] for result in results)
    return Row(
        f"{name}, {len(members)} runs", "", ", ".join(row.seed for row in members), members[0].model,
        tuple(mean(column) for column in columns), tuple(spread(column) for column in columns),
        spread([looks_inside(result) for result in results]), ", ".join(row.epoch for row in members),
        f"{seconds:,.0f} s", tuple(i for row in members for i in row.members), members[0].variant, False,
    )  # fmt: skip


def looks_inside(result: Result) -> float | None:
    """Return the mean share of Grad-CAM in the boxes of the meta originals, in [0, 1], as the run recorded it."""
    found: float | None = (result.get("attention") or {}).get("inside")
    return found


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the known values, None if there are none."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def spread(values: Sequence[float | None]) -> str:
    """Return shares as text: "71.2 %" for one, "71.2 ± 1.3 %" for several, a dash for none."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return DASH
    deviation = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.1f}{deviation} %"


def headline_note(runs: Runs) -> str:
    """Return one sentence about the pictures and the epoch of the headline."""
    split = measures(runs.first)[0].split
    selected = sum(run.result["selected"] is not None for run in runs.runs)
    where = "" if len({each.split for each in measures(runs.first)}) > 1 else f"{split}, "
    if selected == len(runs.runs):
        return f"{where}at the selected epoch, the best on val, never by test"
    return f"{where}at the last epoch" if not selected else f"{where}at the selected epoch, or the last without one"


def headline_table(runs: Runs, rows: Sequence[Row], extra: Sequence[tuple[str, Sequence[str]]] = ()) -> Table:
    """Lay out the headline for a terminal; if all runs have the same model, it is in the title.

    extra: further columns, each with a title and one text per line.
    """
    models = dict.fromkeys(row.model for row in rows)
    of_model = f", {next(iter(models))}" if len(models) == 1 else ""
    title = shown(f"{len(runs.runs)} runs on {runs.first['dataset']}{of_model}", "table.title")
    table = Table(title=title, caption=shown(headline_note(runs), "table.caption"), caption_justify="left")
    columns = [("run", [f"  {row.name}" if row.nested else row.name for row in rows]), ("seed", [r.seed for r in rows])]
    columns += [] if of_model else [("model", [row.model for row in rows])]
    columns += [(each.title, [row.texts[m] for row in rows]) for m, each in enumerate(measures(runs.first))]
    columns += [("map in box", [row.look for row in rows]), *((name, list(texts)) for name, texts in extra)]
    columns += [("epoch", [row.epoch for row in rows]), ("time", [row.seconds for row in rows])]
    for name, _ in columns:
        table.add_column(shown(name), justify="left" if name in ("run", "model") else "right")
    for i, cells in enumerate(zip(*(texts for _, texts in columns), strict=True)):
        ends = i + 1 == len(rows) or rows[i + 1].variant != rows[i].variant
        table.add_row(*map(shown, cells), end_section=ends)
    return table


def groups(runs: Runs, split: str) -> dict[str, Any]:
    """Return accuracies on the parts of a split side by side: lines (name, pictures, [(text, [(share, run)])]).

    Parts are groups, or classes if groups are unknown; if there are many, only strata and the parts of a long tail.
    """
    metrics = [run.snapshot["metrics"][split] for run in runs.runs]
    names = runs.first["group_names"]
    lines: list[tuple[str, str, list[float | None]]] = []
    if len(names) <= MOST_GROUPS:
        for g, name in enumerate(names):
            lines.append((name, str(metrics[0]["group_counts"][g]), [m["per_group"][g] for m in metrics]))
    strata = dict.fromkeys(name for m in metrics for name in m.get("strata", {}))
    lines += [(name, "", [m.get("strata", {}).get(name) for m in metrics]) for name in strata]
    lines += [] if strata else shots(runs, metrics)
    note = f"{len(names)} rows of single ones: result.json" if len(names) > MOST_GROUPS else ""
    rows = [
        (name, pictures, [side(runs, v, values) for v in range(len(runs.variants))]) for name, pictures, values in lines
    ]
    return {"split": split, "rows": rows, "note": note, "what": "group" if runs.first["has_groups"] else "class"}


def side(runs: Runs, v: int, values: Sequence[float | None]) -> dict[str, Any]:
    """Return a cell of a variant: its text, and a dot for each of its runs. values: one per run, of all runs."""
    members = runs.variants[v].runs
    dots = [
        (round(100 * share, 1), f"{runs.runs[i].name}: {spread([share])}")
        for i in members
        for share in [values[i]]
        if share is not None
    ]
    return {"text": spread([values[i] for i in members]), "dots": dots, "tone": v % TONES}


def shots(runs: Runs, metrics: Sequence[dict[str, Any]]) -> list[tuple[str, str, list[float | None]]]:
    """Return lines for classes with many, medium and few training pictures, if the shard has a long tail."""
    result = runs.first
    if result["has_groups"] or result["shard_settings"].get("imbalance") is None:
        return []
    of_class, lines = shots_of(result["train_group_counts"]), []
    for stratum, name in enumerate(SHOTS):
        classes = [c for c, shot in enumerate(of_class) if shot == stratum]
        if classes:
            lines.append((name, "", [accuracy_of(m, classes) for m in metrics]))
    return lines


def curves(runs: Runs) -> list[dict[str, Any]]:
    """Return the panels of `report.curves` with one curve per run; each curve of a run's page gets its own panel."""
    epochs = max(len(run.result["history"]) for run in runs.runs)
    plots = []
    for title, series, share in PANELS:
        for name, key in series:
            values = [points_of(run.result, key) for run in runs.runs]
            drawn = [i for i, points in enumerate(values) if points]
            if drawn:
                full = title if len(series) == 1 else f"{title}: {name}"
                plot = panel(full, {runs.runs[i].name: values[i] for i in drawn}, share, epochs, None)
                plot["series"] = [marked(runs, i, values[i], s) for i, s in zip(drawn, plot["series"], strict=True)]
                plots.append(plot | {"rings": any(each["chosen"] for each in plot["series"])})
    return plots


def points_of(result: Result, key: str) -> list[tuple[int, float]]:
    """Return (epoch, value) for the lines of a history that have a value."""
    return [(line["epoch"], line[key]) for line in result["history"] if line.get(key) is not None]


def marked(runs: Runs, i: int, values: Sequence[tuple[int, float]], series: dict[str, Any]) -> dict[str, Any]:
    """Return the curve of a run in its variant's colour, with the point of its selected epoch, None without one."""
    epoch = (runs.runs[i].result["selected"] or {}).get("epoch")
    points = [point for (at, _), point in zip(values, series["points"], strict=True) if at == epoch]
    return series | {"tone": runs.variant_of(i) % TONES, "chosen": points[0] if points else None}


def different_settings(runs: Runs) -> list[tuple[str, list[str]]]:
    """Return the settings that differ between runs: (name, [value of each variant]), without seeds."""
    every = [settings_of(run.result) for run in runs.runs]
    rows = []
    for name in differing(every):
        if name != SEED:
            cells = [dict.fromkeys(plain(every[i].get(name)) for i in variant.runs) for variant in runs.variants]
            rows.append((name, ["; ".join(cell) for cell in cells]))
    return rows
