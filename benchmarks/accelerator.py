"""What do the networks of the paper cost on this machine's accelerator? One command, results as JSON.

    python benchmarks/accelerator.py [--minutes 8] [--device auto] [--out results/accelerator/NAME.json] [--dry-run]

It goes through a list, the most important first, writes what it has after each entry, and stops in time; what was not
reached is named. Pictures are made up, no data are needed. --dry-run goes through all of it on the CPU, with networks
and pictures so small that its figures mean nothing.

Entries: steps of each network in each precision (seconds of the plain step; exact, lagged and full CLP steps and the
textbook's double backward as ratios to it, peak memory, and the share of time that the device waits); steps fed from
each place where pictures may live; transforms, evaluation and LOAD in pictures a second; and two experiments, each in
a process of its own, which may fail and then say why: torch.compile, and a step as one graph of the device.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from accelerator_pictures import Scale, evaluation, fed, load, transforms
from accelerator_steps import PLAIN, PRECISIONS, ROWS, Network, experiment_of, first_line, measure_steps, place_of

from clp_aug.nets.devices import describe, name_of
from clp_train.run_settings import RunSettings
from clp_train.running.place import find_place

NETWORKS = {
    "resnet32": Network("resnet32", 32, 100),
    "resnet50": Network("torchvision:resnet50", 224, 64),
    "resnext50": Network("torchvision:resnext50_32x4d", 224, 64),
    "wrn-28-10": Network("wrn-28-10", 32, 100),
}
TINY = {
    "resnet32": Network("resnet32", 16, 3),
    "resnet50": Network("torchvision:resnet50", 64, 2),
    "resnext50": Network("torchvision:resnext50_32x4d", 64, 2),
    "wrn-28-10": Network("wrn-28-10", 8, 2),
}
GRACE = 5  # seconds after the time is over


FULL = Scale(NETWORKS, 10.0, 3, 4000, 2000, NETWORKS["resnet32"])
DRY = Scale(TINY, 0.0, 1, 12, 6, Network("resnet8", 8, 2))


@dataclass(frozen=True)
class Entry:
    """One entry of the list. least: seconds that must be left for it; run: seconds that are left -> figures."""

    name: str
    least: float
    run: Callable[[float], dict[str, Any]]


def entries_of(scale: Scale, device: torch.device, dry_run: bool) -> Iterator[Entry]:
    """Yield what is measured, the most important first."""
    order = ["resnet32", "resnet50"]
    for names in (order, [name for name in scale.networks if name not in order]):
        for precision in PRECISIONS:
            for name in names:
                run = partial(steps, scale, scale.networks[name], device, precision)
                yield Entry(f"steps of {name}, {precision}", 15, run)
    for name in order:
        for store in ("device", "memory"):
            yield Entry(
                f"steps of {name} fed from {store}", 10, partial(fed, scale, scale.networks[name], device, store)
            )
    for name in order:
        yield Entry(f"transforms for {name}", 5, partial(transforms, scale, scale.networks[name], device))
        yield Entry(f"evaluation of {name}", 5, partial(evaluation, scale, scale.networks[name], device))
    yield Entry("LOAD at 224 pixels", 20, partial(load, scale))
    for experiment in ("graph", "compile"):
        for row in (PLAIN, "full CLP"):
            run = partial(in_a_process, experiment, row, device, dry_run)
            yield Entry(f"{experiment}: {row} step of {scale.child.model}", 40, run)


def steps(scale: Scale, network: Network, device: torch.device, precision: str, left: float) -> dict[str, Any]:
    """Measure every row of a network in a precision."""
    place = place_of(device, precision)
    if place is None:
        return {"skipped": f"{device} does not have {precision}"}
    with place.active():
        rows = measure_steps(network, place, tuple(ROWS), min(scale.seconds, left / 3), scale.least)
    return {"pictures": network.pictures, "side": network.side, "rows": rows}


def in_a_process(experiment: str, row: str, device: torch.device, dry_run: bool, left: float) -> dict[str, Any]:
    """Return what an experiment finds in a process of its own, which may hang or die."""
    command = [sys.executable, __file__, "--experiment", experiment, "--row", row, "--device", str(device)]
    command += ["--dry-run"] if dry_run else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, left - GRACE))
    except subprocess.TimeoutExpired:
        return {"failed": f"it was not done in {left - GRACE:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    said = done.stderr.strip().splitlines()
    return {"failed": f"exit code {done.returncode}: {said[-1][:300] if said else 'it printed nothing'}"}


def write(path: Path, result: dict[str, Any]) -> None:
    """Write the result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(beside, path)


def stop_at(end: float, path: Path) -> None:
    """End this process a little after a moment, whatever it is doing: what was measured is on disk."""

    def stop() -> None:
        print(f"time is over; what was measured is in {path}", flush=True)
        os._exit(0)

    timer = threading.Timer(max(0.0, end + GRACE - time.monotonic()), stop)
    timer.daemon = True
    timer.start()


def about(device: torch.device, dry_run: bool, minutes: float) -> dict[str, Any]:
    """Return what the figures are of."""
    return {
        "dry_run": dry_run, "device": describe(device), "minutes": minutes, "command": " ".join(sys.argv),
        "torch": torch.__version__, "torchvision": torchvision.__version__, "python": platform.python_version(),
        "cpu": f"{platform.machine()}, {os.cpu_count()} cores", "threads": torch.get_num_threads(),
    }  # fmt: skip


def measure(entries: Sequence[Entry], end: float, path: Path, result: dict[str, Any]) -> None:
    """Work through the list until the time is over; write after each entry."""
    result |= {"entries": {}, "left_out": [entry.name for entry in entries]}
    for entry in entries:
        start = time.monotonic()
        if end - start < entry.least:
            continue
        try:
            figures = entry.run(end - start)
        except Exception as error:  # one entry must not take the others with it
            figures = {"failed": first_line(error)}
        result["entries"][entry.name] = figures | {"took": round(time.monotonic() - start, 1)}
        result["left_out"].remove(entry.name)
        print(f"{entry.name}: {json.dumps(figures)}", flush=True)
        write(path, result)


def arguments_of() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--experiment", choices=("graph", "compile"), help=argparse.SUPPRESS)
    parser.add_argument("--row", default=PLAIN, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.dry_run:
        arguments.device = "cpu"
    return arguments


def main() -> None:
    """Measure, print, and store the figures."""
    begun, arguments = time.monotonic(), arguments_of()
    device = find_place(RunSettings(device=arguments.device)).device
    if device.type == "cpu" and not arguments.dry_run:
        sys.exit("error: there is no accelerator on this machine; give --dry-run to go through the list on the CPU")
    scale = DRY if arguments.dry_run else FULL
    if arguments.experiment:
        found = experiment_of(arguments.experiment, arguments.row, scale.child, device, scale.seconds, scale.least)
        print(json.dumps(found))
        return
    name = "dry-run" if arguments.dry_run else re.sub(r"[^a-z0-9]+", "-", name_of(device).lower()).strip("-")
    path, end = arguments.out or Path("results/accelerator") / f"{name}.json", begun + 60 * arguments.minutes
    stop_at(end, path)
    entries = tuple(entries_of(scale, device, arguments.dry_run))
    measure(entries, end, path, about(device, arguments.dry_run, arguments.minutes))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
