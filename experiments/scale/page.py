"""The tables of docs/scale.md, made anew of the recorded results.

python -m experiments.scale.page            # writes them into the page
python -m experiments.scale.page --check    # says whether they are there
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from clp_aug.common.files import written_beside
from experiments.common.blocks import Blocks, with_blocks
from experiments.scale import tables
from experiments.scale.simulate import BLOCK

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
MAKER = "experiments.scale"
ROWS = {"base": "1,000 workers", "block": "pictures a block", "bound": "blocks a worker has, and in the window",
        "deaths": "deaths a node, hour"}  # fmt: skip
BLOCKS: Blocks = {
    "stages": tables.stages, "steps": tables.steps, "jobs": tables.jobs, "hours": tables.hours,
    "sizes": tables.sizes, "volumes": tables.volumes, "shares": tables.shares, "assumed": tables.assumed,
    **{f"{job}_{name}": partial(tables.simulated, job, name, head) for job in BLOCK for name, head in ROWS.items()},
    "boxes_slow": partial(tables.simulated, "boxes", "slow", "slow workers"),
    "copies_rate": partial(tables.simulated, "copies", "rate", "the driver writes, GB a second"),
}  # fmt: skip


def is_stale(page: Path = PAGE) -> bool:
    """Tell whether a page has other figures than the results."""
    text = page.read_text("utf-8")
    return with_blocks(text, BLOCKS, MAKER) != text


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Change nothing; exit code 1 where the page has others.")
    arguments = parser.parse_args()
    if not is_stale():
        return
    if arguments.check:
        sys.exit(f"{PAGE.name}: other figures than the results; python -m experiments.scale.page writes them")
    text = with_blocks(PAGE.read_text("utf-8"), BLOCKS, MAKER)
    with written_beside(PAGE) as temporary:
        temporary.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
