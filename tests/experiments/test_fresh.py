"""The fresh sets: splits share nothing, shortcuts are as strong as said, frames keep cuts at their edge, rows stay."""

import csv
import json
import subprocess
from argparse import Namespace
from collections import Counter

import cv2
import h5py
import numpy as np
import pytest

from clp_aug.datasets import load_dataset
from clp_aug.making.shift import Composition
from clp_train.cli import config_of as config_of_command
from clp_train.cli import train
from clp_train.methods import METHODS
from experiments.fresh import framing, fresh, make_sets

SCENES = [*make_sets.INDOORS, *make_sets.OUTDOORS, *make_sets.REEF, *make_sets.TOWN]
SIDE = 24


def pack(path, pixels, names=None, attributes=(), **columns):
    blobs = [cv2.imencode(".png", each)[1].tobytes() for each in pixels]
    with h5py.File(path, "w") as file:
        file["bytes"] = np.frombuffer(b"".join(blobs), np.uint8)
        file["offset"] = np.cumsum([0, *map(len, blobs)])
        if names is not None:
            file["name"] = np.array(names, "S")
        for name, values in columns.items():
            file[name] = values
        for name, value in attributes:
            file.attrs[name] = value


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Containers of noise with the names, masks and labels of the real ones."""
    folder, rng = tmp_path_factory.mktemp("packed"), np.random.default_rng(0)

    def noise(count, channels=3):
        return rng.integers(0, 256, (count, SIDE, SIDE, channels), np.uint8)

    names = [f"{kind}_{i}" for kind in ("pet/Bengal", "pet/Abyssinian") for i in range(20)]
    names += [f"{kind}{i}" for kind in ("pet/american_bulldog_", "human/") for i in range(20)]
    trimap = np.full((SIDE, SIDE), 2, np.uint8)
    trimap[4:16, 6:18], trimap[6:14, 8:16] = 3, 1
    masks = [trimap] * 60 + [np.where(trimap == 2, 0, 255).astype(np.uint8)] * 20
    pack(folder / "matting_images.h5", noise(80), names)
    pack(folder / "matting_masks.h5", masks, names)
    cut, stamps = noise(24, 4), [f"{kind}/{i}.png" for kind in ("animals/fish", "plants") for i in range(10)]
    cut[..., 3] = trimap != 2
    cut[..., 3] *= 255
    pack(folder / "alpha_cutouts.h5", cut, [*stamps, *[f"{left}{i}" for left in make_sets.LEFT_OUT for i in "ab"]])
    pack(folder / "landscapes150.h5", noise(20), [f"train/{i}.jpg" for i in range(20)], is_water=np.arange(20) >= 10)
    label, known = np.repeat(np.arange(len(SCENES)), 5), [("names", json.dumps(SCENES))]
    pack(folder / "tiny_imagenet100.h5", noise(len(label)), attributes=known, label=label)
    return folder


@pytest.fixture(scope="module", params=make_sets.KINDS)
def made(request, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / request.param
    return request.param, make_sets.make(request.param, data, out, 32, 0)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_no_object_and_no_background_serves_two_splits(made):
    split = {row["file"]: row["split"] for row in rows_of(made[1] / "table.csv")}
    for column in ("object", "background"):
        seen = {(row[column], split[row["file"]]) for row in rows_of(made[1] / "made_of.csv")}
        assert len({name for name, _ in seen}) == len(seen), column
    assert not any(row["object"].startswith(make_sets.LEFT_OUT) for row in rows_of(made[1] / "made_of.csv"))


def test_shortcuts_are_as_strong_in_training_as_said_and_tell_nothing_elsewhere(made):
    name, folder = made
    kind, rows = make_sets.KINDS[name], rows_of(folder / "table.csv")
    strengths = {"place": (kind.places, kind.place), "colour": (make_sets.COLOURS, kind.colour)}
    for column, (values, share) in strengths.items():
        if share is None:
            assert column not in rows[0]
            continue
        for split in ("train", "val", "test"):
            for c, label in enumerate(kind.classes):
                counts = Counter(row[column] for row in rows if (row["split"], row["label"]) == (split, label))
                own = counts[values[c]] / counts.total()
                assert own == pytest.approx(share if split == "train" else 0.5, abs=1.5 / counts.total()), label


def test_a_set_is_read_with_its_groups_and_masks(made):
    name, folder = made
    dataset, kind = load_dataset("table", folder), make_sets.KINDS[name]
    assert set(dataset.class_names) == set(kind.classes)
    assert len(dataset.group_names) == (4 if kind.colour is None else 8)
    assert all(0.02 < dataset.alpha(row).mean() < 0.95 for row in range(0, len(dataset.samples.label), 7))
    assert dataset.image(0, 32).shape == (32, 32, 3)


def test_the_same_seed_makes_the_same_bytes_and_a_set_that_is_there_stays(data, tmp_path):
    first, second, other = (
        make_sets.make("two", data, tmp_path / f"{k}", 32, seed) for k, seed in enumerate((0, 0, 1))
    )
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
    assert (first / "made_of.csv").read_bytes() != (other / "made_of.csv").read_bytes()
    (first / "table.csv").write_text("kept")
    assert make_sets.make("two", data, first, 32, 0) == first
    assert (first / "table.csv").read_text() == "kept"


def test_colours_are_dealt_within_each_group():
    plan = [Composition(n, 0, n % 2, n % 3 % 2, n // 2 % 2, 0) for n in range(600)]
    colour = make_sets.colours_of(plan, 0.9, 0)
    for split in (0, 1):
        for label in (0, 1):
            for place in (0, 1):
                cell = [k for k, c in enumerate(plan) if (c.split, c.label, c.place) == (split, label, place)]
                other = sum(colour[k] != label for k in cell)
                assert other == (len(cell) // 2 if split else round(0.1 * len(cell)))


def test_a_cast_makes_warm_red_and_cold_blue():
    grey = np.full((2, 2, 3), 100, np.uint8)
    assert make_sets.with_cast(grey, "warm")[0, 0].tolist() == [120, 100, 75]
    assert make_sets.with_cast(grey, "cold")[0, 0].tolist() == [75, 95, 120]
    assert make_sets.with_cast(np.full((1, 1, 3), 255, np.uint8), "warm")[0, 0, 0] == 255


@pytest.mark.parametrize("seed", range(3))
def test_alpha_of_a_trimap_is_by_the_nearest_object_and_background(seed):
    rng = np.random.default_rng(seed)
    trimap = rng.choice(np.array([1, 2, 3, 3, 3], np.uint8), (9, 11))

    def nearest(kind):
        at = np.argwhere(trimap == kind)
        return np.array([[np.hypot(*(at - (y, x)).T).min() for x in range(11)] for y in range(9)])

    expected = (0.5 + (nearest(2) - nearest(1)) / (2 * make_sets.EDGE)).clip(0, 1)
    found = make_sets.alpha_of_trimap(trimap)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.05, "OpenCV's distances with a mask of 5 are near"


def layer_with(box, height=40, width=50):
    x0, y0, x1, y1 = box
    layer = np.zeros((height, width, 4), np.float32)
    layer[..., 0] = np.arange(height * width).reshape(height, width)
    layer[y0:y1, x0:x1, 3] = 1
    return layer


CUTS = {
    "free": (15, 10, 30, 25),
    "left": (0, 10, 20, 25),
    "right": (30, 10, 50, 25),
    "top": (15, 0, 30, 20),
    "bottom": (15, 20, 30, 40),
    "corner": (0, 20, 25, 40),
    "left and right": (0, 10, 50, 25),
    "top and bottom": (15, 0, 30, 40),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_frame_keeps_the_object_whole_and_its_cuts_at_the_edge(name):
    box = CUTS[name]
    layer = layer_with(box)
    inside = layer[..., 3] > 0
    for seed in range(20):
        frame = framing.frame_picture(layer, np.random.default_rng(seed))
        side = frame.shape[0]
        solid = frame[..., 3] > 0
        assert frame.shape == (side, side, 4)
        assert solid.sum() == inside.sum()
        assert (frame[..., 0][solid] == layer[..., 0][inside]).all(), "the same pixels in the same order"
        y, x = np.nonzero(solid)
        edges = (x.min() == 0, y.min() == 0, x.max() == side - 1, y.max() == side - 1)
        for at_edge, cut in zip(edges, (box[0] == 0, box[1] == 0, box[2] == 50, box[3] == 40), strict=True):
            assert at_edge or not cut


def test_what_fills_its_frame_or_is_solid_nowhere_does_not_fit():
    assert all(framing.fits(layer_with(box)[..., 3]) for box in CUTS.values())
    assert not framing.fits(np.zeros((40, 50)))
    assert not framing.fits(np.ones((40, 50)))
    assert framing.fits(layer_with((0, 2, 50, 40))[..., 3]), "there is room above a picture that is broad"
    assert not framing.fits(layer_with((0, 2, 50, 50), 50)[..., 3])
    with pytest.raises(ValueError, match="solid nowhere; expected an object"):
        framing.frame_picture(np.zeros((40, 50, 4), np.float32), np.random.default_rng(0))


@pytest.mark.parametrize("method", [row for row in fresh.ROWS if row in METHODS])
def test_rows_are_commands_that_are_taken(method):
    arguments = ["--meta", "shard.h5", *fresh.arguments_of_run(method, "root", "cache")]
    given = train.make_context("clp-train", arguments).params
    texts = given.pop("texts")
    named = {key: value for key, value in given.items() if value not in (None, False)}
    assert config_of_command(named, texts).method == method


def result_of(share=None):
    metrics = {"test": {"average": 0.8, "weighted_average": 0.9, "worst": 0.5, "per_group": [0.5, 1.0],
                        "per_class": [0.7, None, 0.9]}}  # fmt: skip
    history = [{"train_loss": 1.0, **({} if share is None else {"background_share": share / 2})},
               {"train_loss": 0.5, **({} if share is None else {"background_share": share})}]  # fmt: skip
    own = {"options": {"tau": 1.0}}
    return {"seconds": 3, "history": history, "last": {"metrics": metrics}, "selected": None, "config": own,
            "versions": {}, "fingerprint": "f", "group_names": ["a", "b"]}  # fmt: skip


def test_scores_have_the_worst_class_and_the_last_share():
    found = fresh.scores(result_of(0.6))
    assert found["last"]["test"]["worst_class"] == 0.7
    assert found["background_share"] == 0.6
    assert found["selected"] == {}
    assert found["options"] == {"tau": 1.0}
    assert "background_share" not in fresh.scores(result_of())


def test_rows_that_are_unknown_or_refused_are_passed_over_and_finished_ones_kept(tmp_path, monkeypatch, capsys):
    asked = []

    def trained(folder, arguments):
        asked.append(folder.name)
        if folder.name.startswith("dfr"):
            raise subprocess.CalledProcessError(fresh.REFUSED, "clp-train")
        return result_of()

    monkeypatch.setattr(fresh, "make", lambda *given: tmp_path)
    monkeypatch.setattr(fresh, "shard_of", lambda path, *given: path)
    monkeypatch.setattr(fresh, "audit_of", lambda *given: {"gap": [0.1, 0.0, 0.2], "verdict": "none"})
    monkeypatch.setattr(fresh.runner, "train", trained)
    given = {"data": tmp_path, "work": tmp_path, "out": tmp_path, "size": 160}
    fresh.run_set("pets", Namespace(rows=["erm", "no-such-method", "dfr"], seeds=[0], **given))
    fresh.run_set("pets", Namespace(rows=["erm"], seeds=[1], **given))
    found = json.loads((tmp_path / "pets.json").read_text())
    assert asked == ["erm-seed0", "dfr-seed0", "erm-seed1"]
    assert {row: list(seeds) for row, seeds in found["rows"].items()} == {"erm": ["0", "1"]}
    assert found["rows"]["erm"]["0"]["audit"]["gap"] == [0.1, 0.0, 0.2]
    printed = capsys.readouterr().out
    assert "pets, no-such-method: no such method yet; passed over" in printed
    assert "pets, dfr, seed 0: refused, see above; passed over" in printed
