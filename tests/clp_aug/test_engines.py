"""Engines: the same answers from each, and no worker outlives a parent that was killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from clp_aug.engines import ENGINES

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
