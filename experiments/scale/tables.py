"""The tables of docs/explanation/scale.md, as lines of Markdown, from the recorded results alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from experiments.claims.tables import table
from experiments.scale.measure import MEASURED, NETS, SIZES
from experiments.scale.plan import EXACT, JOBS, MACHINES, ONE, PLAIN, ROWS, Plan
from experiments.scale.simulate import BLOCK, SIMULATED

DERIVED = "≈ "
"""The mark before a figure that was derived, not measured."""


@cache
def read(path: Path) -> Any:
    """Return what a JSON file of results holds."""
    return json.loads(path.read_text("utf-8"))


def stages() -> list[str]:
    """Return milliseconds and pictures per second of each stage of clp-augment and of LOAD, by size."""
    parts = read(MEASURED)["parts"]
    by_size = {size: {**parts[f"offline {size}"]["costs"], "LOAD": parts[f"load {size}"]["LOAD"]} for size in SIZES}
    lines = []
    for stage in by_size[SIZES[0]]:
        cells = [cell for size in SIZES for cell in both(by_size[size][stage]["ms"])]
        lines.append([stage, *cells])
    heads = [f"{size} px: {what}" for size in SIZES for what in ("ms per picture", "pictures per second")]
    wholes = [parts[f"offline {size}"] for size in SIZES]
    for name, key in (
        ("the whole: given, tile, random", None),
        ("the same, as the sum of its stages", "sum of its stages"),
    ):
        costs = [whole["whole"]["all"] if key is None else whole[key] for whole in wholes]
        lines.append([name, *(cell for ms in costs for cell in both(ms))])
    return table(["one core", *heads], lines)


def both(ms: float) -> list[str]:
    """Return milliseconds per picture and pictures per second."""
    return [digits(ms), digits(1000 / ms)]


def digits(value: float, most: int = 3) -> str:
    """Return a number with at most so many significant digits, without an exponent."""
    places = most - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, places):,.{max(0, places)}f}"


def steps() -> list[str]:
    """Return milliseconds per picture of features and of training steps, with ratios to the plain step."""
    parts, lines = read(MEASURED)["parts"], []
    for name in NETS:
        net = parts[f"training {name}"]
        plain = net["steps"][PLAIN]["ms"]
        features = digits(net["features"]["ms"]) if "features" in net else ""
        asked = digits(net["asked"][PLAIN]["flops a picture"] / 1e6)
        cells = []
        for row in ROWS:
            found = net["steps"].get(row)
            cells.append("" if found is None else f"{digits(found['ms'])} ({found['ms'] / plain:.1f})")
        size = "" if "parameters" not in net else f", {net['size']} px"
        lines.append([f"{name}{size}, batches of {net['batch']}", features, *cells, asked])
    return table(["one core, ms per picture (times plain)", "features", *ROWS, "plain, MFLOP per picture"], lines)


def jobs() -> list[str]:
    """Return what each job is."""
    lines = [
        [
            job.name,
            f"{job.train:,}",
            f"{job.held:,}",
            f"{job.size} px",
            f"{job.meta:,}",
            job.net,
            f"{job.batch}",
            f"{job.epochs}",
        ]
        for job in JOBS
    ]
    return table(["job", "training", "held out", "size", "meta originals", "network", "batch", "epochs"], lines)


def hours() -> list[str]:
    """Return the hours of each stage of each job on each machine."""
    lines = []
    for job in JOBS:
        plan = Plan(job, read(MEASURED))
        by_machine = [plan.hours(machine) for machine in MACHINES]
        lines.append([f"**{job.name}**", *[""] * len(MACHINES)])
        lines += [[stage, *in_hours([found[stage] for found in by_machine])] for stage in by_machine[0]]
        for name, what in ((f"whole, with {EXACT}", plan.whole), ("node hours of the whole", plan.node_hours)):
            lines.append([f"*{name}*", *in_hours([what(machine) for machine in MACHINES])])
    return table(["hours", *(machine.name for machine in MACHINES)], lines)


def in_hours(values: Sequence[float]) -> list[str]:
    """Return hours by machine; those of one core are measured, the others derived."""
    return [
        f"{'' if machine == ONE else DERIVED}{short(value)}" for machine, value in zip(MACHINES, values, strict=True)
    ]


def short(value: float) -> str:
    """Return hours with two digits, 0 where there are none."""
    return digits(value, 2) if value >= 0.001 else "0"


def sizes() -> list[str]:
    """Return the bytes of one picture, and those sent back for a block, by size."""
    found = [read(MEASURED)["parts"][f"offline {size}"]["bytes"] for size in SIZES]
    lines = [[name, *(f"{each[name]:,}" for each in found)] for name in found[0]]
    for job, block in BLOCK.items():
        lines.append(
            [f"sent back, {job}, a block of {block}", *(in_bytes(block * each[f"sent back, {job}"]) for each in found)]
        )
    return table(["bytes per picture", *(f"{size} px" for size in SIZES)], lines)


def volumes() -> list[str]:
    """Return the bytes of each job."""
    by_job = [Plan(job, read(MEASURED)).bytes() for job in JOBS]
    names = list(dict.fromkeys(name for found in by_job for name in found))
    lines = [[name, *(in_bytes(found[name]) if name in found else "" for found in by_job)] for name in sorted(names)]
    return table(["bytes", *(job.name for job in JOBS)], lines)


def in_bytes(value: float) -> str:
    """Return bytes in a suitable unit."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= size:
            return f"{short(value / size)} {unit}"
    return f"{short(value / 1e3)} kB"


