"""clp-data glt from the outside: pictures of known attributes, files, messages, and the data set that reads them."""

import json

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug.contract.errors import UsageError
from clp_aug.data_cli import data
from clp_aug.datasets import load_dataset
from clp_aug.datasets.demo import Demo
from clp_aug.making import glt
from clp_aug.making.glt import GltConfig, attributes_of, frequency, rank_classes
from clp_aug.protocol.features import default_features

SIZES = (24, 16, 8, 6, 5, 4)  # pictures of each colour in a class: attributes of 40, 14 and 9


@pytest.fixture
def pictures(tmp_path):
    """Three classes of six colours; every picture has a box, and one has a mask."""
    root = tmp_path / "colours"
    rng = np.random.default_rng(0)
    boxes = ["file,x0,y0,x1,y1"]
    for c in range(3):
        for k, size in enumerate(SIZES):
            for i in range(size):
                path = root / "train" / f"n{c}" / f"{k}-{i:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                colour = np.array([40 * (k + 1), 250 - 40 * (k + 1), 80 * c])
                Image.fromarray(np.clip(rng.normal(colour, 1, (8, 8, 3)), 0, 255).astype(np.uint8)).save(path)
                boxes.append(f"train/n{c}/{path.name},1,1,7,7")
    (root / "boxes.csv").write_text("\n".join(boxes) + "\n")
    (root / "masks/train/n0").mkdir(parents=True)
    Image.new("L", (8, 8), 255).save(root / "masks/train/n0/0-00.png")
    return root


def call(*arguments):
    return CliRunner().invoke(data, ["glt", *(str(a) for a in arguments), "--quiet", "--features", "thumbnail"])


def colour_of(name):
    return int(name.rpartition("/")[2][0])


