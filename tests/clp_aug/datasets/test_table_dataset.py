"""A table of labelled pictures: the forms in which people have it, its splits and its groups."""

import json

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets import table
from clp_aug.datasets.folder import hold_out_rows
from tests.clp_aug.datasets.tiny_sets import TABLE_FILES, make_table, save_mask, write_table

PLAIN = (
    "file,label,split,place\na/1.png,cat,train,sea\na/2.png,dog,val,land\nb/3.png,cat,test,land\n"
    "b/4.png,dog,train,sea\n"
)


def json_lines(text, file_name="file_name"):
    header, *rows = (line.split(",") for line in text.split())
    return "".join(json.dumps(dict(zip([file_name, *header[1:]], row, strict=True))) + "\n" for row in rows)


SPELT = {
    "plain": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "blanks": PLAIN.replace(",", " , "),
    "quotes": '"' + PLAIN.strip().replace(",", '","').replace("\n", '"\n"') + '"\n',
    "a byte order mark": "\ufeff" + PLAIN,
    "UTF-16": PLAIN.encode("utf-16"),
    "Windows": PLAIN.replace("\n", "\r\n").replace("/", "\\"),
    "a dot before": PLAIN.replace("\na/", "\n./a/"),
    "capitals": PLAIN.replace("file,label,split", "File,LABEL,Split"),
    "numbers of splits": PLAIN.replace("train", "0").replace("val", "1").replace("test", "2"),
    "fractions of splits": PLAIN.replace("train", "0.0").replace("val", "1.0").replace("test", "2.0"),
    "other words for splits": PLAIN.replace("train", "Training").replace("val", "valid").replace("test", "TEST"),
    "as Hugging Face calls it": PLAIN.replace("file,", "file_name,"),
    "as benchmarks call it": PLAIN.replace("file,label", "filename,y"),
    "an index of pandas": "\n".join(f"{k - 1 if k else ''},{line}" for k, line in enumerate(PLAIN.split())),
    "empty lines": PLAIN + ",,,\n\n",
}


@pytest.mark.parametrize("text", SPELT.values(), ids=SPELT)
def test_the_same_table_in_many_spellings(tmp_path, text):
    dataset = table.load(write_table(tmp_path, text))
    assert dataset.samples.name == list(TABLE_FILES)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.samples.label.tolist() == [0, 1, 0, 1]
    assert dataset.samples.split.tolist() == [0, 1, 2, 0]
    assert dataset.group_names == ("cat, place land", "cat, place sea", "dog, place land", "dog, place sea")
    assert dataset.samples.group.tolist() == [1, 2, 0, 3]
    assert dataset.samples.sample_id.tolist() == [0, 1, 2, 3]


def test_absolute_paths_below_the_root(tmp_path):
    root = write_table(tmp_path, PLAIN.replace("\na/", f"\n{tmp_path}/a/"))
    assert table.load(root).samples.name == list(TABLE_FILES)


@pytest.mark.parametrize("name", ["table.csv", "metadata.csv", "metadata.jsonl", "mine.tsv", "labels.CSV"])
def test_where_the_table_may_lie(tmp_path, name):
    text = json_lines(PLAIN) if name.endswith("jsonl") else PLAIN
    write_table(tmp_path, text, name)
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\na/1.png,1,1,4,5\nelsewhere.png,0,0,1,1\n")
    (tmp_path / "._table.csv").write_bytes(b"\0")
    dataset = table.load(tmp_path)
    assert dataset.samples.group.tolist() == [1, 2, 0, 3]
    assert dict(dataset.annotations.boxes) == {0: (1, 1, 4, 5)}
    if name != "table.csv":
        write_table(tmp_path, PLAIN.replace("sea", "air"))
        assert "cat, place air" in table.load(tmp_path).group_names, "table.csv comes first"


