"""What clp-augment says of a plan and of a run, for people and as JSON: nothing that was passed over stays untold."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug.cli import augment

REMARKS = [
    "files ignored, hidden or without the suffix of a picture: 1 (cat/notes.txt)",
    "no train/ folder: val and test were held out of each class by file name; to choose them, put pictures under"
    " train/, val/ and test/",
]


@pytest.fixture
def root(tmp_path):
    """Two classes of twenty pictures, and a file that is none."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{i}.png")
    (tmp_path / "pictures" / "cat" / "notes.txt").write_text("x")
    return tmp_path / "pictures"


def said(root, *more):
    arguments = ["--dataset", "folder", "--root", root, "--cf", "grey", "--meta", "3/class", "--matte", "centre"]
    arguments += ["--workers", 1, "--quiet", "--out", root.parent / "x.h5", *more]
    result = CliRunner().invoke(augment, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_plan(root):
    lines = said(root, "--dry-run").splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        "shard", "data", "pictures", "rows", "megabytes", "matte", "remark", "remark"
    ]  # fmt: skip
    assert [line[11:] for line in lines[-2:]] == REMARKS
    facts = json.loads(said(root, "--dry-run", "--json"))
    assert facts["remarks"] == REMARKS
    assert {use: facts["pictures"][use] for use in ("train", "meta", "val", "test")} == {
        "train": 22, "meta": 6, "val": 4, "test": 8
    }  # fmt: skip
    assert not (root.parent / "x.h5").exists()


def test_a_run(root):
    lines, out = said(root).splitlines(), root.parent / "x.h5"
    assert lines[:3] == ["pictures   22 train, 6 meta, 4 val, 8 test", *(" " * 11 + remark for remark in REMARKS)]
    assert lines[3:5] == ["boxes      28 ok", " " * 11 + "28 by centre"]
    assert lines[5] == f"{out}  (18 pictures); next: clp-inspect {out} --html sheet.html"
    facts = json.loads(said(root, "--overwrite", "--json"))
    assert facts["pictures"] == {"train": 22, "meta": 6, "val": 4, "test": 8}
    assert facts["remarks"] == REMARKS
    assert facts["rows"] == 18


def test_where_there_is_nothing_to_remark_nothing_is_said(root):
    (root / "cat" / "notes.txt").unlink()
    for part in ("train", "test"):
        (root / part).mkdir()
    for label in ("cat", "dog"):
        (root / label).rename(root / "train" / label)
        (root / "test" / label).mkdir()
        (root / "train" / label / "0.png").rename(root / "test" / label / "0.png")
    lines = said(root).splitlines()
    assert lines[0] == "pictures   32 train, 6 meta, 0 val, 2 test"
    assert lines[1].startswith("boxes")


def test_settings_are_spelt_as_options(tmp_path):
    done = CliRunner().invoke(augment, ["--dataset", "demo", "--cf", "grey", "--img-max", "50"])
    assert done.exit_code == 2
    message = "error: --img-max 50: it sets the start of a long tail, and there is none; take --imbalance 100\n"
    assert done.stderr == message
