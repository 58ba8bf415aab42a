"""The tables of docs/explanation/peers.md, made again from benchmarks/results/peers_speed.json.

python -m benchmarks.peers_page            # writes them into the page
python -m benchmarks.peers_page --check    # says whether they are there
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from experiments.common import blocks
from experiments.common.blocks import Blocks

FOLDER = Path(__file__).parents[1]
PAGE, RESULTS = FOLDER / "docs" / "explanation" / "peers.md", FOLDER / "benchmarks" / "results" / "peers_speed.json"
MAKER = "benchmarks.peers_page"
PLAIN, OURS = "plain step, no meta step", "Bilevel, central"


def read() -> dict[str, Any]:
    """Return the recorded figures."""
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))
    return found


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a table."""
    titles = list(head)
    return [f"| {' | '.join(each)} |" for each in (titles, ["---"] * len(titles), *rows)]


def gradient() -> list[str]:
    """Return how far each row's first meta gradient is from that in float64."""
    points = read()["gradient"]["points"]
    names = list(next(iter(points.values())))
    head = ["", *(f"{title}: cosine, error" for title in points)]
    return table(head, ([name, *(pair(found[name]) for found in points.values())] for name in names))


def pair(found: dict[str, float]) -> str:
    """Return a cosine and a relative error as the text of a cell."""
    return f"{found['cosine']:.6f}, {found['error']:.1e}"


def speed(part: str = "speed") -> list[str]:
    """Return what a step takes in seconds, in plain steps, and in memory."""
    rows = read()[part]["rows"]
    plain, ours = rows[PLAIN], rows[OURS]
    cells = (
        [
            name, f"{median(row['seconds']):.2f}", f"{row['ratio']:.2f}",
            f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}", f"{over(row, ours):.2f}",
            f"{row['peak_megabytes']}", f"{row['peak_megabytes'] / plain['peak_megabytes']:.2f}",
        ]
        for name, row in rows.items()
    )  # fmt: skip
    head = ["", "seconds per step", "in plain steps", "rounds", f"in steps of {OURS}", "peak, MB", "over plain"]
    return table(head, cells)


def over(row: dict[str, Any], other: dict[str, Any]) -> float:
    """Return the median of the ratios of two rows' seconds, round by round."""
    return median(own / theirs for own, theirs in zip(row["seconds"], other["seconds"], strict=True))


def growth() -> list[str]:
    """Return what many steps add to memory and to a step's time."""
    rows = read()["growth"]["rows"]
    cells = (
        [name, f"{row['held_megabytes'][1]:.0f}", f"{row['held_megabytes'][-1]:.0f}",
         f"{row['memory grown, megabytes']:+.1f}", f"{row['time, second half over first']:.2f}"]
        for name, row in rows.items()
    )  # fmt: skip
    tenth = read()["growth"]["place"]["steps"] // 10
    head = ["", f"held after {2 * tenth} steps, MB", f"after {10 * tenth}", "growth", "time, second half over first"]
    return table(head, cells)


def versions() -> list[str]:
    """Return the versions that ran each row."""
    return table(
        ["", "versions"],
        (
            [name, ", ".join(f"{what} {which}" for what, which in row.items())]
            for name, row in read()["versions"].items()
        ),
    )


BLOCKS: Blocks = {
    "gradient": gradient,
    "speed": speed,
    "kept": partial(speed, "kept"),
    "growth": growth,
    "versions": versions,
}


def is_stale(page: Path = PAGE) -> bool:
    """Return whether a page has other figures than the results."""
    return blocks.is_stale(page, BLOCKS, MAKER)


def main() -> None:
    """Write the tables, or check them."""
    blocks.write_or_check(PAGE, BLOCKS, MAKER, __doc__)


if __name__ == "__main__":
    main()
