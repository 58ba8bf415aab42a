"""Run a table of `clp-train` commands one after the other, and keep the small results; started again, it goes on.

A run is a folder; one that holds a result is not run again, one that was killed is resumed. After each run the table's
JSON is written anew, so that whatever is finished is kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from clp_aug.common.files import written_beside


def command(name: str, arguments: list[str]) -> None:
    """Run one of our commands, errors to this terminal. Raises CalledProcessError when it fails."""
    scripts = Path(sys.executable).parent
    subprocess.run([scripts / name, *arguments], check=True, stdout=subprocess.DEVNULL)


def train(folder: Path, arguments: list[str]) -> dict:
    """Return the result of a run, made now unless it is there."""
    if not (folder / "result.json").exists():
        resume = ["--resume"] if (folder / "checkpoint.safetensors").exists() else []
        plain = [] if "--preset" in arguments else ["--preset", "none"]  # what is not said is the default
        command("clp-train", [*arguments, *plain, "--out", str(folder), "--quiet", *resume])
    return json.loads((folder / "result.json").read_text())


def scores(result: dict) -> dict:
    """Return what a table needs of a result: the last losses, accuracies of the last and of the selected epoch."""
    keep = ("average", "weighted_average", "worst", "per_group")
    last = result["history"][-1]
    found = {"seconds": result["seconds"], "losses": {k: v for k, v in last.items() if k.endswith("_loss")}}
    for when in ("last", "selected"):
        metrics = (result[when] or {"metrics": {}})["metrics"]
        found[when] = {split: {key: m[key] for key in keep} for split, m in metrics.items()}
    return found


def without_root(arguments: list[str]) -> list[str]:
    """Return arguments without where the data lie, which is another place elsewhere."""
    at = arguments.index("--root") if "--root" in arguments else len(arguments)
    return arguments[:at] + arguments[at + 2 :]


def table(runs: dict[str, list[str]], seeds: list[int], shard_of, work: Path, out: Path, about: dict) -> None:
    """Run every row for every seed and write {about, rows: {name: {seed: scores}}}. shard_of: (seed, row) -> shard."""
    rows: dict[str, dict] = {}
    for seed in seeds:
        for name, arguments in runs.items():
            shard = ["--meta", str(shard_of(seed, name)), "--seed", str(seed)]
            result = train(work / f"{name}-seed{seed}".replace(" ", "_"), [*shard, *arguments])
            rows.setdefault(name, {})[str(seed)] = scores(result)
            about |= {"versions": result["versions"], "fingerprint": result["fingerprint"]}
            with written_beside(out) as temporary:
                shown = {row: without_root(given) for row, given in runs.items()}
                temporary.write_text(json.dumps({**about, "arguments": shown, "rows": rows}, indent=1) + "\n")
            test = {when: rows[name][str(seed)][when].get("test", {}) for when in ("last", "selected")}
            shown = " | ".join(
                f"{w}: worst {m['worst']:.3f}, plain average {m['average']:.3f}" for w, m in test.items() if m
            )
            print(f"{name}, seed {seed}: {shown} ({result['seconds']:.0f} s)", flush=True)
