"""clp-augment on a real cluster of two nodes: the bytes of every other engine, also when a worker or a node dies."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from clp_aug import pipeline
from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from tests.clp_aug.datasets.tiny_sets import make_folder

RUN = {
    "dataset": "demo", "cf": ("grey", "tile"), "f": ("random", "mix-rand"), "meta": "10/group", "limit": 400,
    "matte": "grabcut", "max_fallback": 1.0,
}  # fmt: skip
NETWORKS = {**RUN, "cf": ("cagan",), "f": ("random",), "meta": "1/group", "limit": 16, "matte": "hatt"}
AUDIT = {"dataset": "demo", "audit": "test", "limit": 8, "remove": "tile"}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(pipeline, "BOX_BLOCK", 12)
    monkeypatch.setattr(pipeline, "INFILL_BLOCK", 4)


def augment(folder, engine, progress=None, **run):
    out = folder / f"{engine}.h5"
    workers = 1 if engine == "serial" else 2
    config = AugmentConfig(**{"engine": engine, "workers": workers, "out": out, **run})
    pipeline.augment(config, *([] if progress is None else [progress]))
    return hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return augment(tmp_path_factory.mktemp("expected"), "serial", **RUN)


def when(title, after, act):
    """Progress that acts once, after so many pictures of a stage."""
    counted = {"done": 0, "acts": 0}

    @contextmanager
    def progress(stage, total):
        def advance(done):
            counted["done"] += done if stage == title else 0
            if counted["done"] >= after and not counted["acts"]:
                counted["acts"] += 1
                act()

        yield advance

    return progress, counted


@pytest.mark.parametrize("run", [NETWORKS, AUDIT], ids=["networks", "audit"])
def test_every_engine_gives_the_same_bytes(nodes, tmp_path, run):
    serial = augment(tmp_path, "serial", **run)
    assert augment(tmp_path, "processes", **run) == serial
    assert augment(tmp_path, "ray", address=nodes.address, **run) == serial


@pytest.mark.parametrize("title", ["MATTE + BOX train", "INFILL"])
def test_the_same_bytes_when_all_workers_are_killed_in_the_middle(nodes, tmp_path, expected, title, capfd):
    killed = []
    progress, counted = when(title, 8, lambda: killed.append(nodes.kill_workers(2)))
    assert augment(tmp_path, "ray", progress, address=nodes.address, **RUN) == expected
    assert counted["acts"] == 1
    assert killed[0] >= 1
    assert capfd.readouterr() == ("", "")


def test_the_same_bytes_when_a_node_is_killed_in_the_middle(nodes, tmp_path, expected, capfd):
    third = nodes.add()
    capfd.readouterr()
    progress, counted = when("MATTE + BOX train", 60, lambda: nodes.kill(third))
    assert augment(tmp_path, "ray", progress, address=nodes.address, **RUN, workers=3) == expected
    assert counted["acts"] == 1
    assert capfd.readouterr().out == ""


def test_a_broken_picture_is_told_and_can_be_left_out(nodes, tmp_path):
    root = make_folder(tmp_path / "root", [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(9)])
    (root / "cat/3.png").write_bytes(b"no picture")
    run = {"dataset": "folder", "root": root, "cf": ("grey",), "meta": "2/class", "matte": "centre", "size": 16}
    with pytest.raises(InputError, match=r"cat/3\.png"):
        augment(tmp_path, "ray", address=nodes.address, **run)
    serial = augment(tmp_path, "serial", **run, skip_broken=True)
    assert augment(tmp_path, "ray", address=nodes.address, **run, skip_broken=True) == serial
    assert ShardReader(tmp_path / "ray.h5").header.settings["left_out"] == ["cat/3.png"]


PLUGIN = """
import numpy as np

def dots(scene, window, rng, materials):
    x0, y0, x1, y1 = window
    return rng.integers(0, 256, (y1 - y0, x1 - x0, 3), np.uint8)
"""


def test_a_fill_of_ones_own_travels(nodes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)
    run = {**RUN, "cf": ("mine.py:dots",), "f": (), "limit": 40, "meta": "2/group", "matte": "given"}
    serial = augment(tmp_path, "serial", **run)
    assert augment(tmp_path, "ray", address=nodes.address, **run) == serial


SCRIPT = "from clp_aug.cli import augment; augment()"
ARGUMENTS = {
    "--dataset": "demo", "--limit": "900", "--meta": "20/group", "--matte": "grabcut", "--cf": "grey,tile",
    "--f": "random,mix-rand", "--max-fallback": "1", "--engine": "ray", "--workers": "2",
}  # fmt: skip


def start(out, *more):
    words = [word for pair in ARGUMENTS.items() for word in pair]
    command = [sys.executable, "-c", SCRIPT, *words, "--out", str(out), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip


def stopped(process, folder, blocks, send):
    """Send a signal when so many blocks are finished; return what the run has said."""
    deadline = time.monotonic() + 120
    while len(list(folder.glob("x.h5.parts/boxes-train-*.done"))) < blocks and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    send(process.pid)
    return process.communicate(timeout=120)


def test_a_run_on_a_cluster_of_its_own_that_is_stopped_goes_on(tmp_path):
    """Killed, then stopped by ctrl-C, which goes to all processes of a terminal, Ray's included."""
    pytest.importorskip("ray")
    out, marks = tmp_path / "x.h5", "x.h5.parts/*.done"
    stopped(start(out), tmp_path, 1, lambda pid: os.kill(pid, signal.SIGKILL))
    killed = {path.name for path in tmp_path.glob(marks)}
    more = sum(name.startswith("boxes-train") for name in killed) + 1
    again = start(out, "--resume", "--quiet")
    said = stopped(again, tmp_path, more, lambda pid: os.killpg(pid, signal.SIGINT))
    assert again.returncode == 130
    assert said == ("", "error: interrupted; finished blocks are kept, continue with --resume\n")
    assert killed < {path.name for path in tmp_path.glob(marks)}
    last = start(out, "--resume", "--json")
    answer, shown = last.communicate(timeout=240)
    assert last.returncode == 0, shown
    assert json.loads(answer)["rows"] == 240
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]
    other = augment(tmp_path, "serial", **{**RUN, "limit": 900, "meta": "20/group"})
    assert hashlib.sha256(out.read_bytes()).hexdigest() == other
