"""What an audit costs: pictures a second, the whole of it, and memory as the number of pictures grows.

    python benchmarks/audit_speed.py --data DIR --run RUN --work DIR [--pictures 150 600]

DIR of --data holds waterbirds_like/ with its masks; RUN is a finished run with an EfficientNet-Lite0. Everything runs
on one thread, in processes of their own, as a user would type it. Written are the seconds on the clock and of the CPU,
and the peak of memory, of clp-augment --audit and of clp-audit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = Path(sys.executable).parent
VIEWS = 13  # rows a picture


def measured(command: list[str]) -> dict[str, float]:
    """Run a command on one thread; return seconds on the clock and of the CPU, and its peak of memory in MB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen([str(SCRIPTS / command[0]), *command[1:]], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def main() -> None:
    """Measure every number of pictures and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pictures", type=int, nargs="+", default=[150, 600])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "audit_speed.json")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found = {}
    for count in arguments.pictures:
        shard = arguments.work / f"audit-{count}.h5"
        given = ["--dataset", "waterbirds", "--root", str(arguments.data / "waterbirds_like"), "--limit", str(count)]
        augment = ["clp-augment", "--audit", "test", *given, "--out", str(shard), "--workers", "1", "--quiet"]
        made = measured([*augment, "--overwrite"])
        page = arguments.work / "audit.html"
        asked = measured(["clp-audit", str(arguments.run), "--meta", str(shard), "--html", str(page), "--quiet"])
        rows = count * VIEWS
        found[str(count)] = {
            "clp-augment": made,
            "clp-audit": asked,
            "whole_seconds": made["seconds"] + asked["seconds"],
            "views_a_second": rows / asked["seconds"],
        }
        print(count, json.dumps(found[str(count)], indent=1), flush=True)
    arguments.out.write_text(json.dumps({"size": 160, "views": VIEWS, "pictures": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
