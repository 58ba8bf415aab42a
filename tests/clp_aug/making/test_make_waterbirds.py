"""clp-data waterbirds on tiny birds: layouts, counts, the files it leaves, and what it says when something lacks."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug.contract.errors import InputError, TooManyFallbacks, UsageError
from clp_aug.data_cli import data
from clp_aug.datasets import load_dataset
from clp_aug.datasets.waterbirds import RECIPE
from clp_aug.making import waterbirds
from clp_aug.making.foregrounds import read_birds
from clp_aug.making.waterbirds import make
from clp_aug.making.waterbirds_config import WaterbirdsConfig
from clp_aug.mattes import About

BIRD, SIZE = (250, 40, 40), (12, 10)  # colour; width and height in pixels


def save_bird(root, name, seed, masks=None, alpha=False):
    """Write a picture with a red rectangle on grey noise, its mask below another folder, or with alpha instead."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 160, (SIZE[1], SIZE[0], 3), np.uint8)
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[2:8, 3:9] = 255
    pixels[mask > 0] = BIRD
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if alpha:
        pixels = np.dstack([pixels, mask])
    Image.fromarray(pixels).save(path)
    if masks is not None:
        below = (masks / name).with_suffix(".png")
        below.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(below)


def save_place(path, seed, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((14, 14, 3), colour, np.uint8)
    pixels[0, 0] = seed  # no two files alike
    Image.fromarray(pixels).save(path)


@pytest.fixture
def sources(tmp_path):
    """20 landbirds and 20 waterbirds with masks, 6 land and 6 water backgrounds."""
    for i in range(40):
        name = f"{('landbird', 'waterbird')[i % 2]}/{i:02d}.png"
        save_bird(tmp_path / "birds", name, i, tmp_path / "masks")
    for i in range(6):
        save_place(tmp_path / "land" / f"{i}.png", i, (0, 200, 0))
        save_place(tmp_path / "water" / "lake" / f"{i}.png", i, (0, 0, 200))
    return tmp_path


def settings(root, **others):
    given = {
        "birds": root / "birds", "masks": root / "masks", "land": (root / "land",), "water": (root / "water",),
        "out": root / "set", "confounding": 0.75, "shares": (12, 4, 4),
    }  # fmt: skip
    return WaterbirdsConfig(**given | others)


def table(root):
    with open(root / "metadata.csv", newline="") as file:
        return list(csv.DictReader(file))


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_set_is_read_like_the_published_one(sources):
    outcome = make(settings(sources))
    assert outcome.groups == ((9, 3, 3, 9), (2, 2, 2, 2), (2, 2, 2, 2))
    assert (outcome.outcomes, outcome.sources, outcome.copies) == ({"ok": 40}, {"given": 40}, 0)
    dataset = load_dataset("waterbirds", sources / "set")
    samples = dataset.samples
    for split, expected in enumerate(outcome.groups):
        assert tuple(np.bincount(samples.group[samples.split == split], minlength=4)) == expected
    np.testing.assert_array_equal(samples.sample_id, np.arange(40))
    for row in range(40):
        image, alpha = dataset.image(row).astype(int), dataset.alpha(row)
        assert image.shape == (SIZE[1], SIZE[0], 3)
        place = (0, 200, 0) if samples.group[row] % 2 == 0 else (0, 0, 200)
        assert np.abs(image[8:, 9:] - place).max() < 40, "the background is that of the place; JPEG blurs a little"
        assert np.abs(image[4:6, 5:7] - BIRD).max() < 40
        np.testing.assert_array_equal(alpha > 0.5, np.pad(np.ones((6, 6), bool), ((2, 2), (3, 3))))


def test_the_table_says_what_each_picture_was_made_of(sources):
    make(settings(sources, seed=5))
    rows = table(sources / "set")
    assert list(rows[0]) == [
        *("img_id", "img_filename", "y", "split", "place", "place_filename"),
        *("bird_filename", "seed"),
    ]
    split_of = {}
    for row in rows:
        assert row["bird_filename"].startswith(("landbird", "waterbird")[int(row["y"])])
        assert row["place_filename"].startswith(("land/", "water/lake/")[int(row["place"])])
        assert row["seed"] == "5"
        for column in ("bird_filename", "place_filename"):
            assert split_of.setdefault(row[column], row["split"]) == row["split"], "disjoint between splits"
    recipe = json.loads((sources / "set" / RECIPE).read_text())
    assert recipe["groups"]["train"]["waterbird on land"] == 3
    assert recipe["settings"] == {
        "matte": None, "confounding": 0.75, "shares": [12, 4, 4], "per_bird": 1, "size": None, "seed": 5,
    }  # fmt: skip
    assert str(sources) not in (sources / "set" / RECIPE).read_text() + (sources / "set" / "metadata.csv").read_text()


def test_the_same_bytes_again_and_for_two_workers(sources):
    made = {}
    for name, workers in (("a", 1), ("b", 2)):
        make(settings(sources, out=sources / name, workers=workers, per_bird=2, size=20))
        made[name] = contents(sources / name)
    assert made["a"] == made["b"]
    assert len(made["a"]) == 2 * 80 + 2
    make(settings(sources, out=sources / "c", seed=1, per_bird=2, size=20))
    assert contents(sources / "c") != made["a"]
    assert Image.open(sources / "a" / "images" / "000000.jpg").size == (20, 17)


def test_cutouts_bring_their_alpha_and_are_placed_anew(sources):
    for i in range(40):
        save_bird(sources / "cut", f"{('landbird', 'waterbird')[i % 2]}/{i:02d}.png", i, alpha=True)
    outcome = make(settings(sources, birds=sources / "cut", masks=None, size=32))
    assert outcome.sources == {"alpha": 40}
    dataset = load_dataset("waterbirds", sources / "set")
    boxes = set()
    for row in range(40):
        alpha = dataset.alpha(row)
        assert alpha.shape == (32, 32)
        ys, xs = np.nonzero(alpha > 0.5)
        boxes.add((ys.min(), xs.min()))
        assert 0.08 < (alpha > 0.5).mean() < 0.6
    assert len(boxes) > 10, "not all at one place"


def test_a_matte_for_birds_without_a_mask(sources):
    pixels = np.random.default_rng(0).integers(10, 30, (96, 64, 3), np.uint8)
    pixels[24:72, 16:48] = BIRD
    Image.fromarray(pixels).save(sources / "birds" / "landbird" / "90.png")
    outcome = make(settings(sources, matte="grabcut", shares=(13, 4, 4)))
    assert (outcome.sources, outcome.outcomes) == ({"given": 40, "matte": 1}, {"ok": 41})
    row = next(row for row in table(sources / "set") if row["bird_filename"] == "landbird/90.png")
    mask = np.asarray(Image.open(sources / "set" / "masks" / f"{int(row['img_id']):06d}.png")) / 255
    assert mask.shape == (96, 64)
    assert mask[28:68, 20:44].min() > 0.9
    assert mask[:12].max() == mask[:, :6].max() == 0
    recipe = json.loads((sources / "set" / RECIPE).read_text())
    assert recipe["settings"]["matte"] == {"name": "grabcut", "sha256": "", "licence": ""}
    assert not (sources / "set" / ".mattes").exists()


class Choosy:
    """Finds nothing in the first bird, everything in the second, a speck in the third, the middle of others."""

    about = About("choosy", "abc", "MIT")

    def find(self, view):
        assert view.image.shape == (view.size, view.size, 3)
        alpha = np.zeros((view.size, view.size), np.float32)
        if view.sample_id == 0:
            return None
        cut = {1: 0, 2: view.size // 2 - 1}.get(view.sample_id, view.size // 4)
        alpha[cut : view.size - cut, cut : view.size - cut] = 1
        return alpha


def test_what_a_matte_refuses_is_counted_and_left_out(sources, monkeypatch):
    monkeypatch.setattr(waterbirds, "make_matte", lambda name: Choosy())
    outcome = make(settings(sources, masks=None, matte="hatt"))
    assert outcome.outcomes == {"ok": 37, "full": 1, "tiny": 1, "fallback": 1}
    assert outcome.sources == {"matte": 37}
    names = {row["bird_filename"] for row in table(sources / "set")}
    assert not {"landbird/00.png", "landbird/02.png", "landbird/04.png"} & names
    assert json.loads((sources / "set" / RECIPE).read_text())["settings"]["matte"]["sha256"] == "abc"


def test_birds_whose_mask_is_useless_are_counted_and_left_out(sources):
    for name, value in (("landbird/00", 0), ("landbird/02", 255)):
        Image.new("L", SIZE, value).save(sources / "masks" / f"{name}.png")
    outcome = make(settings(sources))
    assert outcome.outcomes == {"ok": 38, "empty": 1, "full": 1}
    assert not {"landbird/00.png", "landbird/02.png"} & {row["bird_filename"] for row in table(sources / "set")}
    message = (
        r"^2 of 40 birds have no usable mask \(1 empty, 1 full\), first landbird/00.png, more than --max-left-out 0"
    )
    with pytest.raises(TooManyFallbacks, match=message):
        make(settings(sources, out=sources / "other", max_left_out=0.01))
    assert not list(sources.glob("other*"))


def test_copies_by_bytes_are_used_once(sources):
    for what, name in (("birds", "landbird/00.png"), ("masks", "landbird/00.png"), ("land", "1.png")):
        source = sources / what / name
        source.with_name(f"copy-{source.name}").write_bytes(source.read_bytes())
    outcome = make(settings(sources))
    assert outcome.copies == 2
    assert outcome.outcomes == {"ok": 40}


CUB = {
    "001.Black_footed_Albatross/a_1.png": 1,
    "002.Eastern_Towhee/b_1.png": 0,  # not a tern
    "003.Forsters_Tern/c_1.png": 1,
    "004.Pacific_Loon/d_1.png": 1,
    "005.Western_Meadowlark/e_1.png": 0,
    "006.Indigo_Bunting/f_1.png": 0,
}


@pytest.fixture
def cub(tmp_path):
    root = tmp_path / "CUB_200_2011"
    for i, name in enumerate(CUB):
        save_bird(root / "images", name, i, tmp_path / "segmentations")
    (root / "images.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(CUB, 1)))
    (root / "train_test_split.txt").write_text("1 1\n2 0\n3 0\n4 1\n5 1\n6 1\n")
    return root


@pytest.mark.parametrize("below", ["", "images"])
def test_the_layout_of_cub(cub, below):
    birds, copies = read_birds(cub / below, None, cub.parent / "segmentations", False)
    assert {bird.name: bird.label for bird in birds} == CUB
    assert [bird.split for bird in birds] == [None, 2, 2, None, None, None]
    assert {bird.source for bird in birds} == {"given"}
    assert birds[0].mask == cub.parent / "segmentations" / "001.Black_footed_Albatross" / "a_1.png"
    assert copies == 0


def test_cub_must_be_whole(cub):
    (cub / "images" / "006.Indigo_Bunting" / "f_1.png").unlink()
    with pytest.raises(
        InputError, match=r"images.txt: 1 pictures of the list are missing and 0 are not in it, first 006"
    ):
        read_birds(cub, None, cub.parent / "segmentations", False)
    (cub / "train_test_split.txt").write_text("1 1\n")
    with pytest.raises(InputError, match=r"train_test_split.txt: does not list the pictures of images.txt; unpack CUB"):
        read_birds(cub, None, cub.parent / "segmentations", False)
    (cub / "train_test_split.txt").write_text("1\n")
    with pytest.raises(InputError, match=r"train_test_split.txt line 1: expected a number and a value; unpack CUB"):
        read_birds(cub, None, cub.parent / "segmentations", False)


def test_a_table_tells_class_and_split(cub):
    path = cub.parent / "birds.csv"
    path.write_text(
        "file,class,split\n002.Eastern_Towhee/b_1.png,waterbird,val\n006.Indigo_Bunting/f_1.png,landbird,test\n"
    )
    birds, _ = read_birds(cub / "images", path, cub.parent / "segmentations", False)
    assert [(bird.name[:3], bird.label, bird.split) for bird in birds] == [("002", 1, 1), ("006", 0, 2)]


TABLES = {
    "class": ("file,class\nlandbird/00.png,duck\n", r"line 2: class is 'duck'; expected landbird or waterbird"),
    "split": ("file,class,split\nlandbird/00.png,landbird,0\n", r"line 2: split is '0'; expected train, val, test"),
    "missing": ("file,class\nlandbird/x.png,landbird\n", r"line 2: no picture .*x.png; paths are relative to --birds"),
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
    "birds": (without("birds"), r"^--birds .*birds: no such folder; layouts: docs/waterbirds.md$"),
    "land": (without("land"), r"^--land .*land: no such folder; layouts: docs/waterbirds.md$"),
    "empty water": (empty_water, r"^--water .*water: no picture in it \(\.jpg, .*\); layouts: docs/waterbirds.md$"),
    "masks": (without("masks"), r"^masks: no folder .*masks; expected PNG files named as the pictures$"),
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
    with pytest.raises(InputError, match=r"0.png: given as --land and as --water; give each picture for one place"):
        make(settings(sources, water=(sources / "land",)))


def test_a_folder_that_is_there_stays(sources):
    (sources / "set").mkdir()
    (sources / "set" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match=r"set: exists already; give another --out or remove it"):
        make(settings(sources))
    assert (sources / "set" / "mine.txt").read_text() == "keep"


def test_a_failure_while_writing_leaves_nothing(sources, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(waterbirds, "write_tables", full)
    with pytest.raises(
        InputError, match=r"cannot write .*set \(No space left on device\); free space or choose another"
    ):
        make(settings(sources))
    assert not list(sources.glob("set*"))


WRONG = {
    "matte": ({"matte": "centre"}, r"--matte centre: finds no outline; choose hatt, grabcut or onnx:FILE"),
    "unknown matte": ({"matte": "magic"}, r"unknown matte 'magic'"),
    "confounding": ({"confounding": 0.3}, r"--confounding 0.3: expected a share from 0.5 to 1"),
    "nan": ({"confounding": float("nan")}, r"--confounding nan: expected"),
    "shares": ({"shares": (1, 2)}, r"--shares 1,2: expected three whole numbers >= 1"),
    "zero share": ({"shares": (1, 0, 2)}, r"--shares 1,0,2: expected three"),
    "per bird": ({"per_bird": 0}, r"--per-bird 0: expected a whole number >= 1"),
    "size": ({"size": 8}, r"--size 8: expected a whole number >= 16"),
    "left out": ({"max_left_out": 1.5}, r"--max-left-out 1.5: expected a share from 0 to 1"),
    "no land": ({"land": ()}, r"--land: give a folder of backgrounds"),
    "same names": ({"land": (Path("a/forest"), Path("b/forest"))}, r"--land: two of its folders have the same name"),
}


@pytest.mark.parametrize(("others", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings(tmp_path, others, message):
    with pytest.raises(UsageError, match=message):
        settings(tmp_path, **others)


def call(root, *more):
    folders = [part for name in ("birds", "masks", "land", "water") for part in (f"--{name}", str(root / name))]
    arguments = ["waterbirds", *folders, "--out", str(root / "set"), "--shares", "12,4,4", "--workers", "1", "--quiet"]
    return CliRunner().invoke(data, [*arguments, *more])


def test_the_command_prints_counts_and_what_comes_next(sources):
    done = call(sources, "--confounding", "0.75")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "train  9 landbird on land, 3 landbird on water, 3 waterbird on land, 9 waterbird on water"
    assert lines[3] == "masks  40 ok, 40 given"
    assert lines[4].startswith(f"{sources / 'set'}; next: clp-augment --dataset waterbirds --root {sources / 'set'}")
    assert lines[4].endswith("--meta 1/group"), "ten a group are not there"


def test_the_command_as_json_and_its_errors(sources):
    done = call(sources, "--confounding", "0.75", "--json")
    assert json.loads(done.stdout)["groups"] == [[9, 3, 3, 9], [2, 2, 2, 2], [2, 2, 2, 2]]
    again = call(sources)
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr.startswith("error: ")
    assert again.stderr.count("\n") == 1