def shares() -> list[str]:
    """Return for each job the share of each stage before training on one core, and the ratio of training to them."""
    lines = []
    for job in JOBS:
        plan = Plan(job, read(MEASURED))
        offline, run = plan.offline_hours(ONE), plan.run(ONE)
        whole = sum(offline.values())
        cells = [f"{hours / whole:.0%}" for hours in offline.values()]
        lines.append([job.name, *cells, f"{short(run / whole)}"])
    names = list(Plan(JOBS[0], read(MEASURED)).offline_hours(ONE))
    return table(
        ["share of clp-augment and LOAD, one core", *names, f"a run of {EXACT}, divided by the sum of these"], lines
    )


def simulated(job: str, name: str, head: str) -> list[str]:
    """Return one table of the simulation. head: what its rows are."""
    found = read(SIMULATED)["jobs"][job]
    lines = [[row, *cells_of(values)] for row, values in found["tables"][name].items()]
    return table([head, *CELLS], lines)


CELLS = (
    "seconds",
    "times the ideal",
    "nodes that died",
    "s of work lost per death",
    "blocks repeated per death",
    "GB waiting at the driver",
)


def cells_of(values: Mapping[str, Any]) -> list[str]:
    """Return a row of the simulation as text."""
    mean, spread = values["makespan"]
    numbers = (values["deaths"], values["lost a death"], values["blocks again a death"], values["gigabytes waiting"])
    return [
        f"{mean:,.1f} ± {spread:,.1f}",
        f"{values['over the ideal']:.2f}",
        *("" if v is None else f"{v:,g}" for v in numbers),
    ]


def assumed() -> list[str]:
    """Return what the simulation assumes, and what it takes from the measurements."""
    found, lines = read(SIMULATED)["jobs"], []
    for name, (what, scale) in ASSUMPTIONS.items():
        values = [job["cluster"][name] for job in found.values()]
        lines.append([what, *("none" if v is None else f"{round(v * scale, 3):,}" for v in values)])
    lines.append(["the ideal: work divided evenly, s", *(f"{job['ideal']:,.1f}" for job in found.values())])
    busy = [job["cluster"]["rate"] * job["cluster"]["seconds"] / job["cluster"]["size"] for job in found.values()]
    lines.append(["workers that the driver can write for, at most", *(short(workers) for workers in busy)])
    return table(["", *found], lines)


ASSUMPTIONS = {
    "pictures": ("pictures", 1), "workers": ("workers", 1), "per_node": ("workers on each node", 1),
    "block": ("pictures in a block", 1), "seconds": ("ms per picture (measured)", 1000),
    "spread": ("spread of a picture's time (measured)", 1), "size": ("bytes sent back per picture (measured)", 1),
    "rate": ("the driver writes, MB per second (measured, into memory)", 1e-6),
    "start": ("start of a worker, s (measured, without waits)", 1),
    "call": ("further cost of a block for the driver, ms", 1000),
    "slow": ("share of slow workers", 1), "times": ("how many times slower they are", 1),
    "deaths": ("deaths per node and hour", 1),
    "back": ("s until a new node is there", 1), "ahead": ("blocks that a worker holds", 1),
    "window": ("blocks sent and not yet written, per worker", 1),
}  # fmt: skip
