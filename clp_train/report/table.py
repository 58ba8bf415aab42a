"""REPORT: one table per run, with groups as rows and splits as columns."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from clp_aug.common.text import printable
from clp_aug.datasets.strata import SHOTS, shots_of
from clp_train.evaluating.raised_losses import RIGHT_UP, WRONG_UP
from clp_train.evaluating.selection import LAST, WORST_GROUP, title_of
from clp_train.methods import METHODS

Result = dict[str, Any]
"""The return value of `clp_train.result.result_of`, plain JSON."""
MOST_GROUPS = 30  # nobody reads more rows; result.json has them


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as text with one decimal, a dash for None."""
    return "-" if share is None else f"{100 * share:.1f} %"


def accuracy_table(result: Result) -> Table:
    """Lay out the metrics of a result: one row per group or stratum, then the worst of them and the two averages.

    result: as `result_of` returns it. The last epoch comes first, then the selected one if there is a val split. For a
    data set with protocols, test splits have their names, and the mean precision of the classes is a row too.
    """
    selected = result["selected"]
    part, note = "group" if result["has_groups"] else "class", selection_note(result)
    if len(result["group_names"]) > MOST_GROUPS:
        note += f"; {len(result['group_names'])} rows of single ones: result.json"
    note = "; ".join([note, *remarks(result)])
    settings = result["config"]
    title = f"{settings['method']} on {result['dataset']}: {settings['model']}, seed {settings['seed']}"
    table = Table(title=shown(title, "table.title"), caption=shown(note, "table.caption"), caption_justify="left")
    table.add_column(part)
    table.add_column("train n", justify="right")
    columns = []
    for title, snapshot in ((f"last ({result['last']['epoch']})", result["last"]), ("selected", selected)):
        for split, metrics in (snapshot or {"metrics": {}})["metrics"].items():
            table.add_column(shown(f"{split_title(split, result)}, {title}"), justify="right")
            columns.append(metrics)
    rows = part_rows(result, columns)
    for i, row in enumerate(rows):
        table.add_row(*map(shown, row), end_section=i + 1 == len(rows))
    total = sum(result["train_group_counts"])
    averages = [(worst_name(result), "worst"), ("average (top-1)", "average")]
    averages += [("mean precision", "precision")] if result.get("protocols") else []
    averages.append(("average, weighted as in training", "weighted_average"))
    averages += [row for row in more_rows(result) if any(m.get(row[1]) is not None for m in columns)]
    for title, key in averages:
        table.add_row(title, str(total) if key == "average" else "", *(percent(m.get(key)) for m in columns))
    return table


def more_rows(result: Result) -> list[tuple[str, str]]:
    """Return the title and the key of each measure below the averages; no two have the same numbers."""
    of_groups = [("worst class", "worst_class"), ("mean of groups", "group_mean")] if result["has_groups"] else []
    of_all = [("macro F1", "macro_f1"), ("AUROC", "auroc"), ("calibration error (ECE)", "ece")]
    return [*of_groups, ("mean of classes", "balanced"), *of_all]


def selection_note(result: Result) -> str:
    """Return which epoch is selected, by which measure, and what it used of val; old results mean the worst group."""
    selected = result["selected"]
    if selected is None:
        return "no val split: nothing selected, test at the last epoch only"
    way, has_groups = result.get("selected_by") or WORST_GROUP, result["has_groups"]
    if way == LAST:
        return f"selected = the last epoch ({selected['epoch']}), by nothing"
    knew = result.get("selection_knew")
    by = f", by {knew}" if knew else ""
    return f"selected = best val {title_of(way, has_groups)} (epoch {selected['epoch']}){by}, never by test"


def worst_name(result: Result) -> str:
    """Return the name of the worst accuracy: of the groups, or of the classes if groups are unknown."""
    return "worst" if result["has_groups"] else "worst class"


def shown(text: str, style: str = "") -> Text:
    """Return literal text for a table: names in it are not markup, and unprintable characters are replaced."""
    return Text(printable(text), style)


def split_title(split: str, result: Result) -> str:
    """Return the name of a split in a report, with its protocol if it has one."""
    protocol = result.get("protocols", {}).get(split)
    return f"{split} = {protocol}" if protocol else split


def part_rows(result: Result, columns: list[dict[str, Any]]) -> list[list[str]]:
    """Return one row of text per group, unless there are too many, and one per stratum. columns: metrics by column."""
    rows = []
    if len(result["group_names"]) <= MOST_GROUPS:
        for g, (name, count) in enumerate(zip(result["group_names"], result["train_group_counts"], strict=True)):
            rows.append(
                [name, str(count), *(f"{percent(m['per_group'][g])} ({m['group_counts'][g]})" for m in columns)]
            )
    strata = dict.fromkeys(name for m in columns for name in m.get("strata", {}))
    rows += shot_rows(result, columns) if not strata else []
    return rows + [[name, "", *(percent(m.get("strata", {}).get(name)) for m in columns)] for name in strata]


def shot_rows(result: Result, columns: list[dict[str, Any]]) -> list[list[str]]:
    """Return a row for classes with many, medium and few training pictures, if the protocol made a long tail.

    The groups of a result without groups are its classes. columns: metrics.
    """
    if result["has_groups"] or result.get("shard_settings", {}).get("imbalance") is None:
        return []
    counts, rows = result["train_group_counts"], []
    for stratum, name in enumerate(SHOTS):
        classes = [c for c, of_class in enumerate(shots_of(counts)) if of_class == stratum]
        if classes:
            total = sum(counts[c] for c in classes)
            rows.append([name, str(total), *(percent(accuracy_of(metrics, classes)) for metrics in columns)])
    return rows


def accuracy_of(metrics: dict[str, Any], classes: list[int]) -> float | None:
    """Return the accuracy on the pictures of some classes, None if a split has none of them."""
    pictures = sum(metrics["group_counts"][c] for c in classes)
    right = sum((metrics["per_group"][c] or 0) * metrics["group_counts"][c] for c in classes)
    return right / pictures if pictures else None


def remarks(result: Result) -> list[str]:
    """Return remarks besides the accuracies: what the method knew about noise, the size of eq. (6), the raised losses,
    the best epoch by test.
    """
    sentences = []
    entry = METHODS.get(result["config"]["method"])  # nothing is known about a plug-in here
    if entry is not None and "noise" in entry.needs:
        sentences.append("the method was told the share of wrong labels")
    lines = [line for line in result["history"] if line.get("saliency_loss") is not None]
    if lines:
        share = sum(line["saliency_loss"] for line in lines) / max(sum(line["train_loss"] for line in lines), 1e-30)
        sentences.append(f"saliency of training pictures, with its weight: {share:.1e} of their cross entropy")
    last = result["history"][-1] if result["history"] else {}
    if RIGHT_UP in last:
        sentences.append(
            f"in the last epoch the perturbation raised the losses of {percent(last[RIGHT_UP])} of the right labels,"
            f" {percent(last[WRONG_UP])} of the wrong ones"
        )
    best = result.get("best_on_test")
    if best is not None:
        test = next(m for split, m in best["metrics"].items() if split != "val")
        sentences.append(
            f"best on test: average {percent(test['average'])}, {worst_name(result)} {percent(test['worst'])}"
            f" (epoch {best['epoch']}); chosen by test, so not an honest figure"
        )
    return sentences
