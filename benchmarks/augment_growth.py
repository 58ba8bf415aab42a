"""Does clp-augment take as long for a picture, and as much memory, of 1,000 pictures as of 100,000?

    python benchmarks/augment_growth.py [--counts 1000,10000,100000] [--place DIR] [--rounds 3]
        [--out benchmarks/results/growth_augment.json]

The pictures are those of augment_speed.py at 32 px: all but two a class are meta, three rows each, one worker. Each run
is a process of its own, and a round has all counts once. Its peak of anonymous memory is what /proc tells every 50 ms:
RssAnon, which no file backs. Imports are not timed. Figures are medians of the rounds; microseconds a picture are given
as they are, and between two counts (the slope), where what a run costs once is left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from augment_speed import HERE, make_folder

SIDE, INTERVAL = 32, 0.05


def anonymous_bytes(pid: int) -> int:
    """Return the anonymous memory of a process, 0 for one that has gone."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def run(root: Path, count: int) -> dict[str, float]:
    """Augment a set in a fresh process; return its seconds and its peak of anonymous memory in bytes."""
    script = Path(__file__).with_name("augment_speed.py")
    command = [sys.executable, script, "--once", root, "--sizes", f"{SIDE}:{count}"]
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            list(map(str, command)), stdout=told, cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE)}
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(INTERVAL)
        told.seek(0)
        lines = told.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{count} pictures: the run ended with code {process.returncode}; what it said stands above")
    (root / "bench.h5").unlink()
    return {"seconds": json.loads(lines[-1])["whole"], "peak_anonymous_bytes": peak}


def main() -> None:
    """Measure, print, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1000,10000,100000")
    parser.add_argument("--place", type=Path, help="where the pictures stay, for another call")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.counts.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.place or Path(folder)
        for count in counts:
            root = place / str(count)
            if not (root / "boxes.csv").exists():  # it is written last
                make_folder(root, count, SIDE)
        found = [{count: run(place / str(count), count) for count in counts} for _ in range(arguments.rounds)]
    middle = {
        count: {name: statistics.median(one[count][name] for one in found) for name in found[0][count]}
        for count in counts
    }
    (low, high), seconds = (counts[0], counts[-1]), {count: middle[count]["seconds"] for count in counts}
    result = {
        "side": SIDE,
        "rounds": [{count: round(one[count]["seconds"], 3) for count in counts} for one in found],
        "runs": {
            count: {
                "seconds": round(seconds[count], 3),
                "microseconds_a_picture": round(1e6 * seconds[count] / count, 1),
                "peak_anonymous_megabytes": round(middle[count]["peak_anonymous_bytes"] / 1e6, 1),
            }
            for count in counts
        },
        "slopes_in_microseconds": {
            f"{a} to {b}": round(1e6 * (seconds[b] - seconds[a]) / (b - a), 1) for a, b in itertools.pairwise(counts)
        },
        "bytes_a_picture": round(
            (middle[high]["peak_anonymous_bytes"] - middle[low]["peak_anonymous_bytes"]) / (high - low), 1
        ),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
