"""Engines: the same answers from each, no worker outlives a killed parent, and one that cannot start is explained."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import UsageError
from clp_aug.engines import ENGINES
from clp_aug.making import waterbirds
from clp_aug.making.waterbirds_config import WaterbirdsConfig
from clp_aug.pipeline import augment

PARENT = """
import os, time
from clp_aug.engines import processes

def sleep_long(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)

if __name__ == "__main__":
    with processes(sleep_long, 1) as map_:
        list(map_([600]))
"""


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_answers_in_order(name):
    if name == "ray":
        pytest.importorskip("ray")
    with ENGINES[name](abs, 2) as map_:
        assert list(map_(range(-5, 3))) == [5, 4, 3, 2, 1, 0, 1, 2]


def gone(pid):
    """Whether a process has ended; one that is dead and not collected has."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes through /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert not gone(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while not gone(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(worker)


TASKS = """
import os, signal, sys

class Task:
    def __init__(self, size, dies):
        self.parcel, self.dies = bytes(size), dies

    def __setstate__(self, state):
        vars(self).update(state)
        if self.dies == "as it starts":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.dies == "of an error":
            raise ValueError("this task cannot be read")

    def __call__(self, item):
        if self.dies == "at work":
            os.kill(os.getpid(), signal.SIGKILL)
        return item
"""
SCRIPT = """
import sys
from clp_aug.contract.errors import ClpError
from clp_aug.engines import processes
from tasks import Task
{top}
if {guard}:
    try:
        with processes(Task({size}, {dies!r}), 2) as map_:
            print(*map_(["a", "b"]))
    except ClpError as error:
        print(type(error).__name__, error)
"""
KILLED = "ClpError a worker process died (killed, or out of memory); run again with --resume, with fewer --workers"
REMEDY = 'put what it does under if __name__ == "__main__": or take one worker (workers=1, engine="serial")'
UNGUARDED = f"UsageError worker processes run the main script again, and this one starts workers at once; {REMEDY}"
FAILED = f"ClpError no worker process could start, for the reason printed above; in a script, {REMEDY}"
LARGE = 1_000_000  # bytes; more than the pipe to a worker that does not read will hold
GUARD = '__name__ == "__main__"'


@pytest.mark.parametrize(
    ("guard", "top", "dies", "answer"),
    [
        (GUARD, "", "", "a b"),
        ("True", "", "", UNGUARDED),
        (GUARD, "if __name__ != '__main__': raise ValueError('not twice')", "", FAILED),
        (GUARD, "", "of an error", FAILED),
        (GUARD, "", "as it starts", KILLED),
        (GUARD, "", "at work", KILLED),
    ],
    ids=["guarded", "unguarded", "main fails", "task fails", "killed as it starts", "killed at work"],
)
def test_a_worker_that_dies_is_explained(tmp_path, guard, top, dies, answer):
    (tmp_path / "tasks.py").write_text(TASKS)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard=guard, top=top, dies=dies, size=LARGE))
    done = run(tmp_path, script)
    assert done.stdout == f"{answer}\n"
    assert ("Traceback" in done.stderr) == (answer == FAILED)


def test_a_script_from_standard_input_is_refused_before_a_worker_starts(tmp_path):
    (tmp_path / "tasks.py").write_text(TASKS)
    done = run(tmp_path, "-", input=SCRIPT.format(guard="True", top="", dies="", size=10))
    assert done.stdout == (
        f"UsageError worker processes run the main script again, but {tmp_path / '<stdin>'} is no file; write the"
        f" script to a file, and {REMEDY}\n"
    )
    assert done.stderr == ""


def run(folder, *arguments, **settings):
    """Run a script in a folder; a hang ends the test."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), str(folder)])}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        timeout=120,
        capture_output=True,
        text=True,
        **settings,
    )


def test_an_engine_whose_package_is_not_installed_is_refused_at_the_door(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError) as error:
        AugmentConfig(dataset="demo", cf=("grey",), engine="ray")
    assert str(error.value) == "engine ray needs Ray: pip install 'causal-logit-perturbation[ray]'"


def test_a_task_that_cannot_travel_is_told_by_the_pickler():
    with pytest.raises(AttributeError, match="local"), ENGINES["processes"](lambda item: item, 2):
        pass


def augment_in(folder):
    augment(AugmentConfig(dataset="demo", cf=("grey",), workers=2, out=folder / "x.h5"))


def make_in(folder):
    waterbirds.make(WaterbirdsConfig(birds=folder, land=(folder,), water=(folder,), out=folder / "set", workers=2))


@pytest.mark.parametrize("write", [augment_in, make_in])
def test_what_writes_files_does_not_begin_again_in_a_worker_to_be(tmp_path, monkeypatch, write):
    """There it would meet the lock of its own run, or write the files that its parent writes."""
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(SystemExit) as stopped:
        write(tmp_path)
    assert stopped.value.code == 78
    assert not list(tmp_path.iterdir())
