from pathlib import Path

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets import load_dataset, waterbirds
from clp_aug.protocol.settings import ProtocolSettings
from clp_aug.protocol.split import make_split
from tests.clp_aug.datasets.tiny_sets import make_waterbirds

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
    "empty": (HEADER, r"the table is empty; expected one line per picture"),
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
    "y fraction": (HEADER + "7,images/00000.jpg,1.5,0,0\n", r"line 2: y is '1.5'; expected 0 or 1"),
    "y float": (HEADER + "7,images/00000.jpg,2.0,0,0\n", r"line 2: y is '2.0'; expected 0 or 1"),
    "y 2": (HEADER + "7,images/00000.jpg,2,0,0\n", r"line 2: y is '2'; expected 0 or 1"),
    "split": (HEADER + "7,images/00000.jpg,0,3,0\n", r"line 2: split is '3'; expected 0 or 1 or 2"),
    "place": (HEADER + "7,images/00000.jpg,0,0,\n", r"line 2: place is ''; expected 0 or 1"),
    "short": (HEADER + "7,images/00000.jpg,0,0\n", r"line 2: not the 5 columns of the header; correct the line"),
    "absolute": (HEADER + "7,/etc/passwd,0,0,0\n", r"line 2: img_filename is '/etc/passwd'; expected a path below"),
    "outside": (HEADER + "7,images/../../a.jpg,0,0,0\n", r"line 2: img_filename is .*; expected a path below"),
    "up at the end": (HEADER + "7,images/..,0,0,0\n", r"line 2: img_filename is 'images/..'; expected a path below"),
    "two slashes": (
        HEADER + "7,//etc/passwd,0,0,0\n",
        r"line 2: img_filename is '//etc/passwd'; expected a path below",
    ),
    "no name": (HEADER + "7,,0,0,0\n", r"line 2: img_filename is ''; expected a path below"),
    "spelt twice": (
        HEADER + FIRST + "8,./images//00000.jpg,0,0,0\n",
        r"line 3: ./images//00000.jpg is in line 2 already; list a picture once",
    ),
    "long name": (HEADER + f"7,{'x' * 300}.jpg,0,0,0\n", r"1 of 1 pictures are missing, first .*xxx.jpg; restore them"),
    "null": (HEADER + FIRST + "8,images/00001.jpg\0,0,0,0\n", r"1 of 2 pictures are missing|not a CSV file"),
    "long value": (HEADER + f"7,images/00000.jpg,{'0' * 5000},0,0\n", r"line 2: y is '0{79}\.\.\.; expected 0 or 1"),
    "other digits": (
        HEADER + "\u0661,images/00000.jpg,0,0,0\n",
        r"line 2: img_id is '\u0661'; expected a whole number",
    ),
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


@pytest.mark.parametrize("sign", [",", ", ", ";", "\t"], ids=["commas", "blanks", "semicolons", "tabs"])
def test_tables_of_spreadsheets_are_the_same_set(tmp_path, sign):
    published = waterbirds.load(make_waterbirds(tmp_path))
    lines = (tmp_path / "metadata.csv").read_text().splitlines()
    (tmp_path / "metadata.csv").write_text("\n".join(sign.join(line.split(",")) for line in [*lines, ",,,,,"]))
    assert waterbirds.load(tmp_path).fingerprint() == published.fingerprint()


def table_of_benchmarks(root, fraction=""):
    """Rewrite the published table as subpopulation benchmarks do, with the numbers of programs that know fractions."""
    lines = (root / "metadata.csv").read_text().splitlines()[1:]
    rows = (line.split(",")[:5] for line in lines)  # id, file, y, split, place
    text = "".join(f"{i},{file},{split}{fraction},{y}{fraction},{a}{fraction}\n" for i, file, y, split, a in rows)
    (root / "metadata.csv").unlink()
    return "id,filename,split,y,a\n" + text


@pytest.mark.parametrize("fraction", ["", ".0"])
@pytest.mark.parametrize("place", ["metadata.csv", "metadata_waterbirds.csv"])
def test_tables_of_subpopulation_benchmarks_are_the_same_set(tmp_path, fraction, place):
    published = waterbirds.load(make_waterbirds(tmp_path))
    (tmp_path / place).write_text(table_of_benchmarks(tmp_path, fraction))
    dataset = waterbirds.load(tmp_path)
    assert dataset.fingerprint() == published.fingerprint()
    assert dataset.annotations.masks == published.annotations.masks


def test_a_table_of_benchmarks_lies_beside_the_published_folder(tmp_path):
    root = make_waterbirds(tmp_path / waterbirds.FOLDER)
    published = waterbirds.load(root)
    (tmp_path / "metadata_waterbirds.csv").write_text(table_of_benchmarks(root))
    dataset = waterbirds.load(tmp_path)
    assert dataset.fingerprint() == published.fingerprint()
    np.testing.assert_array_equal(dataset.image(5), published.image(5))
    assert len(dataset.annotations.masks) == 36


