"""Workers asked for by a script without a main guard, by one from stdin, by a notebook: it works, or one line says why.

Nothing starts itself again without end, and nothing hangs: every test has a limit of time.
"""

import os
import subprocess
import sys

import pytest

from tests.portability.emulation import ROOT

AUGMENT = """
from pathlib import Path
from clp_aug import AugmentConfig, augment
settings = dict(dataset="demo", size=16, cf=("tile",), f=("mix-rand",), workers={workers}, out=Path("demo.h5"))
print("begins")
augment(AugmentConfig(**settings))
print("made", Path("demo.h5").is_file())
"""
LOAD = """
import numpy as np
from clp_aug import load_dataset
from clp_train.loading.crew import packed, read_by_processes
from clp_train.loading.crew_member import Fitted
print("begins")
read = Fitted(load_dataset("demo"), 16, "crop")
pictures = list(read_by_processes(read, packed(read), np.arange(20), workers=2, block=4, ahead=1))
print("made", len(pictures) == 20 and np.array_equal(pictures[7], read(7)))
"""
NOTEBOOK = """
import sys, types
module = types.ModuleType("__main__")
sys.modules["__main__"] = module  # as in a notebook's kernel: the main module has no file
sys.argv = [""]
exec(compile(open("cell.txt", encoding="utf-8").read(), "<cell>", "exec"), module.__dict__)
"""
REMEDY = 'put what it does under if __name__ == "__main__": or take one worker (workers=1, engine="serial")'
AT_ONCE = f"worker processes run the main script again, and this one starts workers at once; {REMEDY}"
SECONDS = 120


def run(folder, *arguments, text=None):
    """Run Python in a folder; a hang fails the test."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *arguments]
    return subprocess.run(
        words, cwd=folder, env=environment, input=text, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def as_file(folder, script):
    (folder / "script.py").write_text(script, encoding="utf-8")
    return run(folder, "script.py")


def as_notebook(folder, script):
    (folder / "cell.txt").write_text(script, encoding="utf-8")
    (folder / "kernel.py").write_text(NOTEBOOK, encoding="utf-8")
    return run(folder, "kernel.py")


def as_argument(folder, script):
    return run(folder, "-c", script)


def as_input(folder, script):
    return run(folder, "-", text=script)


def last_line(text):
    return text.strip().splitlines()[-1]


def test_a_script_without_a_guard_is_told_in_one_line(tmp_path):
    done = as_file(tmp_path, AUGMENT.format(workers=2))
    assert done.returncode == 1
    assert last_line(done.stderr).endswith(f"UsageError: {AT_ONCE}")
    assert done.stderr.count("Traceback") == 1, "workers print nothing"
    assert 1 <= done.stdout.count("begins") <= 3, "the script, and once in each worker at most"
    assert not (tmp_path / "demo.h5").exists()


def test_a_script_from_stdin_is_told_before_a_worker_starts(tmp_path):
    done = as_input(tmp_path, AUGMENT.format(workers=2))
    assert done.returncode == 1
    message = f"{tmp_path / '<stdin>'} is no file; write the script to a file, and {REMEDY}"
    assert last_line(done.stderr).endswith(f"UsageError: worker processes run the main script again, but {message}")
    assert done.stdout == "begins\n"


@pytest.mark.parametrize("way", [as_notebook, as_argument])
def test_workers_start_where_no_main_script_is_a_file(tmp_path, way):
    done = way(tmp_path, AUGMENT.format(workers=2))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begins\nmade True\n"


@pytest.mark.parametrize("way", [as_file, as_input, as_notebook, as_argument])
def test_one_worker_works_everywhere(tmp_path, way):
    done = way(tmp_path, AUGMENT.format(workers=1))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begins\nmade True\n"


@pytest.mark.parametrize("way", [as_file, as_input, as_notebook, as_argument])
def test_processes_that_read_for_the_trainer_need_no_guard(tmp_path, way):
    done = way(tmp_path, LOAD)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begins\nmade True\n"
