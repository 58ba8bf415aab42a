"""A small table made by Ray, whose queue is killed twice, and by the arrays of Slurm is the local queue's table."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clp_train.run_folder import RESULT
from tests.clp_train.bench.forked_bench import ForkedBench

TINY = """
title = "Tiny"
[columns.average]
title = "average"
[columns.average.cpu]
augment = ["--dataset", "demo", "--size", "16", "--limit", "60"]
train = ["--epochs", "2", "--batch-size", "20", "--set", "checkpoint_interval=1"]
[rows.erm]
title = "CE"
method = "erm"
[rows.meta-lp]
title = "Meta-LP"
method = "meta-lp"
"""
SBATCH = """#!/bin/bash
# Does every task of an array at once, with a batch system's copy of the script, and prints the number of its job.
printf '%s\\n' "$*" >> "$(dirname "$0")/said"
while [[ $1 == --* ]]; do
    case "$1" in --array=0-*) last=${1#--array=0-}; last=${last%%%*} ;; esac
    shift
done
copy=$(mktemp) && cp -- "$1" "$copy" && shift && cd /
for ((i = 0; i <= last; i++)); do SLURM_ARRAY_TASK_ID=$i bash "$copy" "$@" >&2 || exit; done
rm -- "$copy"
echo '17;cluster'
"""


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """Run clp-bench without the time that imports take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        with ForkedBench(tmp_path_factory.mktemp("forked")) as bench:
            yield bench


def words(folder, *more):
    return (str(folder / "tiny.toml"), "--seeds", "1", "--work", str(folder / "w w"), "--out", str(folder / "o"),
            "--workers", "2", "--quiet", *more)  # fmt: skip


def folder_for(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp(name)
    (folder / "tiny.toml").write_text(TINY)
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory, forked):
    """The folder of the table that the local queue makes."""
    folder = folder_for(tmp_path_factory, "local")
    ended = forked(*words(folder))
    assert ended.code == 0, ended.err
    return folder


def table(folder):
    """Return the table's JSON and Markdown without what a clock has measured."""
    text = (folder / "o" / "tiny-cpu" / "table.json").read_text()
    data = re.sub(r'("(?:cpu_)?seconds": )[\d.]+', r"\1-", text)
    lines = (folder / "o" / "tiny-cpu" / "table.md").read_text().splitlines()
    cut = [re.sub(r"( \| [\d.]+){2} \|$", "", line) for line in lines]
    return data, [re.sub(r"[\d.]+ hours", "- hours", line) for line in cut]


def files(folder):
    """Return what lies in the work folder, with the bytes of the shards."""
    work = folder / "w w"
    return {
        str(path.relative_to(work)): path.read_bytes() if path.suffix == ".h5" else b""
        for path in work.rglob("*")
        if path.is_file()
    }


def same(folder, local):
    assert table(folder) == table(local)
    assert files(folder) == files(local)


def test_killed_twice_on_ray_it_is_the_same(tmp_path_factory, forked, local):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    from ray.cluster_utils import Cluster

    folder = folder_for(tmp_path_factory, "ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        for pattern in ("shards/*.parts", "runs/*/[!.]*", None):
            code, out, err = queue(folder, pattern, "--engine", "ray", "--address", cluster.address)
            assert (code, err) == (0 if pattern is None else -signal.SIGKILL, "")
        cluster.shutdown()
    assert out == f"wrote {folder}/o/tiny-cpu/table.md\n"
    same(folder, local)


def queue(folder, pattern, *more):
    """Run clp-bench, which is killed as soon as a file of its work folder appears; return code, stdout and stderr."""
    command = [Path(sys.executable).parent / "clp-bench", *words(folder, *more)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while pattern is not None and running.poll() is None:
        if any((folder / "w w").glob(pattern)):
            running.kill()
            break
        time.sleep(0.01)
    out, err = running.communicate()
    return running.returncode, out, err


def test_as_arrays_of_slurm_it_is_the_same(tmp_path_factory, forked, local):
    folder = folder_for(tmp_path_factory, "slurm")
    script = folder / "it's all.sh"
    written = forked(*words(folder, "--engine", "slurm-array", "--script", str(script)))
    assert (written.code, written.err) == (0, "")
    assert written.out == f"wrote {script}; submit it with: bash {shlex.quote(str(script))}\n"
    assert not (folder / "w w").exists()
    printed = forked(*words(folder, "--engine", "slurm-array"))
    assert printed.out == script.read_text()
    sbatch = folder / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    environment = os.environ | {"PATH": f"{sbatch.parent}:{os.environ['PATH']}"}
    command = ["bash", script.name, "--partition=night"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    last = script.read_text().splitlines()[-1].removeprefix("# ")
    assert done.stdout == f"when all is done: {last}\n"
    assert (sbatch.parent / "said").read_text().splitlines() == [
        f"--parsable --job-name=shards --cpus-per-task=1 --array=0-0%2 --partition=night {script} shards",
        "--parsable --job-name=runs --cpus-per-task=1 --array=0-1%2 --dependency=afterany:17 --partition=night"
        f" {script} runs",
    ]
    assert len(list((folder / "w w").glob(f"runs/*/{RESULT}"))) == 2
    name, *more = shlex.split(last)
    assert name == "clp-bench"
    ended = forked(*more, "--quiet")
    assert (ended.code, ended.out) == (0, f"wrote {folder}/o/tiny-cpu/table.md\n")
    same(folder, local)
    nothing = forked(*words(folder, "--engine", "slurm-array"))
    assert (nothing.code, nothing.out) == (0, f"nothing to run; the table: {last}\n")


def test_the_masked_tables_hold_figures(local):
    data, lines = table(local)
    assert len(json.loads(data.replace(": -", ": 0"))["runs"]) == 2
    assert re.match(r"\| CE \| [\d.]+ \| \d$", lines[8]), lines
    assert Path(local / "w w" / "shards").is_dir()
