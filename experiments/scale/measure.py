"""What each stage costs a picture, on one core; docs/explanation/scale.md is made of it.

    python -m experiments.scale.measure [--only PART ...]       # writes experiments/scale/results/measured.json

Every part is measured alone in its process, with one thread. Costs are processor time, so that a machine that is shared
by others tells them honestly, the median of three rounds; waits for a disk are not in it, and files lie in memory.
A fresh start of a worker, up to its first picture, is measured as the processor time of a process that does it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from clp_aug.common.files import written_beside

MEASURED = Path(__file__).parent / "results" / "measured.json"
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SIZES = (32, 224)
NETS = ("a head on 1,280 features", "resnet32", "efficientnet-lite0", "resnet50")
START = (
    "import numpy as np\n"
    "from clp_aug.mattes import make_matte\nfrom clp_aug.mattes.picture import Decoded\n"
    "from clp_aug.fills.cagan import load_inpainter\n"
    "make_matte('hatt').find(Decoded(np.zeros((224, 224, 3), np.uint8), 0))\nload_inpainter(None, 'own')\n"
)


def offline(size: int) -> dict[str, Any]:
    """Measure the stages of clp-augment."""
    from experiments.scale.offline import measure

    with tempfile.TemporaryDirectory() as place:
        return measure(Path(place), size)


def load(size: int) -> dict[str, Any]:
    """Measure LOAD."""
    from experiments.scale.training import measure_load

    with tempfile.TemporaryDirectory() as place:
        return measure_load(Path(place), size)


def training(net: str) -> dict[str, Any]:
    """Measure features and steps."""
    from experiments.scale.training import measure_training

    return measure_training(net)


def start() -> dict[str, Any]:
    """Measure the start of a worker with both networks, in processor seconds."""
    before, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), []
    for _ in range(3):
        subprocess.run([sys.executable, "-c", START], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        before = after
    return {"seconds": round(sorted(seconds)[1], 2)}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "start of a worker": start,
    **{f"offline {size}": partial(offline, size) for size in SIZES},
    **{f"load {size}": partial(load, size) for size in SIZES},
    **{f"training {net}": partial(training, net) for net in NETS},
}


def machine() -> dict[str, Any]:
    """Return what it was measured on and with."""
    import numpy as np
    import PIL
    import torch

    return {
        "cores": os.cpu_count(), "isa": torch.backends.cpu.get_cpu_capability(), "threads": 1, "rounds": 3,
        "clock": "processor time of the process", "python": platform.python_version(), "torch": torch.__version__,
        "numpy": np.__version__, "pillow": PIL.__version__,
    }  # fmt: skip


def alone(name: str) -> dict[str, Any]:
    """Return what a part finds in a process of its own, with one thread."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "part.json"
        command = [sys.executable, "-m", "experiments.scale.measure", "--part", name, str(out)]
        subprocess.run(command, check=True, env={**os.environ, **THREADS})
        found: dict[str, Any] = json.loads(out.read_text())
        return found


def main() -> None:
    """Measure all parts or some, and store them; parts that are not measured stay as they were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), metavar="PART")
    parser.add_argument("--out", type=Path, default=MEASURED)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, out = arguments.part
        Path(out).write_text(json.dumps(PARTS[name]()))
        return
    for name in arguments.only:
        found = alone(name)
        before = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"parts": {}}
        parts = {**before["parts"], name: found}
        text = json.dumps({"about": machine(), "parts": {key: parts[key] for key in PARTS if key in parts}}, indent=1)
        with written_beside(arguments.out) as temporary:
            temporary.write_text(text + "\n")
        print(f"{name}: measured", flush=True)


if __name__ == "__main__":
    main()
