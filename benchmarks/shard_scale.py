"""How long does a shard of many rows take, and how much memory: made, opened, looked at, read whole?

    python benchmarks/shard_scale.py [--rows 10000 100000 1000000] [--out FILE]

The pictures are noise of 32 px, three rows an original, one training picture a row, 1,000 classes; nothing is matted or
filled in, so only what the shard itself costs counts. A million rows take 3.5 GB in the system's temporary folder.

Every figure is of a fresh process. Seconds are of its CPU, as other processes may be at work; the command `clp-inspect`
is timed by the clock as well, from its start to its end. Memory is the rise of the process's peak over what it had
before; pictures are read into its own memory, so nothing of it is pages of the file. "verify_over_one_by_one" is a
ratio of one process: reading by blocks against reading picture by picture.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clp_aug.contract.blank import Blank, lay_out
from clp_aug.contract.schema import FIELDS, NO_FILL, UNKNOWN_GROUP, Header
from clp_aug.contract.shards import ShardReader
from clp_aug.sharding import plan_copies

SIDE, EACH, CLASSES, BLOCK = 32, 3, 1000, 192
ROWS = (10_000, 100_000, 1_000_000)
SAMPLE = 20_000  # pictures that are read one by one
FILLS = (("grey", "tile"), ("random", "shuffle"))


def header() -> Header:
    """Return the header of a shard of noise."""
    return Header(
        dataset="noise", class_names=tuple(f"class {i}" for i in range(CLASSES)), group_names=(),
        fills=(NO_FILL, "grey", "random"), box_sources=("given",), settings={"size": SIDE},
        matte={"name": "given", "sha256": None, "licence": None}, fingerprint="0" * 64, seed=0, tool_version="0",
    )  # fmt: skip


def tables_of(originals: int) -> dict[str, np.ndarray]:
    """Return the tables of a shard: three rows an original, as many training pictures as rows."""
    rng, rows = np.random.default_rng(0), EACH * originals
    ids = rng.permutation(originals + rows)
    sample_id, train_id = np.repeat(np.sort(ids[:originals]), EACH), np.sort(ids[originals:])
    kind, box = np.tile(np.arange(EACH), originals), np.array([4, 4, 28, 28])
    nothing = np.zeros(rows)
    return {
        "meta/label": np.repeat(rng.integers(0, CLASSES, originals), EACH), "meta/kind": kind, "meta/fill": kind,
        "meta/box": np.tile(box, (rows, 1)), "meta/sample_id": sample_id, "meta/parent_id": sample_id,
        "meta/group": np.full(rows, UNKNOWN_GROUP), "meta/box_source": nothing, "meta/outcome": nothing,
        "train/sample_id": train_id, "train/box": np.tile(box, (rows, 1)), "train/box_source": nothing,
        "train/outcome": nothing, "train/label": rng.integers(0, CLASSES, rows), "look/sample_id": sample_id[::EACH],
    }  # fmt: skip


def memory_of(which: str) -> float:
    """Return the megabytes of memory of this process that /proc tells under a name."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024


def measured(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Return CPU seconds, the rise of the peak in MB, and what the work returned."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from here on
    before, start = memory_of("VmRSS"), time.process_time()
    result = work()
    seconds = time.process_time() - start
    return {"cpu_s": round(seconds, 3), "peak_mb": round(memory_of("VmHWM") - before, 1)}, result


def make(path: Path, rows: int) -> dict[str, dict[str, float]]:
    """Write a shard as clp-augment does: the copies planned, the file laid out, filled by blocks, sealed."""
    originals, rng = rows // EACH, np.random.default_rng(0)
    sizes = {"N": EACH * originals, "M": EACH * originals, "K": originals, "H": SIDE, "W": SIDE}
    tables, found = tables_of(originals), {}
    labels, ids = tables["meta/label"][::EACH], tables["look/sample_id"]
    found["plan"], _ = measured(lambda: plan_copies(labels, ids, *FILLS, EACH - 1, 0))
    found["lay_out"], _ = measured(lambda: lay_out(path, header(), FIELDS, sizes))
    with Blank(path) as blank:
        for name, values in tables.items():
            blank.fill(name, 0, values)

        def fill() -> None:
            for name, count, shape in (
                ("meta/images", EACH * originals, (SIDE, SIDE, 3)),
                ("look/matte", originals, (SIDE, SIDE)),
            ):
                for start in range(0, count, BLOCK):
                    blank.fill(name, start, rng.integers(0, 256, (min(BLOCK, count - start), *shape), np.uint8))

        found["fill"], _ = measured(fill)
        found["seal"], _ = measured(blank.seal)
    return found


def open_and_read(path: Path) -> dict[str, Any]:
    """Open a shard, read it whole, and read a part of it picture by picture."""
    opened, reader = measured(lambda: ShardReader(path))
    verified, _ = measured(reader.verify)
    few = min(SAMPLE, len(reader))
    one_by_one, _ = measured(lambda: [reader.image(i).shape for i in range(few)])
    rate = reader.stored / verified["cpu_s"]
    return {
        "open": opened,
        "verify": verified | {"pictures_per_cpu_s": round(rate), "pictures": reader.stored},
        "verify_over_one_by_one": round(rate * one_by_one["cpu_s"] / few, 2),
        "tables_mb": round(sum(t.nbytes for t in (*reader.tables.values(), *reader.digests.values())) / (1 << 20), 1),
    }


def inspect(path: Path) -> dict[str, float]:
    """Return what the command clp-inspect with a page of 200 originals takes: clock, CPU, peak of the whole process."""
    code = "import sys; from clp_aug.inspect_cli import inspect; inspect(sys.argv[1:])"
    start = time.perf_counter()
    command = [sys.executable, "-c", code, str(path), "--html", str(path.with_suffix(".html"))]
    subprocess.run(command, check=True, capture_output=True)
    clock, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    page = path.with_suffix(".html").stat().st_size
    return {
        "clock_s": round(clock, 2), "cpu_s": round(cpu, 2), "peak_mb": round(used.ru_maxrss / 1024),
        "page_mb": round(page / 1e6, 1),
    }  # fmt: skip


def in_a_process(step: str, path: Path, rows: int) -> Any:
    """Do one step in a fresh process and return its figures."""
    command = [sys.executable, __file__, "--step", step, "--path", str(path), "--rows", str(rows)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(rows: int) -> dict[str, Any]:
    """Return every figure of one size."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "noise.h5"
        found = {"rows": rows // EACH * EACH, **in_a_process("make", path, rows)}
        found |= {"file_mb": round(path.stat().st_size / 1e6, 1), **in_a_process("read", path, rows)}
        return found | {"clp-inspect --html": in_a_process("inspect", path, rows)}


def main() -> None:
    """Measure, print, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--step", choices=("make", "read", "inspect"), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        steps: dict[str, Callable[[], Any]] = {
            "make": lambda: make(arguments.path, arguments.rows[0]),
            "read": lambda: open_and_read(arguments.path),
            "inspect": lambda: inspect(arguments.path),
        }
        print(json.dumps(steps[arguments.step]()))
        return
    result = {
        "python": platform.python_version(), "numpy": np.__version__, "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version, "side": SIDE, "sizes": [measure(rows) for rows in arguments.rows],
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
