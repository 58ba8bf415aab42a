import numpy as np
import pytest

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.datasets import folder
from clp_aug.datasets.annotations import with_annotations
from tests.clp_aug.datasets.tiny_sets import Table, make_folder, save_mask

HEADER = "file,x0,y0,x1,y1\n"


@pytest.fixture
def pictures(tmp_path):
    return folder.load(make_folder(tmp_path / "root", ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/3.jpg"]))


def test_masks_by_path_and_by_stem(pictures, tmp_path):
    save_mask(tmp_path / "m/cat/1.png", 255)
    save_mask(tmp_path / "m/dog/1.PNG", 0)
    save_mask(tmp_path / "m/3.png", 51)
    save_mask(tmp_path / "m/dog/2.png", 9)  # no dog/2: it must not become the mask of cat/2
    (tmp_path / "m/notes.txt").write_text("x")
    annotated = with_annotations(pictures, tmp_path / "m")
    assert [annotated.samples.name[row] for row in sorted(annotated.annotations.masks)] == [
        *("cat/1.jpg", "dog/1.jpg", "dog/3.jpg")
    ]
    means = [None if annotated.alpha(row) is None else round(float(annotated.alpha(row).mean()), 3) for row in range(4)]
    assert means == [1, None, 0, 0.2]
    assert not pictures.annotated  # the given data set stays as it was
    assert annotated.fingerprint() == pictures.fingerprint()


def test_boxes_join_masks_and_replace_boxes(pictures, tmp_path):
    save_mask(tmp_path / "m/cat/1.png")
    (tmp_path / "a.csv").write_text("\ufeffnote,file,x0,y0,x1,y1\nq,dog/3.jpg,0,0,8,6\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text(HEADER + 'cat/2.jpg,0.5,1,2.5,"3"\ncat/1.jpg,8,0,8,6\n')
    annotated = with_annotations(with_annotations(pictures, tmp_path / "m"), boxes_csv=tmp_path / "a.csv")
    assert (dict(annotated.annotations.boxes), set(annotated.annotations.masks)) == ({3: (0, 0, 8, 6)}, {0})
    annotated = with_annotations(annotated, boxes_csv=tmp_path / "b.csv")
    # the box of cat/1.jpg has no area: that picture has none
    assert (dict(annotated.annotations.boxes), set(annotated.annotations.masks)) == ({1: (0.5, 1, 2.5, 3)}, {0})
    assert annotated.box(1) == (0, 1, 3, 3)
    assert with_annotations(annotated) is annotated


def test_box_outside_its_picture_is_refused_when_read(pictures, tmp_path):
    (tmp_path / "b.csv").write_text(HEADER + "cat/1.jpg,0,0,9.5,6\n")
    said = r"cat/1.jpg: box \(0.0, 0.0, 9.5, 6.0\) is not inside its 8 x 6 pixels \(.*b.csv line 2\); expected x0, y0"
    with pytest.raises(InputError, match=said):
        with_annotations(pictures, boxes_csv=tmp_path / "b.csv").box(0)


WRONG_TABLES = {
    "no column": ("file,x0,y0,x1\ncat/1.jpg,0,0,1\n", r"no column y1 in the header file, x0, y0, x1; add it"),
    "nothing": ("", r"no column file, x0, y0, x1, y1 in the header \(empty\); add it"),
    "no line": (HEADER, r"the table is empty; expected one line per picture below the header"),
    "short line": (HEADER + "cat/1.jpg,0,0,1,1\ncat/2.jpg,0,0\n", r"b.csv line 3: not the 5 columns of the header"),
    "long line": (HEADER + "cat/1.jpg,0,0,1,1,7\n", r"b.csv line 2: not the 5 columns of the header; correct the line"),
    "unknown": (
        HEADER + "cat/9.jpg,0,0,1,1\n",
        r"line 2: no picture 'cat/9.jpg' in the data set; expected .* cat/1.jpg",
    ),
    "twice": (
        HEADER + "cat/1.jpg,0,0,1,1\ncat/2.jpg,0,0,1,1\ncat/1.jpg,0,0,2,2\n",
        r"line 4: cat/1.jpg has a box in line 2 already; keep one",
    ),
    "word": (HEADER + "cat/1.jpg,0,zero,1,1\n", r"line 2: y0 is 'zero'; expected a number of pixels"),
    "nan": (HEADER + "cat/1.jpg,0,0,nan,1\n", r"line 2: x1 is 'nan'; expected a number of pixels"),
    "infinite": (HEADER + "cat/1.jpg,0,0,1,inf\n", r"line 2: y1 is 'inf'; expected a number of pixels"),
    "inverted": (
        HEADER + "cat/1.jpg,3,0,1,1\n",
        r"line 2: box \(3.0, 0.0, 1.0, 1.0\) of cat/1.jpg; expected 0 <= x0 < x1",
    ),
    "negative": (HEADER + "cat/1.jpg,-2,0,1,1\n", r"line 2: box \(-2.0, .*; expected 0 <= x0 < x1 and 0 <= y0 < y1"),
    "all empty": (HEADER + "cat/1.jpg,1,1,1,4\n", r"all 1 boxes are empty; expected x0 < x1 and y0 < y1"),
}


@pytest.mark.parametrize(("text", "message"), WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_wrong_tables(pictures, tmp_path, text, message):
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        with_annotations(pictures, boxes_csv=tmp_path / "b.csv")
    assert "\n" not in str(raised.value)
    assert "b.csv" in str(raised.value)


def test_tables_that_cannot_be_read(pictures, tmp_path):
    with pytest.raises(
        InputError, match=r"cannot read .*none.csv \(No such file or directory\); expected columns file,"
    ):
        with_annotations(pictures, boxes_csv=tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"file,x0\n\xff\xfe")
    with pytest.raises(InputError, match=r"b.csv: not a CSV file in UTF-8 \(.*\); save it again"):
        with_annotations(pictures, boxes_csv=tmp_path / "b.csv")


def test_masks_that_cannot_be_matched(pictures, tmp_path):
    with pytest.raises(InputError, match=r"masks: no folder .*m; expected PNG files with the names of the pictures"):
        with_annotations(pictures, tmp_path / "m")
    save_mask(tmp_path / "m/bird.png")
    with pytest.raises(InputError, match=r"none of 1 PNG files fits a picture; expected e.g. cat/1.png for cat/1.jpg"):
        with_annotations(pictures, tmp_path / "m")
    save_mask(tmp_path / "m/1.png")
    with pytest.raises(InputError, match=r"m/1.png: fits 2 pictures, cat/1.jpg and dog/1.jpg; give pictures different"):
        with_annotations(pictures, tmp_path / "m")
    (tmp_path / "m/1.png").unlink()
    save_mask(tmp_path / "m/3.png")
    save_mask(tmp_path / "m/dog/3.png")
    with pytest.raises(InputError, match=r"picture dog/3.jpg: has two masks, .*3.png and .*3.png; remove one"):
        with_annotations(pictures, tmp_path / "m")


def test_pictures_that_differ_in_their_suffix_only_share_no_mask(tmp_path):
    pictures = folder.load(make_folder(tmp_path / "root", ["cat/1.jpg", "cat/1.png"]))
    save_mask(tmp_path / "m/cat/1.png")
    with pytest.raises(InputError, match=r"fits 2 pictures, cat/1.jpg and cat/1.png"):
        with_annotations(pictures, tmp_path / "m")


def test_data_set_without_files(tmp_path):
    with pytest.raises(UsageError, match=r"data set table has no picture files that --masks or --boxes could name"):
        with_annotations(Table([3]), tmp_path)


def test_many_random_boxes_come_back_as_written(tmp_path):
    pictures = folder.load(make_folder(tmp_path / "root", [f"c/{i}.png" for i in range(40)]))
    rng = np.random.default_rng(0)
    lines, expected = [], {}
    for row in rng.permutation(40)[:30]:
        x0, y0 = int(rng.integers(0, 8)), int(rng.integers(0, 6))
        expected[row] = (x0, y0, int(rng.integers(x0 + 1, 9)), int(rng.integers(y0 + 1, 7)))
        lines.append(f"{pictures.samples.name[row]},{','.join(map(str, expected[row]))}\n")
    (tmp_path / "b.csv").write_text(HEADER + "".join(lines))
    annotated = with_annotations(pictures, boxes_csv=tmp_path / "b.csv")
    assert [annotated.box(row) for row in range(40)] == [expected.get(row) for row in range(40)]