def test_image_folders_of_hugging_face(tmp_path):
    """metadata.csv in each split, names relative to it; classes by folder where no column says them."""
    write_table(
        tmp_path / "train",
        "file_name,place\ncat/1.png,sea\ndog/2.png,land\n",
        "metadata.csv",
        ("cat/1.png", "dog/2.png"),
    )
    write_table(tmp_path / "validation", json_lines("file,place\ncat/1.png,sea"), "metadata.jsonl", ("cat/1.png",))
    write_table(tmp_path / "test", "file_name,place\ndog/9.png,sea\n", "metadata.csv", ("dog/9.png",))
    dataset = table.load(tmp_path)
    assert dataset.samples.name == ["test/dog/9.png", "train/cat/1.png", "train/dog/2.png", "validation/cat/1.png"]
    assert dataset.samples.split.tolist() == [2, 0, 0, 1]
    assert dataset.samples.label.tolist() == [1, 0, 1, 0]
    assert "no column label: classes are the folders of the pictures" in dataset.remarks
    (tmp_path / "test/metadata.csv").write_text("file_name,where\ndog/9.png,sea\n")
    with pytest.raises(
        InputError, match=r"train/metadata.csv: other columns than .*test/metadata.csv; give all tables"
    ):
        table.load(tmp_path)


def test_values_of_json_lines(tmp_path):
    lines = [{"file_name": f, "label": k % 2, "objects": {"bbox": [1]}, "dark": k > 1, "note": None}
             for k, f in enumerate(TABLE_FILES)]  # fmt: skip
    write_table(tmp_path, "\n".join(map(json.dumps, lines)), "metadata.jsonl")
    dataset = table.load(tmp_path, ["dark"])
    assert dataset.group_names == ("0, dark false", "0, dark true", "1, dark false", "1, dark true")


