"""The tables of docs/explanation/scale.md, made again from the recorded results.

python -m experiments.scale.page            # writes them into the page
python -m experiments.scale.page --check    # says whether they are there
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from experiments.common import blocks
from experiments.common.blocks import Blocks
from experiments.scale import tables
from experiments.scale.simulate import BLOCK

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "scale.md"
MAKER = "experiments.scale.page"
ROWS = {"base": "1,000 workers", "block": "pictures in a block", "bound": "blocks of a worker, and in the window",
        "deaths": "deaths per node and hour"}  # fmt: skip
BLOCKS: Blocks = {
    "stages": tables.stages, "steps": tables.steps, "jobs": tables.jobs, "hours": tables.hours,
    "sizes": tables.sizes, "volumes": tables.volumes, "shares": tables.shares, "assumed": tables.assumed,
    **{f"{job}_{name}": partial(tables.simulated, job, name, head) for job in BLOCK for name, head in ROWS.items()},
    "boxes_slow": partial(tables.simulated, "boxes", "slow", "slow workers"),
    "copies_rate": partial(tables.simulated, "copies", "rate", "the driver writes, GB per second"),
}  # fmt: skip


def is_stale(page: Path = PAGE) -> bool:
    """Return whether a page has other figures than the results."""
    return blocks.is_stale(page, BLOCKS, MAKER)


def main() -> None:
    """Write the tables, or check them."""
    blocks.write_or_check(PAGE, BLOCKS, MAKER, __doc__)


if __name__ == "__main__":
    main()