def test_clusters_are_the_known_attributes_and_the_data_sets_read_the_files(pictures):
    done = call("--from", pictures, "--imbalance", 3)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == (
        f"{pictures}; next: clp-augment --dataset generated-glt --root {pictures} --cf tile --f random, and the same"
        " with generated-cbl for ALT"
    )
    for kind in ("glt", "cbl"):
        dataset = load_dataset(f"generated-{kind}", pictures)
        attribute = dataset.strata["attribute"][1]
        np.testing.assert_array_equal(attribute, [colour_of(name) // 2 for name in dataset.samples.name])
        assert [dataset.class_names[y] for y in dataset.samples.label] == [
            name.split("/")[1] for name in dataset.samples.name
        ]
        assert len(dataset.annotations.boxes) == len(dataset.samples.label)
        bbl = dataset.samples.split == dataset.splits.index("test_bbl")
        cells = np.bincount(3 * dataset.samples.label[bbl] + attribute[bbl], minlength=9)
        assert cells.tolist() == [2] * 9  # a quarter of nine
    train = load_dataset("generated-glt", pictures).samples
    per_class = np.bincount(train.label[train.split == 0])
    assert per_class[0] > per_class[1] > per_class[2]


def test_the_same_settings_give_the_same_bytes_and_seeds_differ(pictures):
    files = [pictures / "generated_glt.json", pictures / "generated_cbl.json"]
    assert call("--from", pictures, "--imbalance", 3).exit_code == 0
    first = [file.read_bytes() for file in files]
    again = call("--from", pictures, "--imbalance", 3)
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr == f"error: {files[0]}: it exists already; give --overwrite, or --out DIR for a copy\n"
    assert call("--from", pictures, "--imbalance", 3, "--overwrite").exit_code == 0
    assert [file.read_bytes() for file in files] == first
    assert call("--from", pictures, "--imbalance", 3, "--overwrite", "--seed", 1).exit_code == 0
    assert [file.read_bytes() for file in files] != first


def test_the_files_say_what_they_are(pictures):
    done = call("--from", pictures, "--imbalance", 3, "--json")
    outcome = json.loads(done.stdout)
    content = json.loads((pictures / "generated_glt.json").read_text())
    about = content["generator"]
    assert about["name"] == "generated-GLT, not a published split"
    assert (about["source"], about["features"], about["clusters"], about["seed"]) == ("colours", "thumbnail", 6, 0)
    assert about["per_attribute"] == outcome["per_attribute"] == 2
    assert sum(about["short"]) == outcome["short"]
    assert str(pictures.parent) not in (pictures / "generated_glt.json").read_text(), "no path of this machine"
    assert {which: len(content[which]["label"]) for which in outcome["counts"]["glt"]} == outcome["counts"]["glt"]
    assert outcome["counts"]["cbl"]["test_lt"] == 0
    assert set(content["train"]["frequency"].values()) <= {0, 1, 2}


def test_a_copy_elsewhere_has_pictures_masks_and_boxes(pictures, tmp_path):
    out = tmp_path / "copy"
    assert call("--from", pictures, "--imbalance", 3, "--out", out).exit_code == 0
    assert not (pictures / "generated_glt.json").exists()
    dataset, source = load_dataset("generated-glt", out), load_dataset("folder", pictures)
    rows = {name: row for row, name in enumerate(source.samples.name)}
    for row, name in enumerate(dataset.samples.name):
        np.testing.assert_array_equal(dataset.image(row), source.image(rows[name]))
        assert dataset.annotations.boxes[row] == source.annotations.boxes[rows[name]]
    masked = [name for name in dataset.samples.name if name.endswith("n0/0-00.png")]
    assert len(dataset.annotations.masks) == len(masked)
    again = call("--from", pictures, "--out", out)
    assert again.stderr == f"error: {out}: it exists already; give another --out or remove it\n"


def test_pictures_that_are_no_files_are_written(tmp_path):
    done = call("--from", "demo")
    assert done.stderr == "error: --from demo: its pictures are no files; give a folder for them with --out DIR\n"
    out = tmp_path / "rings"
    assert call("--from", "demo", "--out", out, "--imbalance", 4).exit_code == 0
    dataset, demo = load_dataset("generated-cbl", out), Demo()
    for row in (0, len(dataset.samples.label) - 1):
        sample_id = int(dataset.samples.name[row].rpartition("/")[2][:-4])
        np.testing.assert_array_equal(dataset.image(row), demo.image(sample_id))
        assert dataset.class_names[dataset.samples.label[row]] == demo.class_names[demo.samples.label[sample_id]]


def test_the_name_of_a_folder_where_data_sets_lie(pictures, monkeypatch):
    monkeypatch.setenv("CLP_DATA", str(pictures.parent))
    assert call("--from", "colours", "--imbalance", 3).exit_code == 0
    missing = call("--from", "elsewhere")
    assert missing.exit_code == 3
    assert f"no folder at {pictures.parent}/elsewhere or data/elsewhere; give it with --root DIR" in missing.stderr


def test_equal_classes_are_ranked_by_seed_and_others_by_size(pictures):
    dataset = load_dataset("folder", pictures)
    orders = {tuple(rank_classes(dataset, seed)) for seed in range(20)}
    assert len(orders) > 3
    assert rank_classes(dataset, 3).tolist() == rank_classes(dataset, 3).tolist()
    for path in sorted((pictures / "train/n1").iterdir())[:5]:
        path.unlink()
    (pictures / "boxes.csv").unlink()
    dataset = load_dataset("folder", pictures)
    assert {int(rank_classes(dataset, seed)[2]) for seed in range(20)} == {1}


def test_attributes_pair_the_clusters():
    points = np.repeat(10 * np.eye(6), SIZES, axis=0).astype(np.float32)
    told = []
    found = attributes_of(points, np.zeros(len(points), np.int64), 0, told.append)
    assert found.tolist() == [0] * 40 + [1] * 14 + [2] * 9
    assert told == [1]


def test_shots():
    assert [frequency(rank, 1000) for rank in (0, 399, 400, 849, 850, 999)] == [0, 0, 1, 1, 2, 2]


WRONG = {
    "imbalance": ({"imbalance": float("nan")}, "imbalance = nan: expected a number from 1 to 1e"),
    "per attribute": ({"per_attribute": 0}, "per_attribute = 0: expected a whole number >= 1"),
    "seed": ({"seed": -1}, "seed = -1: expected a whole number >= 0"),
    "features": ({"features": "sift"}, "unknown features 'sift': choose one of efficientnet-lite0, thumbnail"),
    "source": ({"source": "imagenet-glt"}, "--from imagenet-glt: it has a generalised long tail already"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings(change, message):
    with pytest.raises(UsageError) as raised:
        GltConfig(**{"source": "demo"} | change)
    assert str(raised.value).startswith(message)


def test_a_failed_copy_leaves_nothing(pictures, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(glt, "write_files", fail)
    done = call("--from", pictures, "--imbalance", 3, "--out", tmp_path / "copy")
    assert done.stderr == "error: interrupted; nothing was written\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colours"]


def test_real_pictures(shared_data, tmp_path):
    """Three classes of real pictures: every attribute is a set of its own, and features are those at hand."""
    with h5py.File(shared_data / "tiny_imagenet100.h5") as file:
        label, offset = file["label"][:], file["offset"][:]
        for c in range(3):
            for i in np.flatnonzero(label == c)[:200]:
                path = tmp_path / "tiny" / f"n{c}" / f"{i:05d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file["bytes"][offset[i] : offset[i + 1]].tobytes())
    done = CliRunner().invoke(data, ["glt", "--from", str(tmp_path / "tiny"), "--imbalance", "4", "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert outcome["features"] == default_features()
    dataset = load_dataset("generated-glt", tmp_path / "tiny")
    bbl = dataset.samples.split == dataset.splits.index("test_bbl")
    cells = np.bincount(3 * dataset.samples.label[bbl] + dataset.strata["attribute"][1][bbl], minlength=9)
    assert cells.tolist() == [outcome["per_attribute"]] * 9
    assert outcome["largest"] > 2 * outcome["smallest"]
