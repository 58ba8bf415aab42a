"""The flow in one process: what the shard holds, what a second run does not do again, what stops a run."""

import dataclasses
import os

import numpy as np
import pytest

from clp_aug import pipeline, planning
from clp_aug.common.locks import held_for
from clp_aug.config import AugmentConfig
from clp_aug.contract import boxes
from clp_aug.contract.errors import InputError, TooManyFallbacks, UsageError
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, ORIGINAL
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_aug.datasets.demo import Demo
from clp_aug.stages import Stages
from tests.clp_aug.datasets.tiny_sets import make_folder


def config(tmp_path, **change):
    settings = {"dataset": "demo", "cf": ("grey", "tile"), "f": ("random", "mix-rand"), "meta": "3/group", "limit": 60}
    return AugmentConfig(**{**settings, "out": tmp_path / "x.h5", **change})


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    outcome = pipeline.augment(config(folder))
    assert [path.name for path in folder.iterdir()] == ["x.h5"]
    assert outcome.rows == 36
    assert outcome.outcomes == {"ok": 72}
    return ShardReader(outcome.path)


def test_rows_belong_together(shard):
    tables, data = shard.tables, load_dataset("demo")
    kind, fill = tables["meta/kind"], tables["meta/fill"]
    assert np.bincount(kind).tolist() == [12, 12, 12]
    for i in range(0, len(shard), 3):
        assert kind[i : i + 3].tolist() == [ORIGINAL, COUNTERFACTUAL, FACTUAL]
        assert len(set(tables["meta/parent_id"][i : i + 3])) == 1
        row = int(data.rows_of(tables["meta/sample_id"][i : i + 1])[0])
        assert (shard.image(i) == data.image(row)).all()
        assert tables["meta/label"][i] == data.samples.label[row]
        assert tables["meta/group"][i] == data.samples.group[row]
        inside = boxes.mask(tuple(tables["meta/box"][i]), 64, 64)
        assert (shard.image(i)[~inside] == shard.image(i + 1)[~inside]).all()
        assert (shard.image(i)[inside] == shard.image(i + 2)[inside]).all()
        name = shard.header.fills[fill[i + 1]]
        assert name in ("grey", "tile")
        assert ((shard.image(i + 1)[inside] == 128).all()) == (name == "grey")
        solid = data.alpha(row) >= 0.5
        assert solid[inside].sum() == solid.sum(), "the box encloses the mask"
    assert (shard.matte(0) == np.round(data.alpha(int(data.rows_of(tables["look/sample_id"][:1])[0])) * 255)).all()


def test_every_training_picture_has_a_box_and_none_is_a_meta_picture(shard):
    tables = shard.tables
    assert len(tables["train/sample_id"]) == 60
    assert not np.isin(tables["train/sample_id"], tables["meta/sample_id"]).any()
    assert (np.diff(tables["train/sample_id"]) > 0).all()
    data = load_dataset("demo")
    assert (tables["train/label"] == data.samples.label[data.rows_of(tables["train/sample_id"])]).all()


def test_the_shard_stores_its_settings(shard):
    assert shard.header.settings["meta"] == "3/group"
    assert shard.header.settings["size"] == 64
    assert shard.header.settings["matte"] == "given"
    assert shard.header.fingerprint == load_dataset("demo").fingerprint()


@pytest.mark.parametrize("changed", [{"engine": "processes", "workers": 2}, {"engine": "serial"}])
def test_same_bytes_for_every_engine(shard, tmp_path, changed):
    outcome = pipeline.augment(config(tmp_path, **changed))
    assert outcome.path.read_bytes() == shard.path.read_bytes()


@pytest.mark.parametrize("after", range(1, 7))
def test_a_run_that_dies_goes_on_where_it_was(shard, tmp_path, monkeypatch, after):
    done, again, real = [], [], Stages.make

    def work_then_die(self, block):
        if len(done) == after:
            if block.stage == "infill":  # in the middle of the block
                rows = block.start * self.rows_each
                self.staging.fill("meta/images", rows, np.full((2, 64, 64, 3), 77, np.uint8))
            raise KeyboardInterrupt
        done.append(block)
        return real(self, block)

    monkeypatch.setattr(pipeline, "BOX_BLOCK", 30)
    monkeypatch.setattr(pipeline, "INFILL_BLOCK", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Stages, "make", work_then_die)
        with pytest.raises(KeyboardInterrupt):
            pipeline.augment(config(tmp_path, engine="serial"))
    assert not (tmp_path / "x.h5").exists()
    monkeypatch.setattr(Stages, "make", lambda self, block: (again.append(block), real(self, block))[1])
    outcome = pipeline.augment(config(tmp_path, engine="serial", resume=True))
    assert len(done) == after
    assert not set(again) & set(done), "a finished block is not made again"
    assert outcome.path.read_bytes() == shard.path.read_bytes(), "and neither blocks nor the kill leave a trace"


