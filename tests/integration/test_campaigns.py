"""The campaigns in short: some kills, I/O faults, pairs, power cuts and fuzzed inputs; and whether their tools see."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clp_train.methods import METHODS
from tests.campaigns import fuzz, power, shim
from tests.campaigns.campaign import SKIPPED
from tests.campaigns.disk import LOSSES, Loss, rebuild
from tests.campaigns.scenarios import SCENARIOS
from tests.campaigns.shim import Call, Fault
from tests.campaigns.trees import finished, leftovers

ROOT = Path(__file__).resolve().parents[2]
SHORT = {
    "kills": (20, ["augment", "train-erm", "fit-inpainter", "data-glt", "inspect"]),
    "io_faults": (16, ["augment", "train-erm", "data-waterbirds", "inspect"]),
    "pairs": (6, ["augment", "augment-overwrite", "train"]),
    "power": (16, ["augment", "train-erm", "data-glt"]),
    "fuzz": (2000, [name for name, reader in fuzz.READERS.items() if reader.cost < 10]),
}
"""Campaign -> how many cases, of what."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("campaigns")


@pytest.mark.parametrize("name", SHORT)
def test_a_campaign_in_short(name, work):
    cases, only = SHORT[name]
    command = [
        sys.executable,
        "-m",
        f"tests.campaigns.{name}",
        "--work",
        str(work),
        "--out",
        str(work / f"{name}.json"),
    ]
    done = subprocess.run(
        [*command, "--cases", str(cases), "--only", *only], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    lines = [json.loads(line) for line in (work / f"{name}.jsonl").read_text().splitlines()]
    bad = [line for line in lines if line.get("findings") or line.get("verdict", "")[:1].isupper()]
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{bad[:5]}"
    assert json.loads((work / f"{name}.json").read_text())["cases"] >= cases // 2


def test_the_runs_are_of_all_tools_and_families():
    tools = {scenario.command.split()[0] for scenario in SCENARIOS.values()}
    assert tools == {"clp-augment", "clp-train", "clp-fit", "clp-data", "clp-inspect", "clp-bench"}
    trained = {name.removeprefix("train-") for name in SCENARIOS}
    assert {entry.family for entry in METHODS.values()} == {METHODS[name].family for name in trained & set(METHODS)}


PROGRAM = """
import os, sys
os.chdir(sys.argv[1])
os.mkdir("d")
with open("d/a", "wb", 0) as file:
    file.write(b"first")
    file.write(b"second")
    os.fsync(file.fileno())
os.rename("d/a", "d/b")
handle = os.open("d/b", os.O_RDWR)
os.pwrite(handle, b"FIRST", 0)
os.ftruncate(handle, 8)
os.unlink("d/b")
"""
CALLS = ["mkdir", "create", "write", "write", "fsync", "rename", "open", "write", "truncate", "unlink"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    try:
        return shim.build(tmp_path_factory.mktemp("shim"))
    except shim.NoCompilerError as error:
        pytest.skip(str(error))


@pytest.fixture
def disturbed(library, tmp_path, monkeypatch):
    """Return what runs PROGRAM with a fault; its value is the process, which has ended, and the control block."""
    folder = tmp_path / "folder"

    def run(**fault):
        folder.mkdir()
        environment = shim.environment(library, tmp_path / "control")
        monkeypatch.setenv(shim.VARIABLE, str(tmp_path / "control"))
        told = shim.Shim()
        told.set(Fault(folder, log=tmp_path / "log", **fault))
        command = [sys.executable, "-S", "-c", PROGRAM, str(folder)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, start_new_session=True), told

    return run


def test_the_shim_counts_the_calls_below_its_folder(disturbed, tmp_path):
    done, told = disturbed()
    assert done.returncode == 0, done.stderr
    assert [call.operation for call in shim.read_log(tmp_path / "log")] == CALLS
    assert told.control.count == len(CALLS)
    assert not told.control.fired


@pytest.mark.parametrize(
    ("mode", "at", "left"),
    [
        (shim.KILL_BEFORE, 2, {}),
        (shim.KILL_BEFORE, 4, {"a": b"first"}),
        (shim.KILL_WITHIN, 4, {"a": b"firstsec"}),
        (shim.KILL_BEFORE, 6, {"a": b"firstsecond"}),
        (shim.KILL_WITHIN, 6, {"b": b"firstsecond"}),
        (shim.KILL_WITHIN, 8, {"b": b"FIrstsecond"}),
    ],
)
def test_the_shim_kills_before_and_within_a_call(disturbed, tmp_path, mode, at, left):
    done, told = disturbed(mode=mode, at=at)
    assert done.returncode == -signal.SIGKILL
    assert told.control.fired
    assert {path.name: path.read_bytes() for path in (tmp_path / "folder" / "d").iterdir()} == left


@pytest.mark.parametrize(
    ("error", "at", "persistent", "message"),
    [(errno.EIO, 5, False, "Errno 5"), (errno.ENOSPC, 3, True, "Errno 28"), (errno.EACCES, 1, False, "Errno 13")],
)
def test_the_shim_lets_a_call_fail(disturbed, error, at, persistent, message):
    done, told = disturbed(mode=shim.FAIL, at=at, error=error, persistent=persistent)
    assert done.returncode == 1
    assert message in done.stderr
    assert told.control.fired


def test_a_full_disk_still_removes_files(disturbed):
    done, told = disturbed(mode=shim.FAIL, at=10, error=errno.ENOSPC, persistent=True)
    assert done.returncode == 0
    assert not told.control.fired


def disk_of(root, calls, names, data, seed=0):
    """Rebuild a disk and return what lies there, path below the root -> content."""
    rebuild(calls, root, Loss(names, data), random.Random(seed))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("made", "names", "data", "left"),
    [
        (5, "none", "none", {"d/a": b"firstsecond"}),
        (4, "none", "all", {"d/a": {b"", bytes(11)}}),
        (5, "none", "all", {"d/a": b"firstsecond"}),
        (6, "none", "all", {"d/b": b"firstsecond"}),
        (6, "all", "none", {}),
        (7, "none", "none", {"d/b": b"FIRSTsecond"}),
        (7, "none", "all", {"d/b": b"firstsecond"}),
        (7, "none", "some", {"d/b": {b"firstsecond", b"FIRSTsecond"}}),
        (8, "none", "none", {"d/b": b"FIRSTsec"}),
        (9, "none", "none", {}),
        (9, "none", "all", {}),
        (9, "all", "all", {}),
    ],
)
def test_a_disk_is_rebuilt_as_far_as_it_was_synced(disturbed, tmp_path, made, names, data, left):
    done, _ = disturbed(mode=shim.RECORD)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "folder"
    calls = shim.read_log(tmp_path / "log")
    assert [call.operation for call in calls] == [
        "mkdir", "create", "write", "write", "sync", "rename", "write", "truncate", "unlink",
    ]  # fmt: skip
    found = disk_of(folder, calls[:made], names, data)
    assert found.keys() == left.keys()
    for name, expected in left.items():
        assert found[name] in expected if isinstance(expected, set) else found[name] == expected


def test_a_synced_folder_keeps_its_names(tmp_path):
    root = str(tmp_path)
    calls = [
        Call("create", 7, 0, f"{root}/x", "", b""),
        Call("write", 7, 0, f"{root}/x", "", b"data"),
        Call("sync-folder", 1, 0, root, "", b""),
        Call("rename", 7, 0, f"{root}/x", f"{root}/y", b""),
    ]
    assert disk_of(tmp_path, calls, "all", "none") == {"x": b"data"}
    os.unlink(tmp_path / "x")
    assert disk_of(tmp_path, calls, "none", "none") == {"y": b"data"}
    assert {loss.names for loss in LOSSES.values()} == {"none", "all", "some"}


def test_what_is_left_over_is_told_from_what_is_final():
    tree = {"run/": "", "run/result.json": "1", "run/a.tmp-12ab": "2", "x.h5.parts/": "", "x.h5.parts/a.done": "3"}
    assert finished(tree) == {"run/result.json": "1"}
    assert leftovers(tree) == ["run/a.tmp-12ab", "x.h5.parts/", "x.h5.parts/a.done"]


def test_fuzzed_inputs_are_the_same_each_time(tmp_path):
    (tmp_path / "inputs").mkdir()
    first, second = (fuzz.desk_of("boxes", tmp_path / f"work{i}", 0) for i in range(2))
    assert [first.input(i) for i in range(50)] == [second.input(i) for i in range(50)]
    assert len({first.input(i) for i in range(50)}) > 40


def test_the_power_is_cut_at_every_sync_however_few_cases():
    chosen = power.choice(20, [3, 4, 9, 20], 2, random.Random(0))
    assert [at for at, _ in chosen] == [3, 4, 9, 20]
    assert len(power.choice(20, [3, 4, 9, 20], 10**6, random.Random(0))) == 4 * len(LOSSES) + 16
