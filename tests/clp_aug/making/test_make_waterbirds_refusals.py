"""What clp-data waterbirds says when something lacks or is wrong, in one line; nothing is left behind."""

from pathlib import Path

import pytest
from PIL import Image

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.making import waterbirds
from clp_aug.making.waterbirds import make
from tests.clp_aug.making.birds import settings

TABLES = {
    "class": ("file,class\nlandbird/00.png,duck\n", r"line 2: class is 'duck'; expected landbird or waterbird"),
    "split": ("file,class,split\nlandbird/00.png,landbird,0\n", r"line 2: split is '0'; expected train, val, test"),
    "missing": ("file,class\nlandbird/x.png,landbird\n", r"line 2: no picture .*x.png; paths are relative to --birds"),
    "above": ("file,class\n../masks/landbird/00.png,landbird\n", r"line 2: '../masks/.*' leads out of --birds; give"),
    "within": ("file,class\nlandbird/../waterbird/01.png,waterbird\n", r"line 2: 'landbird/../.*' leads out of "),
    "absolute": ("file,class\n/etc/hostname,landbird\n", r"line 2: '/etc/hostname' leads out of --birds; give a path"),
    "too long": (f"file,class\n{300 * 'x'}.png,landbird\n", r"line 2: no picture .*x.png; paths are relative to"),
    "null": ("file,class\na\0.png,landbird\n", r"birds.csv( line 2: no picture|: not a CSV file in UTF-8)"),
    "twice": ("file,class\n" + 2 * "landbird/00.png,landbird\n", r"line 3: landbird/00.png is in the table already"),
    "column": ("file,kind\nlandbird/00.png,landbird\n", r"no column class in the header file, kind; add it"),
}


@pytest.mark.parametrize(("text", "message"), TABLES.values(), ids=TABLES)
def test_wrong_tables_of_birds(sources, text, message):
    (sources / "birds.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        make(settings(sources, classes=sources / "birds.csv"))


def without(name):
    def take_away(root):
        (root / name).rename(root / "elsewhere")

    return take_away


def empty_water(root):
    for path in (root / "water" / "lake").iterdir():
        path.unlink()


def other_size(root):
    Image.new("L", (3, 3), 255).save(root / "masks" / "landbird" / "00.png")


def broken_bird(root):
    (root / "birds" / "waterbird" / "01.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")


def strange_folder(root):
    (root / "birds" / "landbird").rename(root / "birds" / "sparrows")


def no_mask_for_two(root):
    for name in ("00", "02"):
        (root / "masks" / "landbird" / f"{name}.png").unlink()


LACKS = {
    "birds": (without("birds"), r"^--birds .*birds: no such folder; layouts: docs/how-to/make-waterbirds.md$"),
    "land": (without("land"), r"^--land .*land: no such folder; layouts: docs/how-to/make-waterbirds.md$"),
    "empty water": (empty_water, r"^--water .*water: no picture in it \(\.jpg, .*\); layouts: docs/how-to/make-.*.md$"),
    "masks": (without("masks"), r"^masks: no folder .*masks; expected PNG files with the names of the pictures$"),
    "two masks": (no_mask_for_two, r"birds: 2 of 40 birds have no mask, first landbird/00.png; give --masks .* hatt; "),
    "class": (strange_folder, r"sparrows/00.png: its folders do not say whether it is a landbird or a waterbird; "),
    "size": (other_size, r"landbird/00.png: 3 x 3 pixels for a picture of 12 x 10; give a mask of the picture's size"),
    "broken": (broken_bird, r"waterbird/01.png: "),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), LACKS.values(), ids=LACKS)
def test_what_lacks_is_said_in_one_line_and_nothing_is_left(sources, spoil, message):
    spoil(sources)
    with pytest.raises(InputError, match=message) as raised:
        make(settings(sources))
    assert "\n" not in str(raised.value)
    assert not list(sources.glob("set*"))


def test_one_picture_for_both_places(sources):
    with pytest.raises(InputError, match=r"0.png: it is given as --land and as --water; give each picture for one"):
        make(settings(sources, water=(sources / "land",)))


def test_a_folder_that_is_there_stays(sources):
    (sources / "set").mkdir()
    (sources / "set" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match=r"set: it exists already; give another --out or remove it"):
        make(settings(sources))
    assert (sources / "set" / "mine.txt").read_text() == "keep"


def test_a_failure_while_writing_leaves_nothing(sources, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(waterbirds, "write_tables", full)
    with pytest.raises(
        InputError, match=r"cannot write .*set \(No space left on device\); free some space or choose another"
    ):
        make(settings(sources))
    assert not list(sources.glob("set*"))


WRONG = {
    "matte": ({"matte": "centre"}, r"--matte centre: it finds no outline; choose hatt, grabcut or onnx:FILE"),
    "unknown matte": ({"matte": "magic"}, r"unknown matte 'magic'"),
    "confounding": ({"confounding": 0.3}, r"confounding = 0.3: expected a number from 0.5 to 1"),
    "nan": ({"confounding": float("nan")}, r"confounding = nan: expected"),
    "shares": ({"shares": (1, 2)}, r"shares = \(1, 2\): expected three whole numbers >= 1"),
    "zero share": ({"shares": (1, 0, 2)}, r"shares = \(1, 0, 2\): expected three"),
    "per bird": ({"per_bird": 0}, r"per_bird = 0: expected a whole number >= 1"),
    "size": ({"size": 8}, r"size = 8: expected a whole number >= 16"),
    "left out": ({"max_left_out": 1.5}, r"max_left_out = 1.5: expected a number from 0 to 1"),
    "no land": ({"land": ()}, r"--land: give a folder of backgrounds"),
    "same names": ({"land": (Path("a/forest"), Path("b/forest"))}, r"--land: two of its folders have the same name"),
}


@pytest.mark.parametrize(("others", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings(tmp_path, others, message):
    with pytest.raises(UsageError, match=message):
        settings(tmp_path, **others)
