"""1.28 million pictures on 1,000 workers, simulated; docs/explanation/scale.md is made of it.

    python -m experiments.scale.simulate        # writes experiments/scale/results/simulated.json

Two jobs, with the costs that `experiments.scale.measure` measured at 224 px: boxes (READ, MATTE by hatt, BOX; what
comes back is a box) and copies (READ, INFILL by cagan and random; three pictures come back for one). Everything else
is an assumption, and written beside the figures. 20 seeds each: mean and standard deviation.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from clp_aug.common.files import written_beside
from clp_aug.contract.seeds import rng_for
from experiments.scale.cluster import Cluster, simulate
from experiments.scale.measure import MEASURED

SIMULATED = Path(__file__).parent / "results" / "simulated.json"
PICTURES, SEEDS = 1_281_167, 20
STAGES = {"boxes": ("READ", "DIGEST", "MATTE hatt", "BOX"), "copies": ("READ", "INFILL cagan", "INFILL random")}
BLOCK = {"boxes": 32, "copies": 16}  # pictures, as clp-augment has them on a cluster
SPREAD = {"boxes": "MATTE hatt", "copies": "INFILL cagan"}
ASSUMED: dict[str, Any] = {"slow": 0.02, "times": 4.0, "deaths": 0.05, "back": 120.0, "call": 0.001}
"""Of a cluster: one worker in 50 four times as slow, a node dies once in 20 hours, another one comes after two
minutes, a block costs the driver a millisecond."""
SLOTS, WINDOW = 1, 8  # blocks that a worker has, and that may wait to be written, as the engine ray has it
CALM: dict[str, Any] = {"slow": 0.0, "deaths": 0.0, "spread": 0.0}
BLOCKS = (16, 32, 64, 256, 1024)
DEATHS = (0.0, 0.05, 1.0, 10.0)  # of a node, an hour
RATES = (1e8, 3e8, 1e9, 3e9, 1e10, math.inf)  # bytes a second
BOUNDS = ((1, 1), (1, 3), (1, 8), (2, 2), (2, 3), (2, 8), (4, 8), (8, 8))  # slots, window
SLOW = (0.0, 0.001, 0.02, 0.1)  # of the workers


def base(job: str, measured: Mapping[str, Any]) -> Cluster:
    """Return a job as clp-augment does it, on 1,000 workers. measured: what `experiments.scale.measure` wrote."""
    found = measured["parts"]["offline 224"]
    costs, sizes = found["costs"], found["bytes"]
    written = sizes["sent back, copies"] + sizes["sent back, matte"]
    return Cluster(
        pictures=PICTURES, block=BLOCK[job], seconds=sum(costs[stage]["ms"] for stage in STAGES[job]) / 1000,
        spread=found["spread of a picture"][SPREAD[job]], start=measured["parts"]["start of a worker"]["seconds"],
        size=sizes[f"sent back, {job}"], rate=round(written / costs["SHARD fill"]["ms"] * 1000), ahead=SLOTS,
        window=WINDOW, **ASSUMED,
    )  # fmt: skip


def variants(job: str, cluster: Cluster) -> dict[str, dict[str, Cluster]]:
    """Return what is compared, table -> row -> a cluster."""
    found = {
        "base": {
            "nothing in its way": replace(cluster, **CALM, rate=math.inf, call=0.0),
            "slow workers": replace(cluster, deaths=0.0, rate=math.inf, call=0.0),
            "slow workers, dying nodes": replace(cluster, rate=math.inf, call=0.0),
            "slow workers, dying nodes, a driver that writes": cluster,
            "the same, written in any order": replace(cluster, ordered=False),
            "in order, 256 a block, 2 a worker, a window of 3": replace(cluster, block=256, ahead=2, window=3),
        },
        "block": {str(block): replace(cluster, block=block) for block in BLOCKS},
        "bound": {f"{slots}, {window}": replace(cluster, ahead=slots, window=window) for slots, window in BOUNDS}
        | {
            f"{slots}, {slots}, any order": replace(cluster, ahead=slots, window=slots, ordered=False)
            for slots in (1, 2, 4)
        },
        "deaths": {f"{rate:g}": replace(cluster, deaths=rate) for rate in DEATHS},
    }
    if job == "copies":
        found["rate"] = {f"{rate / 1e9:g}": replace(cluster, rate=rate) for rate in RATES}
    else:
        found["slow"] = {f"{share:.1%}": replace(cluster, slow=share) for share in SLOW}
    return found


def row_of(cluster: Cluster, seeds: int = SEEDS) -> dict[str, Any]:
    """Return how a job goes over some seeds: mean and standard deviation of what is seen."""
    runs = [simulate(cluster, rng_for(seed, 0, "scale/cluster")) for seed in range(seeds)]
    deaths = sum(run.deaths for run in runs)
    return {
        "makespan": spread_of([run.makespan for run in runs]),
        "over the ideal": round(statistics.fmean(run.makespan for run in runs) / cluster.ideal, 2),
        "deaths": round(deaths / seeds, 2),
        "lost a death": round(sum(run.lost for run in runs) / deaths, 1) if deaths else None,
        "blocks again a death": round(sum(run.again for run in runs) / deaths, 1) if deaths else None,
        "gigabytes waiting": round(max(run.waiting for run in runs) * cluster.block * cluster.size / 1e9, 1),
    }


def spread_of(values: list[float]) -> list[float]:
    """Return mean and standard deviation."""
    return [round(statistics.fmean(values), 2), round(statistics.stdev(values), 2)]


def as_json(cluster: Cluster) -> dict[str, Any]:
    """Return a cluster for JSON, which has no infinity."""
    return {name: None if value == math.inf else value for name, value in asdict(cluster).items()}


def main() -> None:
    """Simulate all, and store it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SIMULATED)
    out = parser.parse_args().out
    measured = json.loads(MEASURED.read_text())
    jobs: dict[str, Any] = {}
    for job in STAGES:
        cluster = base(job, measured)
        tables = {
            table: {name: row_of(one) for name, one in rows.items()} for table, rows in variants(job, cluster).items()
        }
        jobs[job] = {"cluster": as_json(cluster), "ideal": round(cluster.ideal, 2), "tables": tables}
    with written_beside(out) as temporary:
        temporary.write_text(json.dumps({"seeds": SEEDS, "jobs": jobs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