def test_other_settings_do_not_go_on_with_this_run(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "summarise", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pipeline.augment(config(tmp_path))
    with pytest.raises(UsageError, match="is of a run with seed = 0, now 5; give --overwrite"):
        pipeline.augment(config(tmp_path, seed=5, resume=True))


def test_too_many_fallbacks_stop_the_run_and_can_be_borne(tmp_path, monkeypatch):
    monkeypatch.setattr(Demo, "alpha", lambda self, row, size=None, fit="crop": None)
    with pytest.raises(TooManyFallbacks) as error:
        pipeline.augment(config(tmp_path))
    assert "matte given gave no usable box for 72 of 72 pictures (100%; 72 fallback; e.g. " in str(error.value)
    assert ", more than --max-fallback 0.5; give --boxes or --masks" in str(error.value)
    assert error.value.exit_code == 4
    assert not (tmp_path / "x.h5").exists()
    outcome = pipeline.augment(config(tmp_path, max_fallback=1, resume=True))
    assert outcome.outcomes == {"fallback": 72}
    assert sum(outcome.sources.values()) == 72
    assert "hatt" in outcome.sources
    assert "given" not in outcome.sources
    assert set(outcome.examples) == {"fallback"}
    assert len(set(outcome.examples["fallback"]) & set(load_dataset("demo").samples.name)) == 3


def test_a_failure_before_the_first_block_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Stages, "make", lambda self, block: (_ for _ in ()).throw(InputError("broken")))
    with pytest.raises(InputError, match="broken"):
        pipeline.augment(config(tmp_path))
    assert not list(tmp_path.iterdir())


def test_one_class_is_no_task(tmp_path):
    make_folder(tmp_path, [f"cat/{i}.png" for i in range(6)])
    with pytest.raises(InputError, match=r"^data set folder: it has one class, cat; a classifier needs two$"):
        pipeline.augment(config(tmp_path, dataset="folder", root=tmp_path))


def test_partner_fills_need_a_second_class(tmp_path, monkeypatch):
    """A data set has two, but a meta set out of what val has may have one."""
    real = planning.make_split

    def of_one_class(dataset, settings):
        split = real(dataset, settings)
        return dataclasses.replace(split, meta=split.meta[dataset.samples.label[split.meta] == 0])

    monkeypatch.setattr(planning, "make_split", of_one_class)
    with pytest.raises(InputError, match="fill 'mix-rand' needs another class, but the meta set has only one; choose"):
        pipeline.augment(config(tmp_path))


def test_the_default_size_is_that_of_the_pictures_but_at_most_224():
    class Sized:
        def source_size(self, row):
            return [(300, 500), (400, 260), (640, 480)][row % 3]

    assert planning.default_size(Sized(), np.arange(30)) == 224
    assert planning.default_size(load_dataset("demo"), np.arange(3)) == 64


def test_a_shard_of_other_settings_in_the_way_is_named(tmp_path, shard):
    (tmp_path / "x.h5").write_bytes(shard.path.read_bytes())
    with pytest.raises(UsageError, match=r"x\.h5 exists; use it, or give --overwrite, or another --out"):
        pipeline.augment(config(tmp_path))
    with pytest.raises(
        UsageError, match=r"x\.h5 exists and is of a run with noise = None, now 'flip:0\.4': rename it, o"
    ):
        pipeline.augment(config(tmp_path, noise="flip:0.4"))


def test_a_long_tail_counted_in_all_pictures_can_be_read_again(tmp_path):
    """There the largest class trains on its meta pictures, too."""
    outcome = pipeline.augment(config(tmp_path, imbalance=10.0, img_max="all", limit=None, size=16))
    tables = ShardReader(outcome.path).tables
    assert np.isin(tables["meta/sample_id"], tables["train/sample_id"]).any()


def remarks(plan):
    return plan.remarks


def test_what_the_protocol_does_to_the_data_is_said(tmp_path):
    said = remarks(pipeline.read(config(tmp_path)))
    assert said == ("--limit draws as evenly as possible from groups or classes: a bias or long tail shrinks",)
    assert remarks(pipeline.read(config(tmp_path, limit=None))) == ()
    taken = pipeline.read(config(tmp_path, limit=None, meta="50/class", meta_from="val"))
    assert remarks(taken) == ()
    plan = pipeline.read(config(tmp_path, limit=None, meta="90/class", meta_from="val"))
    label = plan.dataset.samples.label
    rings = plan.split.val[label[plan.split.val] == 0]
    lacking = dataclasses.replace(plan, split=dataclasses.replace(plan.split, val=rings))
    assert remarks(lacking) == ("val has no pictures left for 1 classes: epochs are selected by the others",)
    nothing = dataclasses.replace(plan, split=dataclasses.replace(plan.split, val=rings[:0], meta=rings))
    nothing.split.report["meta_missing"] = 7
    assert remarks(nothing) == (
        "7 pictures of --meta 90/class are missing from the meta set",
        "class cross has no meta picture",
        "no val pictures are left: no epoch can be selected, the last one is used",
    )


def test_a_second_run_on_the_same_shard_is_refused(tmp_path):
    with (
        held_for(tmp_path / "x.h5"),
        pytest.raises(
            UsageError, match=r"another run is writing to .*x\.h5; wait for it to end, or choose another --out"
        ),
    ):
        pipeline.augment(config(tmp_path, overwrite=True, resume=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changed", ["cat/1.png", "dog/3.png"])
@pytest.mark.parametrize("matte", ["centre", "grabcut"])
def test_pictures_that_change_while_a_run_rests_are_not_taken(tmp_path, monkeypatch, changed, matte):
    """Name, size and time stay as they were."""
    root = tmp_path / "root"
    make_folder(root, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(8)])
    run = {"dataset": "folder", "root": root, "cf": ("grey",), "f": (), "meta": "2/class", "limit": None, "size": 16}
    run["matte"] = matte
    with monkeypatch.context() as patch:
        patch.setattr(Stages, "make_copies", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pipeline.augment(config(tmp_path, **run))
    path, times = root / changed, (root / changed).stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the picture can still be read
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UsageError, match=rf"on other pictures: {changed} has changed since; give --overwrite"):
        pipeline.augment(config(tmp_path, resume=True, **run))
