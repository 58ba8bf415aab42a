from pathlib import Path

import numpy as np
import pytest
from tiny_sets import make_waterbirds

from clp_aug.contract.errors import InputError
from clp_aug.datasets import load_dataset, waterbirds
from clp_aug.datasets.split import make_split

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "waterbirds_like"
HEADER = "img_id,img_filename,y,split,place\n"
FIRST = "7,images/00000.jpg,0,0,0\n"


def test_groups_ids_and_masks(tmp_path):
    dataset = waterbirds.load(make_waterbirds(tmp_path))
    assert dataset.class_names == ("landbird", "waterbird")
    assert dataset.group_names == ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
    np.testing.assert_array_equal(dataset.samples.sample_id, np.arange(100, 136))
    np.testing.assert_array_equal(dataset.samples.group, np.tile(np.repeat(np.arange(4), 3), 3))
    np.testing.assert_array_equal(dataset.samples.label, dataset.samples.group // 2)
    np.testing.assert_array_equal(dataset.samples.split, np.repeat([0, 1, 2], 12))
    assert len(dataset.annotations.masks) == 36
    assert dataset.alpha(0, 4).shape == (4, 4)


def test_without_img_id_and_without_masks(tmp_path):
    make_waterbirds(tmp_path, "split,place,y,img_filename\n2,1,0,images/00003.jpg\n0,0,1,images/00001.jpg\n")
    (tmp_path / "masks").rename(tmp_path / "elsewhere")
    dataset = waterbirds.load(tmp_path)
    np.testing.assert_array_equal(dataset.samples.sample_id, [0, 1])
    np.testing.assert_array_equal(dataset.samples.group, [1, 2])
    np.testing.assert_array_equal(dataset.samples.split, [2, 0])
    assert dataset.samples.name == ["images/00003.jpg", "images/00001.jpg"]
    assert not dataset.annotated


WRONG = {
    "columns": (
        "img_id,img_filename,y,split\n",
        r"no column place in the header img_id, img_filename, y, split; add it",
    ),
    "two columns": ("img_filename,a,split\n", r"no column y, place in the header img_filename, a, split; add it"),
    "empty": (HEADER, r"the table is empty; expected one line a picture"),
    "id twice": (
        HEADER + FIRST + "7,images/00001.jpg,0,0,0\n",
        r"line 3: img_id 7 is in line 2 already; ids must differ",
    ),
    "file twice": (
        HEADER + FIRST + "8,images/00000.jpg,0,0,0\n",
        r"line 3: images/00000.jpg is in line 2 already; list",
    ),
    "id word": (HEADER + "x,images/00000.jpg,0,0,0\n", r"line 2: img_id is 'x'; expected a whole number >= 0"),
    "id negative": (HEADER + "-3,images/00000.jpg,0,0,0\n", r"line 2: img_id is '-3'; expected a whole number >= 0"),
    "id huge": (
        HEADER + "9" * 30 + ",images/00000.jpg,0,0,0\n",
        r"line 2: img_id is '9+'; expected a whole number >= 0",
    ),
    "y word": (HEADER + FIRST + "8,images/00001.jpg,duck,0,0\n", r"line 3: y is 'duck'; expected 0 or 1"),
    "y float": (HEADER + "7,images/00000.jpg,1.0,0,0\n", r"line 2: y is '1.0'; expected 0 or 1"),
    "y 2": (HEADER + "7,images/00000.jpg,2,0,0\n", r"line 2: y is '2'; expected 0 or 1"),
    "split": (HEADER + "7,images/00000.jpg,0,3,0\n", r"line 2: split is '3'; expected 0 or 1 or 2"),
    "place": (HEADER + "7,images/00000.jpg,0,0,\n", r"line 2: place is ''; expected 0 or 1"),
    "short": (HEADER + "7,images/00000.jpg,0,0\n", r"line 2: not the 5 columns of the header; mend the line"),
    "absolute": (HEADER + "7,/etc/passwd,0,0,0\n", r"line 2: img_filename is '/etc/passwd'; expected a path below"),
    "outside": (HEADER + "7,images/../../a.jpg,0,0,0\n", r"line 2: img_filename is .*; expected a path below"),
    "missing": (
        HEADER + FIRST + "8,images/a.jpg,0,0,0\n9,images/b.jpg,0,0,0\n",
        r"metadata.csv: 2 of 3 pictures are missing, first .*images/a.jpg; restore them or take them out",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_tables(tmp_path, text, message):
    make_waterbirds(tmp_path, text)
    with pytest.raises(InputError, match=message) as raised:
        waterbirds.load(tmp_path)
    assert "\n" not in str(raised.value)
    assert "metadata.csv" in str(raised.value)


def test_no_table(tmp_path):
    with pytest.raises(
        InputError, match=r"cannot read .*metadata.csv \(No such file .*\); expected columns img_filename, y"
    ):
        waterbirds.load(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs waterbirds_like in ../shared/data beside the repository")
def test_real_pictures_have_the_counts_of_their_description():
    dataset = load_dataset("waterbirds", REAL)
    samples = dataset.samples
    counts = [np.bincount(samples.group[samples.split == split], minlength=4).tolist() for split in range(3)]
    assert counts == [[1168, 61, 19, 352], [110, 110, 50, 50], [280, 280, 120, 120]]
    assert len(dataset.annotations.masks) == len(samples.label) == 2720
    assert dataset.image(0, 160).shape == (160, 160, 3)
    assert 0 < dataset.alpha(0, 160).mean() < 1
    assert make_split(dataset, meta="10/group").report["train_per_group"] == [1158, 51, 9, 342]
