"""clp-data waterbirds on tiny birds: layouts, counts, and the files it leaves."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug.contract.errors import InputError, TooManyFallbacks
from clp_aug.data_cli import data
from clp_aug.datasets import load_dataset
from clp_aug.datasets.waterbirds import RECIPE
from clp_aug.making import waterbirds
from clp_aug.making.foregrounds import read_birds
from clp_aug.making.waterbirds import make
from clp_aug.mattes import About
from tests.clp_aug.making.birds import BIRD, SIZE, contents, save_bird, settings, table


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
    with pytest.raises(
        InputError, match=r"train_test_split.txt: it does not list the pictures of images.txt; unpack CUB"
    ):
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
