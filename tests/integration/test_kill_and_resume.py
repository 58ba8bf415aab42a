"""The real command in a process of its own: killed in the middle, gone on with, and the same bytes in the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ARGUMENTS = [
    "--dataset", "demo", "--limit", "700", "--meta", "20/group", "--matte", "grabcut", "--cf", "grey,tile,shuffle",
    "--f", "random,mix-rand", "--max-fallback", "1", "--quiet",
]  # fmt: skip


def command(out, *more):
    script = "from clp_aug.cli import augment; augment()"
    return [sys.executable, "-c", script, *ARGUMENTS, "--out", str(out), *more]


def run(out, *more):
    done = subprocess.run(command(out, *more), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole") / "x.h5", "--workers", "1")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_kill_dash_nine_then_resume(whole, tmp_path, workers):
    out = tmp_path / "x.h5"
    parts = out.with_name("x.h5.parts")
    process = subprocess.Popen(
        command(out, "--workers", workers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(parts.glob("boxes-train-*.done")) and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    finished = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.done")}
    assert finished
    refused = subprocess.run(command(out), capture_output=True, text=True)
    assert refused.returncode == 2
    assert "holds an unfinished run; give --resume to continue" in refused.stderr
    assert {path.name: path.stat().st_mtime_ns for path in parts.glob("*.done")} == finished
    assert run(out, "--workers", workers, "--resume") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.h5"], "nothing is left beside the shard"


def test_a_worker_that_is_killed_is_one_line(tmp_path):
    out = tmp_path / "x.h5"
    process = subprocess.Popen(
        command(out, "--workers", "2"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not list child processes under /proc")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("x.h5.parts/boxes-train-*.done")) and time.monotonic() < deadline:
        time.sleep(0.005)
    for pid in children.read_text().split():
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(int(pid), signal.SIGKILL)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "a worker process died (killed, or out of memory); run again with --resume" in errors
    assert "Traceback" not in errors
    assert not out.exists()


def test_ctrl_c_is_130(tmp_path):
    for turn in range(5):  # on a busy machine a run may end before the signal comes
        code, errors = interrupted(tmp_path / str(turn))
        if code != 0:
            break
    assert code == 130, errors
    assert errors.strip() == "error: interrupted; finished blocks are kept, continue with --resume"


def interrupted(folder):
    """Send ctrl-C to a run that has finished a block; return its exit code and what it said."""
    folder.mkdir()
    process = subprocess.Popen(
        command(folder / "x.h5", "--workers", "2", "--limit", "2900"), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(folder.glob("x.h5.parts/boxes-train-*.done")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors
