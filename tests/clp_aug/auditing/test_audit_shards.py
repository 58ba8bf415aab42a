"""A shard for clp-audit: its views, whose backgrounds they have, and that it is the same however it was made."""

import dataclasses
import hashlib

import numpy as np
import pytest
from click.testing import CliRunner

from clp_aug import pipeline
from clp_aug.auditing.settings import AuditSettings
from clp_aug.auditing.split import audit_split
from clp_aug.cli import augment
from clp_aug.config import AugmentConfig
from clp_aug.contract import boxes
from clp_aug.contract.audits import BOX, MATTE, MIX_OTHER, MIX_OWN, MIX_SAME, header_of
from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_aug.contract.schema import AUDIT, AUDIT_VERSION, COUNTERFACTUAL, FACTUAL, ORIGINAL
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_aug.datasets.base import Dataset, Samples
from clp_aug.inspect_cli import inspect
from tests.clp_aug.datasets.tiny_sets import make_folder

DRAWS = 2
EACH = 1 + 2 + 2 + 1 + 2 * DRAWS


def config(folder, **change):
    settings = {"dataset": "demo", "audit": "auto", "limit": 12, "draws": DRAWS, "pool": 6, "remove": "tile"}
    return AugmentConfig(**{**settings, "out": folder / "x.h5", **change})


@pytest.fixture(scope="module", params=[MATTE, BOX])
def shard(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    return ShardReader(pipeline.augment(config(folder, paste=request.param)).path)


def test_says_how_it_was_made(shard):
    made = header_of(shard.header.settings[AUDIT])
    assert (made.split, made.backgrounds, made.draws, made.pool, made.remove) == ("test", "train", DRAWS, 6, "tile")
    assert shard.header.clp_schema == AUDIT_VERSION
    assert len(made.views()) == EACH - 1


def test_views_follow_their_picture(shard):
    tables, data = shard.tables, load_dataset("demo")
    assert len(shard) == 12 * EACH
    kinds = [ORIGINAL, FACTUAL, FACTUAL, COUNTERFACTUAL, COUNTERFACTUAL, *[FACTUAL] * (1 + 2 * DRAWS)]
    fills = ["none", "grey", "random", "grey", "tile", MIX_OWN, *[MIX_SAME] * DRAWS, *[MIX_OTHER] * DRAWS]
    for first in range(0, len(shard), EACH):
        assert tables["meta/kind"][first : first + EACH].tolist() == kinds
        assert [shard.header.fills[k] for k in tables["meta/fill"][first : first + EACH]] == fills
        row = int(data.rows_of(tables["meta/sample_id"][first : first + 1])[0])
        assert (shard.image(first) == data.image(row)).all()
        assert data.splits[data.samples.split[row]] == "test"


def test_backgrounds_are_of_the_pool_and_of_the_right_class(shard):
    tables, data = shard.tables, load_dataset("demo")
    fill = np.array(shard.header.fills)[tables["meta/fill"]]
    given = tables["meta/background_id"]
    assert ((given >= 0) == np.isin(fill, (MIX_SAME, MIX_OTHER))).all()
    pool = data.rows_of(tables["train/sample_id"])
    assert np.bincount(data.samples.label[pool]).tolist() == [6, 6]
    assert set(data.samples.split[pool].tolist()) == {0}
    assert np.array_equal(tables["train/label"], data.samples.label[pool])
    label = data.samples.label[data.rows_of(given[given >= 0])]
    own = tables["meta/label"][given >= 0]
    assert ((label == own) == (fill[given >= 0] == MIX_SAME)).all()


def test_pixels_are_those_of_object_and_background(shard):
    """By hand: what is pasted lies where it lay, all else is the background of the picture that is named."""
    from clp_aug.fills.scene import Scene
    from clp_aug.fills.tile import tile

    tables, data = shard.tables, load_dataset("demo")
    paste = shard.header.settings[AUDIT]["paste"]
    box_of = dict(zip(tables["train/sample_id"].tolist(), tables["train/box"].tolist(), strict=True))
    looks = {int(k): i for i, k in enumerate(tables["look/sample_id"])}

    def removed(row, box):
        image, (x0, y0, x1, y1) = data.image(row).copy(), box
        image[y0:y1, x0:x1] = tile(Scene(image, tuple(box), 0), tuple(box), None, None)
        return image

    for i in range(len(shard)):
        name = shard.header.fills[tables["meta/fill"][i]]
        if tables["meta/kind"][i] != FACTUAL or name == "random":
            continue
        first = i - i % EACH
        original, box = shard.image(first), tables["meta/box"][first].tolist()
        share = boxes.mask(tuple(box), 64, 64).astype(np.float32)
        if paste == MATTE:
            share *= shard.matte(looks[int(tables["meta/sample_id"][first])]) / 255
        donor = int(tables["meta/background_id"][i])
        if name == "grey":
            background = np.full_like(original, 128)
        elif name == MIX_OWN:
            background = removed(int(data.rows_of(tables["meta/sample_id"][i : i + 1])[0]), box)[:, ::-1]
        else:
            background = removed(int(data.rows_of(np.array([donor]))[0]), box_of[donor])
        expected = share[..., None] * original + (1 - share[..., None]) * background
        assert np.abs(shard.image(i) - expected).max() <= 0.51, (i, name)


def test_background_alone_is_an_ordinary_counterfactual(shard):
    tables = shard.tables
    for first in range(0, len(shard), EACH):
        outside = ~boxes.mask(tuple(tables["meta/box"][first].tolist()), 64, 64)
        assert (shard.image(first)[outside] == shard.image(first + 3)[outside]).all()
        assert (shard.image(first + 3)[~outside] == 128).all()


def test_the_same_bytes_by_workers_and_after_a_kill(tmp_path, monkeypatch):
    made = [pipeline.augment(config(tmp_path, out=tmp_path / f"{n}.h5", workers=n)).path for n in (1, 2)]
    monkeypatch.setattr(pipeline, "INFILL_BLOCK", 5)
    third = config(tmp_path, out=tmp_path / "3.h5")
    monkeypatch.setattr("clp_aug.stages.Stages.write_copies", stop_at(2))
    with pytest.raises(KeyboardInterrupt):
        pipeline.augment(third)
    monkeypatch.undo()
    monkeypatch.setattr(pipeline, "INFILL_BLOCK", 5)
    made.append(pipeline.augment(dataclasses.replace(third, resume=True)).path)
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in made}) == 1


def stop_at(number):
    from clp_aug.stages import Stages

    real, calls = Stages.write_copies, []

    def write_copies(self, block, views):
        calls.append(block)
        if len(calls) == number:
            raise KeyboardInterrupt
        real(self, block, views)

    return write_copies


def test_a_picture_never_gets_its_own_background_of_another(tmp_path):
    """Pictures and backgrounds of one split: the pool holds audited pictures, too."""
    shard = ShardReader(pipeline.augment(config(tmp_path, audit="train", limit=24, pool=500)).path)
    given = shard.tables["meta/background_id"]
    assert (given != shard.tables["meta/sample_id"]).all()
    assert np.isin(shard.tables["meta/sample_id"], shard.tables["train/sample_id"]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cf": ("grey",)}, "--cf has no effect with --audit, which makes its own views of the pictures as they are;"),
        ({"imbalance": 10.0}, "--imbalance has no effect with --audit"),
        ({"meta": "10/class"}, "--meta has no effect with --audit"),
        ({"keep_meta_in_train": True}, "--keep-meta-in-train has no effect with --audit"),
        ({"audit": None, "cf": ("grey",), "draws": 3, "pool": 7}, "it is a setting of an audit; give --audit, too"),
        ({"remove": "lama"}, "expected one of cagan, telea, tile, grey"),
        ({"audit": None, "draws": 3, "pool": 50, "remove": "cagan"}, "nothing to make: give counterfactual fills"),
        ({"audit": None, "draws": 3, "pool": 50, "remove": "cagan", "ratio": 0, "f": ("random",)}, "boxes alone"),
    ],
)
def test_settings_without_effect_are_refused(tmp_path, change, message):
    with pytest.raises((SettingError, UsageError)) as error:
        config(tmp_path, **change)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"audit": "tset"}, UsageError, "--audit tset: did you mean test? data set demo has"),
        ({"backgrounds": "wal"}, UsageError, "--backgrounds wal: data set demo has test, train, val"),
        ({"limit": 1}, UsageError, "limit 1: fewer than one picture per group"),
    ],
)
def test_what_the_data_set_has_not_is_refused(tmp_path, change, error, message):
    with pytest.raises(error) as raised:
        pipeline.augment(config(tmp_path, **change))
    assert message in str(raised.value)


