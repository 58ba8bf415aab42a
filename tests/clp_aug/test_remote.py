"""Blocks handed back by workers that see no folder of the run: the same shard, here without a cluster.

The cluster is emulated: tasks, items and answers travel as bytes, and a task is unpickled for every few items.
"""

import dataclasses
import hashlib
import pickle
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from clp_aug import pipeline, remote
from clp_aug.checking import Look
from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_aug.mattes import make_chain
from clp_aug.nets.devices import CPU
from clp_aug.placing import Devices
from clp_aug.remote import BOXES, INFILL, Asked, Away, HandBack, away, device_of
from clp_aug.stages import Block, Stages
from clp_aug.staging import Staging
from tests.clp_aug.datasets.tiny_sets import make_folder

RUN = {"dataset": "demo", "cf": ("grey", "tile"), "f": ("random", "mix-rand"), "meta": "3/group", "limit": 60}
AUDIT = {"dataset": "demo", "audit": "test", "limit": 12, "remove": "tile"}


@contextmanager
def emulated(task, workers, address=None, gpus=False):
    parcel, made = pickle.dumps(task), []

    def answer(item):
        if len(made) % 3 == 0:
            emulated.task = pickle.loads(parcel)
        made.append(item)
        return pickle.loads(pickle.dumps(emulated.task(pickle.loads(pickle.dumps(item)))))

    emulated.calls.append((type(task).__name__, getattr(task, "half", ""), gpus, made))
    yield lambda items: map(answer, items)


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    """One that is not there, and small blocks."""
    emulated.calls = []
    monkeypatch.setattr(remote, "on_ray", emulated)
    monkeypatch.setattr(remote, "connect", lambda *_: nullcontext())
    monkeypatch.setattr(pipeline, "cluster_of", lambda config: nullcontext())
    monkeypatch.setattr("clp_aug.engines.engine_of", lambda *_: None)
    monkeypatch.setattr("clp_aug.pipeline.BOX_BLOCK", 7)
    monkeypatch.setattr("clp_aug.pipeline.INFILL_BLOCK", 5)
    return emulated


def augment(folder, engine, **run):
    out = folder / f"{engine}.h5"
    pipeline.augment(AugmentConfig(engine=engine, out=out, **run))
    return hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "run",
    [RUN, {**RUN, "matte": "grabcut", "max_fallback": 1.0}, {**RUN, "matte": "hatt", "cf": ("cagan",), "limit": 20},
     AUDIT, {**AUDIT, "paste": "box"}, {**RUN, "cf": (), "f": (), "ratio": 0}],
    ids=["given", "grabcut", "networks", "audit", "audit of boxes", "boxes alone"],
)  # fmt: skip
def test_the_same_bytes(tmp_path, run):
    assert augment(tmp_path, "ray", **run) == augment(tmp_path, "serial", **run)
    tasks = [call[:3] for call in emulated.calls]
    assert tasks == [("Away", BOXES, False), ("Away", INFILL, False)]
    assert {type(item) for item in emulated.calls[1][3]} == {Asked}


def test_mattes_travel_where_objects_are_cut_out_and_with_their_block_alone(tmp_path):
    augment(tmp_path, "ray", **AUDIT)
    for item in emulated.calls[1][3]:
        (first, mattes), block = item.known["look/matte"], item.block
        assert (first, len(mattes)) == (block.start, block.stop - block.start)
    augment(tmp_path / "other", "ray", **AUDIT, paste="box")
    assert all(not item.known for item in emulated.calls[3][3])


@pytest.mark.parametrize("after", range(0, 14, 2))
def test_a_run_that_dies_goes_on_and_looks_at_what_is_finished(tmp_path, monkeypatch, after):
    expected = augment(tmp_path, "serial", **RUN)
    done, real = [], Away.__call__

    def dies(self, asked):
        done.append(asked)
        if len(done) > after:
            raise KeyboardInterrupt
        return real(self, asked)

    with monkeypatch.context() as patch:
        patch.setattr(Away, "__call__", dies)
        with pytest.raises(KeyboardInterrupt):
            augment(tmp_path, "ray", **RUN)
    marked = {path.stem for path in tmp_path.glob("ray.h5.parts/*.done")}
    assert augment(tmp_path, "ray", **RUN, resume=True) == expected
    looked_at = [item.block.name for *_, made in emulated.calls[-2:] for item in made if item.looked_at]
    assert set(looked_at) == marked


def test_a_finished_block_that_is_damaged_is_made_again(tmp_path, monkeypatch):
    expected = augment(tmp_path, "serial", **RUN)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "summarise", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            augment(tmp_path, "ray", **RUN)
    staging = Staging(tmp_path / "ray.h5", {})
    staging.fill("meta/images", 3, np.zeros((1, 64, 64, 3), np.uint8))
    staging.fill("train/box", 0, np.zeros((2, 4), np.int32))
    staging.blank.close()
    assert augment(tmp_path, "ray", **RUN, resume=True) == expected
    again = [item.block.name for *_, made in emulated.calls[-2:] for item in made if not item.looked_at]
    assert again == ["boxes-train-000000", "infill-000000"]