def test_three_by_three(tmp_path):
    dataset = table.load(make_table(tmp_path))
    assert dataset.group_names[:4] == ("cat, place land", "cat, place sea", "cat, place sky", "dog, place land")
    np.testing.assert_array_equal(dataset.samples.group // 3, dataset.samples.label)
    counts = [np.bincount(dataset.samples.group[dataset.samples.split == split]).tolist() for split in range(3)]
    assert counts == [[3] * 9, [2] * 9, [1] * 9]
    assert dataset.remarks == ("groups are label x place",)


MORE = (
    "file,label,split,group,place,light\na/1.png,10,0,x,sea,1.0\na/2.png,9.0,0,y,land,0\nb/3.png,10,0,x,land,0.0\n"
    "b/4.png,9,0,x,sea,1\n"
)
NO_GROUP = MORE.replace("group,", "").replace(",x,", ",").replace(",y,", ",")
GROUPS = {
    "the column group": (MORE, (), ("x", "y"), [0, 1, 0, 0]),
    "one attribute": (
        MORE,
        ("place",),
        ("9, place land", "9, place sea", "10, place land", "10, place sea"),
        [3, 0, 2, 1],
    ),
    "in the order given": (MORE, ("light", "Place"), None, [7, 0, 4, 3]),
    "the column group crossed": (
        MORE,
        ("group",),
        ("9, group x", "9, group y", "10, group x", "10, group y"),
        [2, 1, 2, 0],
    ),
    "all attributes": (NO_GROUP, (), None, [7, 0, 4, 3]),
    "none": (MORE, ("none",), (), [-1] * 4),
}


@pytest.mark.parametrize(("text", "attributes", "names", "group"), GROUPS.values(), ids=GROUPS)
def test_groups(tmp_path, text, attributes, names, group):
    """Numbers are in the order of their size, and 9.0 is 9."""
    dataset = table.load(write_table(tmp_path, text), attributes)
    assert dataset.class_names == ("9", "10")
    assert dataset.samples.group.tolist() == group
    if names is not None:
        assert dataset.group_names == names
    else:
        assert len(dataset.group_names) == 8
        assert dataset.group_names[-1] in ("10, light 1, place sea", "10, place sea, light 1")


@pytest.mark.parametrize("seed", range(5))
def test_the_group_of_a_picture_is_named_by_its_own_values(tmp_path, seed):
    """Any number of labels and attributes, in any order of rows, by name; places come round label by label."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, rng.integers(2, 4))
    values = [[f"v{k}" if seed % 2 else str(k) for k in rng.integers(0, size, 30)] for size in sizes]
    names = ["label", *(f"a{k}" for k in range(len(sizes) - 1))]
    files = [f"p/{k}.png" for k in range(30)]
    text = "\n".join(
        map(",".join, zip(("file", *files), *([n, *v] for n, v in zip(names, values, strict=True)), strict=True))
    )
    dataset = table.load(write_table(tmp_path, text, files=files))
    for row, (label, *attributes) in enumerate(zip(*values, strict=True)):
        own = ", ".join((label, *(f"a{k} {value}" for k, value in enumerate(attributes))))
        assert dataset.group_names[dataset.samples.group[row]] == own
    places = len(dataset.group_names) // len(dataset.class_names)
    np.testing.assert_array_equal(dataset.samples.group // places, dataset.samples.label)


def test_remarks_on_groups(tmp_path):
    crossed = "groups are label x place x light; for others take --attributes"
    assert crossed in table.load(write_table(tmp_path, NO_GROUP)).remarks
    named = (
        "groups are those of column group, 1 of 2 have several labels; --attributes group crosses them with the label"
    )
    assert named in table.load(write_table(tmp_path, MORE)).remarks
    tested = MORE.replace("2.png,9.0,0", "2.png,9.0,2")
    remarks = " | ".join(table.load(write_table(tmp_path, tested), ["place"]).remarks)
    assert "groups without training pictures: 1 (9, place land)" in remarks
    lacking = MORE.replace("b/4.png,9,0,x,sea", "b/4.png,9,0,x,land")
    assert "groups without pictures: 1 (9, place sea)" in " | ".join(
        table.load(write_table(tmp_path, lacking), ["place"]).remarks
    )
    with_id = "id," + PLAIN.replace("\n", "\n7,").removesuffix("7,")
    assert "columns ignored: id" in table.load(write_table(tmp_path, with_id)).remarks


def test_other_test_splits(tmp_path):
    text = PLAIN.replace("test", "test_sky").replace("dog,train", "dog,test_ice")
    dataset = table.load(write_table(tmp_path, text))
    assert dataset.splits == ("train", "val", "test_ice", "test_sky")
    assert dataset.samples.split.tolist() == [0, 1, 3, 2]
    both = table.load(write_table(tmp_path, PLAIN.replace("dog,val", "dog,test_ice")))
    assert both.splits == ("train", "val", "test", "test_ice")


def test_splits_by_folder_and_splits_held_out(tmp_path):
    files = [f"{split}/{name}.png" for split in ("train", "val", "test") for name in "ab"]
    rows = "".join(f"{file},{file[-5]}\n" for file in files)
    by_folder = table.load(write_table(tmp_path / "one", "file,label\n" + rows, files=files))
    assert by_folder.samples.split.tolist() == [0, 0, 1, 1, 2, 2]
    files = [f"p/{k}.png" for k in range(30)]
    rows = "".join(f"{file},{'cat' if k < 26 else 'dog'}\n" for k, file in enumerate(files))
    held_out = table.load(write_table(tmp_path / "two", "file,label\n" + rows, files=files))
    assert held_out.samples.split.tolist() == hold_out_rows(held_out.samples.label.tolist(), files)
    assert np.bincount(held_out.samples.split).tolist() == [23, 2, 5]
    assert held_out.remarks == (
        "no column split: val and test were held out of each class by file name; to choose them, add one",
        "classes with fewer than 5 pictures, so without a test picture: dog",
    )
    assert not held_out.group_names


def test_boxes_and_masks_of_the_table(tmp_path):
    for name in ("m/1.png", "m/2.png"):
        save_mask(tmp_path / name)
    text = (
        "file,label,x0,y0,x1,y1,mask\na/1.png,cat,1,2,4,5,m/1.png\na/2.png,dog,,,,,m\\2.png\n"
        "b/3.png,cat,1,1,1,1,\nb/4.png,dog,0,0,8.5,6,\n"
    )
    dataset = table.load(write_table(tmp_path, text))
    assert [dataset.box(row) for row in range(4)] == [(1, 2, 4, 5), None, None, (0, 0, 8, 6)]
    assert {row: path.name for row, path in dataset.annotations.masks.items()} == {0: "1.png", 1: "2.png"}
    assert dataset.alpha(1).shape == (6, 8)
    assert dataset.group_names == ()
    corner = text.replace("x0,y0,x1,y1", "x,y,width,height")
    assert table.load(write_table(tmp_path, corner)).box(0) == (1, 2, 5, 6)
    beside = table.load(write_table(tmp_path, PLAIN))
    assert not beside.annotated
    save_mask(tmp_path / "masks/a/1.png")
    assert list(table.load(tmp_path).annotations.masks) == [0]
