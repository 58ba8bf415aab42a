"""Print a table of results as Markdown: mean and standard deviation over seeds on test, in percent.

    python -m experiments.common.show experiments/long_tail/results/cifar_lt.json [--groups]

--groups adds the mean accuracy of each group, or class, at the last epoch.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

COLUMNS = ("worst", "average", "weighted_average")


def spread(values: list[float]) -> str:
    """Return shares in [0, 1] as mean and standard deviation in percent."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{100 * statistics.mean(values):.1f} ± {100 * deviation:.1f}"


def main() -> None:
    """Print one row a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--groups", action="store_true")
    arguments = parser.parse_args()
    rows = json.loads(arguments.results.read_text())["rows"]
    head = [f"{name.replace('_', ' ')}, {when}" for when in ("last", "selected") for name in COLUMNS]
    head = ["", *head, "seeds", *(["groups, last"] if arguments.groups else [])]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for name, seeds in rows.items():
        cells = [spread([run[when]["test"][key] for run in seeds.values()])
                 for when in ("last", "selected") for key in COLUMNS]  # fmt: skip
        cells = [name, *cells, str(len(seeds))]
        if arguments.groups:
            groups = zip(*(run["last"]["test"]["per_group"] for run in seeds.values()), strict=True)
            cells.append(" / ".join(f"{100 * statistics.mean(values):.0f}" for values in groups))
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