def test_a_wrong_line_of_a_table_of_benchmarks(tmp_path):
    make_waterbirds(tmp_path, "id,filename,split,y,a\n1,images/00000.jpg,0,x,1\n")
    with pytest.raises(InputError, match=r"metadata.csv line 2: y is 'x'; expected 0 or 1$"):
        waterbirds.load(tmp_path)


def test_a_root_one_level_too_high_is_told(tmp_path):
    make_waterbirds(tmp_path / waterbirds.FOLDER)
    remedy = rf"no metadata.csv in {tmp_path}; give --root {tmp_path}/{waterbirds.FOLDER}, which holds one$"
    with pytest.raises(InputError, match=f"^data set waterbirds: {remedy}"):
        waterbirds.load(tmp_path)


def test_no_table(tmp_path):
    with pytest.raises(
        InputError, match=r"cannot read .*metadata.csv \(No such file .*\); expected columns img_filename, y"
    ):
        waterbirds.load(tmp_path)


def published_names(count):
    return [f"{1 + i % 200:03d}.Some_Bird/Some_Bird_{i:04d}_{7 * i}.jpg" for i in range(count)]


def write_table(root, names, groups, splits):
    """Write a table in the published columns and an empty file for each picture."""
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for i, (name, group, split) in enumerate(zip(names, groups, splits, strict=True)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        lines.append(f"{i + 1},{name},{group // 2},{split},{group % 2},/o/ocean/{i:08d}.jpg")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")


def published_columns():
    cells = [
        (group, split) for split in range(3) for group in range(4) for _ in range(waterbirds.PUBLISHED[split][group])
    ]
    return np.array(cells).T


def test_the_published_counts_pass(tmp_path):
    groups, splits = published_columns()
    assert len(groups) == 4795 + 1199 + 5794
    write_table(tmp_path, published_names(len(groups)), groups, splits)
    samples = waterbirds.load(tmp_path).samples
    train = np.bincount(samples.group[samples.split == 0])
    np.testing.assert_allclose(train / train.sum(), [0.7295, 0.0384, 0.0117, 0.2204], atol=5e-5)


INCOMPLETE = (
    r"metadata.csv: looks like the published Waterbirds, but {} has {} pictures per group, expected {}; unpack the"
    r" archive again; if you made this set yourself, put a file recipe.json beside the table that says how"
)


@pytest.mark.parametrize(
    ("lost", "split", "found", "expected"),
    [
        (slice(0, 1), "train", "3497, 184, 56, 1057", "3498, 184, 56, 1057"),
        (slice(4795, 4797), "val", "465, 466, 133, 133", "467, 466, 133, 133"),
        (slice(-642, None), "test", "2255, 2255, 642, 0", "2255, 2255, 642, 642"),
    ],
)
def test_a_published_table_with_lines_lost(lost, split, found, expected):
    groups, splits = published_columns()
    kept = np.delete(np.arange(len(groups)), lost)
    with pytest.raises(InputError, match=INCOMPLETE.format(split, found, expected)):
        waterbirds.check_published(Path("metadata.csv"), published_names(len(kept)), groups[kept], splits[kept])


def test_as_many_pictures_of_other_names_need_the_published_counts_too():
    groups, splits = published_columns()
    names = [f"images/{i}.jpg" for i in range(len(groups))]
    waterbirds.check_published(Path("metadata.csv"), names, groups, splits)
    groups[0] = 1
    with pytest.raises(InputError, match=INCOMPLETE.format("train", "3497, 185, 56, 1057", "3498, 184, 56, 1057")):
        waterbirds.check_published(Path("metadata.csv"), names, groups, splits)


def test_the_first_pictures_of_the_published_set_alone(tmp_path):
    write_table(tmp_path, published_names(8), [0, 0, 1, 2, 3, 0, 2, 3], [0, 0, 0, 0, 0, 1, 1, 2])
    with pytest.raises(InputError, match=INCOMPLETE.format("train", "2, 1, 1, 1", "3498, 184, 56, 1057")):
        waterbirds.load(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    assert len(waterbirds.load(tmp_path).samples.label) == 8


@pytest.mark.skipif(not REAL.is_dir(), reason="needs waterbirds_like in ../shared/data beside the repository")
def test_real_pictures_have_the_counts_of_their_description():
    dataset = load_dataset("waterbirds", REAL)
    samples = dataset.samples
    counts = [np.bincount(samples.group[samples.split == split], minlength=4).tolist() for split in range(3)]
    assert counts == [[1168, 61, 19, 352], [110, 110, 50, 50], [280, 280, 120, 120]]
    assert len(dataset.annotations.masks) == len(samples.label) == 2720
    assert dataset.image(0, 160).shape == (160, 160, 3)
    assert 0 < dataset.alpha(0, 160).mean() < 1
    assert make_split(dataset, ProtocolSettings(meta="10/group")).report["train_per_group"] == [1158, 51, 9, 342]
