"""Processes read the same pictures; what they cannot do is done here, and none of them outlives who asks."""

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_train.loading import crew
from clp_train.loading.crew import packed, read_by_processes, started
from clp_train.loading.crew_member import MAIN, pictures_of

HERE = os.getpid()


class Numbered:
    """Gives a picture of the number of its row. broken: rows that raise; deadly: at which a process other than this
    one ends; odd: rows of another form.
    """

    def __init__(self, broken=(), deadly=(), odd=()):
        self.broken, self.deadly, self.odd, self.home = broken, deadly, odd, HERE

    def __call__(self, row):
        print("a line that is no answer")
        if row in self.deadly and os.getpid() != self.home:
            os._exit(3)
        if row in self.broken:
            raise InputError(f"picture {row}: broken")
        return np.full((1, 2, 3 if row not in self.odd else 4), row)


class Elsewhere(Numbered):
    """Cannot be unpickled in a process: its module is known here alone."""


Elsewhere.__module__ = "known_here_alone"


@pytest.fixture
def processes(monkeypatch):
    """Those that were started."""
    made = []

    def noted(*given):
        made.extend(started(*given))
        return made

    monkeypatch.setattr(crew, "started", noted)
    return made


def read(what, rows, workers=2, block=3, ahead=2):
    task = packed(what)
    assert task
    return read_by_processes(what, task, np.array(rows, np.int64), workers, block, ahead)


@pytest.mark.parametrize(
    "what",
    [Numbered(), Numbered(odd=(2, 7, 40)), Numbered(deadly=(5,)), Numbered(deadly=range(60))],
    ids=["whole", "of several forms", "one process ends", "all end"],
)
@pytest.mark.parametrize("rows", [[], [4], [7, 7, 1, 59, 2, 5], list(range(59, -1, -1))], ids=len)
def test_the_same_pictures_in_order(what, rows, processes):
    found = list(read(what, rows))
    assert all(np.array_equal(a, what(row)) for a, row in zip(found, rows, strict=True))
    assert all(process.poll() is not None for process in processes)
    assert len(processes) == min(2, -(-len(rows) // 3))


def test_the_first_row_that_fails_is_told_as_here(processes):
    taken = []
    with pytest.raises(InputError, match=r"^picture 11: broken$"):
        taken.extend(int(picture.flat[0]) for picture in read(Numbered(broken=(11, 12, 20)), range(40)))
    assert taken == list(range(11))
    assert all(process.poll() is not None for process in processes)


def test_who_stops_early_leaves_no_process(processes):
    pictures = read(Numbered(), range(1000))
    next(pictures)
    assert [process.poll() for process in processes] == [None, None]
    pictures.close()
    assert all(process.poll() is not None for process in processes)


def test_a_class_that_is_not_found_there_is_read_here(monkeypatch):
    module = types.ModuleType(Elsewhere.__module__)
    module.Elsewhere = Elsewhere
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert [int(picture.flat[0]) for picture in read(Elsewhere(), range(20))] == list(range(20))


def test_a_system_that_starts_no_process(monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(crew.subprocess, "Popen", refuse)
    assert [int(picture.flat[0]) for picture in read(Numbered(), range(20))] == list(range(20))


def test_what_cannot_be_packed(monkeypatch):
    assert packed(lambda row: row) == b""
    monkeypatch.setattr(crew.sys, "executable", "")
    assert packed(Numbered()) == b"", "there is no Python that could be started"


def test_pictures_of_several_kinds_are_not_made_one():
    forms = {0: np.zeros(2, np.uint8), 1: np.zeros(2, np.int64), 2: InputError("no picture")}
    assert pictures_of(forms.get, [0, 0]).shape == (2, 2)
    for rows in ([0, 1], [0, 2], [2, 2]):
        assert pictures_of(forms.get, rows) is None


def test_a_process_has_no_torch():
    code = MAIN.replace("main()", "print('torch' in sys.modules, 'h5py' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", code, *sys.path], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


SCRIPT = """
import numpy as np, sys
from clp_train.loading import crew
from tests.clp_train.loading.test_crew import Numbered, read
real = crew.started
crew.started = lambda *given: note(real(*given))
def note(made):
    print(*(process.pid for process in made), flush=True)
    return made
for _ in read(Numbered(), range(10**9 // 10**4)):
    sys.stdin.readline()
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to look for processes")
def test_processes_end_with_who_asks():
    pipe = subprocess.PIPE
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=pipe, stdout=pipe, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    pids = script.stdout.readline().split()
    assert len(pids) == 2
    script.send_signal(signal.SIGKILL)
    script.communicate()
    end = time.monotonic() + 60
    while any(is_running(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
