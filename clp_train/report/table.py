"""REPORT: one table a run, groups down, splits across."""

from __future__ import annotations

from rich.table import Table


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as text with one decimal, a dash for None."""
    return "-" if share is None else f"{100 * share:.1f} %"


def accuracy_table(result: dict) -> Table:
    """Lay out the metrics of a result: a row a group, then worst group and the two averages.

    result: what `runs.result_of` returns. The last epoch comes first, then the selected one where there is a val split.
    """
    selected = result["selected"]
    note = (
        "no val split: nothing selected, test at the last epoch only"
        if selected is None
        else f"selected = best val worst group (epoch {selected['epoch']}), never by test"
    )
    note = "; ".join([note, *remarks(result)])
    settings = result["config"]
    title = f"{settings['method']} on {result['dataset']}: {settings['model']}, seed {settings['seed']}"
    table = Table(title=title, caption=note, caption_justify="left")
    table.add_column("group" if result["has_groups"] else "class")
    table.add_column("train n", justify="right")
    columns = []
    for title, snapshot in ((f"last ({result['last']['epoch']})", result["last"]), ("selected", selected)):
        for split, metrics in (snapshot or {"metrics": {}})["metrics"].items():
            table.add_column(f"{split}, {title}", justify="right")
            columns.append(metrics)
    rows = zip(result["group_names"], result["train_group_counts"], strict=True)
    for g, (name, count) in enumerate(rows):
        cells = [f"{percent(m['per_group'][g])} ({m['group_counts'][g]})" for m in columns]
        table.add_row(name, str(count), *cells, end_section=g + 1 == len(result["group_names"]))
    total = sum(result["train_group_counts"])
    for title, key in (
        ("worst", "worst"),
        ("average (top-1)", "average"),
        ("average, weighted as in training", "weighted_average"),
    ):
        table.add_row(title, str(total) if key == "average" else "", *(percent(m[key]) for m in columns))
    return table


def remarks(result: dict) -> list[str]:
    """Return what has to be said beside the accuracies: how large eq. (6) was, and the best epoch by test."""
    found = []
    lines = [line for line in result["history"] if line.get("saliency_loss") is not None]
    if lines:
        share = sum(line["saliency_loss"] for line in lines) / max(sum(line["train_loss"] for line in lines), 1e-30)
        found.append(f"saliency of training pictures, with its weight: {share:.1e} of their cross entropy")
    best = result.get("best_on_test")
    if best is not None:
        test = best["metrics"]["test"]
        found.append(
            f"best on test: average {percent(test['average'])}, worst {percent(test['worst'])} (epoch {best['epoch']});"
            " chosen by test, so no honest figure"
        )
    return found
