"""clp-train in a process of its own: killed with signal 9, resumed, and the same weights to the last bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from clp_aug.cli import augment

SETTINGS = ["--epochs", "3", "--batch-size", "10", "--set", "checkpoint_interval=1", "--quiet"]


def command(shard, out, *more):
    script = "from clp_train.cli import train; train()"
    return [sys.executable, "-c", script, "--meta", str(shard), "--out", str(out), *SETTINGS, *more]


def run(shard, out, *more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(shard, out, *more), capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    path = tmp_path_factory.mktemp("shard") / "x.h5"
    options = [
        "--dataset",
        "demo",
        "--size",
        "16",
        "--limit",
        "60",
        "--meta",
        "2/group",
        "--cf",
        "tile",
        "--f",
        "random",
    ]
    assert CliRunner().invoke(augment, [*options, "--workers", "1", "--quiet", "--out", str(path)]).exit_code == 0
    return path


def kill_after(shard, out, checkpoints, *more):
    """Start a run and kill it once it has written so many checkpoints; return whether it was still running."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(shard, out, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    file, seen, last = out / "checkpoint.safetensors", 0, None
    deadline = time.monotonic() + 120
    while seen < checkpoints and process.poll() is None and time.monotonic() < deadline:
        now = file.stat().st_ino if file.exists() else None
        seen, last = seen + (now not in (None, last)), now
        time.sleep(0.001)
    alive = process.poll() is None
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def test_killed_again_and_again_it_is_the_same_run(shard, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(shard, whole).returncode == 0
    rng = random.Random(0)
    assert kill_after(shard, killed, rng.randint(2, 6)), "the run ended before it could be killed"
    assert run(shard, killed).returncode == 2, "an unfinished run is not begun anew by accident"
    kill_after(shard, killed, rng.randint(2, 5), "--resume")
    done = run(shard, killed, "--resume")
    assert done.returncode == 0, done.stderr
    for name in ("last.safetensors", "selected.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, killed)]
    assert results[0]["history"] == results[1]["history"]
    assert not (killed / "checkpoint.safetensors").exists()