def test_a_shard_of_boxes_alone(tmp_path):
    outcome = pipeline.augment(
        AugmentConfig(dataset="demo", ratio=0, limit=60, meta="3/group", out=tmp_path / "boxes.h5")
    )
    shard = ShardReader(outcome.path)
    assert set(shard.tables["meta/kind"].tolist()) == {ORIGINAL}
    assert len(shard.tables["train/box"]) == 60
    assert shard.header.settings["ratio"] == 0


def test_write_boxes_gives_the_same_shard(tmp_path):
    from clp_aug.library import write_boxes

    expected = pipeline.augment(AugmentConfig(dataset="demo", ratio=0, meta="3/group", out=tmp_path / "a.h5")).path
    made = write_boxes("demo", None, tmp_path / "b.h5", meta="3/group", workers=2)
    assert made.read_bytes() == expected.read_bytes()


def test_a_meta_shard_says_nothing_of_audits(tmp_path):
    path = pipeline.augment(
        AugmentConfig(dataset="demo", cf=("grey",), limit=60, meta="3/group", out=tmp_path / "m.h5")
    )
    shard = ShardReader(path.path)
    assert shard.header.clp_schema == "1.1"
    assert "meta/background_id" not in shard.tables
    assert not {"audit", "draws", "pool", "paste", "remove", "backgrounds"} & set(shard.header.settings)


def test_a_split_without_pictures_is_refused(tmp_path):
    files = [f"train/{name}/{i}.png" for name in ("cat", "dog") for i in range(6)]
    change = {"dataset": "folder", "root": make_folder(tmp_path / "pictures", files), "limit": None, "matte": "centre"}
    with pytest.raises(InputError, match=r"its split val has no pictures; choose another with --backgrounds"):
        pipeline.augment(config(tmp_path, backgrounds="val", **change))


def test_backgrounds_of_one_class_are_refused():
    split, label = np.array([0, 0, 2, 2]), np.array([1, 1, 0, 1])
    samples = Samples(np.arange(4), label, np.zeros(4, np.int64), split, [str(i) for i in range(4)])
    with pytest.raises(InputError, match=r"split train has pictures of one class only, expected two or more.*; choose"):
        audit_split(Dataset("four", ("cat", "dog"), samples), AuditSettings(audit="auto"), None, 0)


def test_the_command_says_what_it_made_and_what_comes_next(tmp_path):
    out = tmp_path / "a.h5"
    words = "--audit --dataset demo --size 32 --limit 8 --draws 1 --pool 4 --remove tile --quiet --workers 1 --out"
    done = CliRunner().invoke(augment, [*words.split(), str(out)])
    assert done.exit_code == 0, done.output
    assert "pictures   8 audited, 8 for backgrounds" in done.output
    assert done.output.splitlines()[-1].endswith(f"next: clp-audit MODEL --meta {out} --html audit.html")
    shown = CliRunner().invoke(inspect, [str(out)]).output
    assert shown.splitlines()[-1].endswith(f"or clp-audit MODEL --meta {out}")
    assert "audit (backgrounds train, draws 1," in " ".join(shown.split())