def test_pictures_that_changed_meanwhile_are_told(tmp_path, monkeypatch):
    root = make_folder(tmp_path / "root", [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(8)])
    run = {"dataset": "folder", "root": root, "cf": ("grey",), "meta": "2/class", "matte": "centre", "size": 16}
    with monkeypatch.context() as patch:
        patch.setattr(Stages, "make_copies", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            augment(tmp_path, "ray", **run)
    make_folder(root, ["cat/6.png", "cat/7.png", "cat/0.png", "cat/1.png"])
    with pytest.raises(UsageError, match=r"on other pictures: cat/\d\.png has changed since; give --overwrite"):
        augment(tmp_path, "ray", **run, resume=True)


@pytest.mark.parametrize("seed", range(10))
def test_what_a_worker_knows_reads_like_the_shard(seed):
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 9, (30, 4))
    first = int(rng.integers(0, 10))
    known = HandBack({"meta/box": (first, whole[first:])})
    start = int(rng.integers(first, 30))
    stop = int(rng.integers(start, 31))
    assert (known.read("meta/box", start, stop) == whole[start:stop]).all()
    assert (known.read("meta/box", start) == whole[start:]).all()
    with pytest.raises(KeyError):
        known.read("train/box")


def task(tmp_path, monkeypatch, **run):
    """The task of the workers of a run, before its first block."""
    kept = []

    def keep(task, *_):
        kept.append(task)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "remote", keep)
        with pytest.raises(KeyboardInterrupt):
            augment(tmp_path, "ray", **{**RUN, **run})
    return kept[0]


def test_other_networks_on_a_node_are_refused(tmp_path, monkeypatch):
    there = away(task(tmp_path, monkeypatch, matte="hatt"), BOXES)
    there.compare()
    other = dataclasses.replace(there, facts={"the matte's digest": "0" * 64})
    with pytest.raises(InputError, match=r"the matte's digest is [0-9a-f]{64} here, 0{64} where the run was started"):
        other(Asked(Block("boxes-meta", 0, 0, 1), False, {}))
    assert other(Asked(Block("boxes-meta", 0, 0, 1), True, {})).filled is None


def test_an_accelerator_is_that_of_the_worker_and_of_the_same_make(tmp_path, monkeypatch):
    """Its work goes in batches; here the device is the CPU under another name."""
    stages = task(tmp_path, monkeypatch, matte="hatt")
    plain = away(stages, BOXES)(Asked(Block("boxes-train", 0, 3, 9), False, {}))
    stages.devices = Devices(matte="cuda:3")
    makes = iter(["cuda (A)", "cuda (A)", "cuda (B)"])
    found = []
    monkeypatch.setattr(remote, "make_of", lambda device: next(makes))
    monkeypatch.setattr(remote, "find_device", found.append)
    monkeypatch.setattr("clp_aug.stages.make_chain", lambda name, device: make_chain(name, CPU))
    there = away(stages, BOXES)
    assert there.stages.devices == Devices(matte="cuda"), "Ray lets it see one alone"
    made = there(Asked(Block("boxes-train", 0, 3, 9), False, {}))
    assert found == ["cuda"]
    assert made.pictures == plain.pictures
    for (name, start, values), (other, first, expected) in zip(made.filled, plain.filled, strict=True):
        assert (name, start) == (other, first)
        assert (values == expected).all()
    with pytest.raises(InputError, match=r"the device is cuda \(B\) here, cuda \(A\) where the run was started"):
        dataclasses.replace(there)(Asked(Block("boxes-train", 0, 3, 9), False, {}))


def test_each_half_of_a_run_asks_for_accelerators_of_its_own():
    devices = Devices(fills="cuda")
    assert (device_of(devices, BOXES), device_of(devices, INFILL)) == (CPU, "cuda")


def test_looks_at_pictures_go_as_they_are_and_a_folder_that_is_gone_is_one_line(tmp_path, monkeypatch):
    root = make_folder(tmp_path / "root", [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(4)])
    stages = task(tmp_path, monkeypatch, dataset="folder", root=root, meta="1/class", f=(), cf=("grey",))
    there = away(stages, BOXES)
    (root / "cat/1.png").write_bytes(b"")
    ((row, why),) = there(Look(np.arange(8)))
    assert "cat/1.png" in why
    assert stages.dataset.samples.name[row] == "cat/1.png"
    monkeypatch.setattr("clp_aug.engines.tasks.place", "node a (10.0.0.7)")
    assert there(Look(np.arange(8))) == [(row, f"node a (10.0.0.7): {why}")]
    root.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"data set folder: no folder .*root; give --root"):
        there(Look(np.arange(8)))


def test_an_address_without_a_cluster_has_no_effect():
    with pytest.raises(SettingError) as error:
        AugmentConfig(**RUN, address="auto")
    assert str(error.value) == "address = auto: it has no effect without a cluster; take engine = ray"
    assert "address" not in AugmentConfig(**RUN, engine="ray", address="auto").stored()
