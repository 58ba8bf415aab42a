"""Fills, mattes, data sets and engines that are plug-ins: the tests that they are offered, and what is refused."""

import pickle
from pathlib import Path

import pytest

from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets import load_dataset, named_dataset
from clp_aug.engines import engine_of
from clp_aug.fills import CF, infill, options_of_texts, read_options
from clp_aug.fills.scene import Materials
from clp_aug.mattes import MATTES, NEEDS_FILE, make_matte
from clp_aug.pipeline import augment
from clp_aug.testing import bright_square, check_dataset, check_fill, check_matte, random_scene

FILE = '''
from dataclasses import dataclass
import numpy as np
from clp_aug.common.settings import setting
from clp_aug.datasets.base import Dataset, Samples
from clp_aug.fills.options import FillOptions

def size(window):
    return window[3] - window[1], window[2] - window[0], 3

def plain(scene, window, rng, materials):
    """One grey."""
    return np.full(size(window), 7, np.uint8)

def floats(scene, window, rng, materials):
    return np.full(size(window), 7.0)

def wide(scene, window, rng, materials):
    return scene.image[:, :-1]

def careless(scene, window, rng, materials):
    scene.image[...] = 0
    return np.zeros(size(window), np.uint8)

def restless(scene, window, rng, materials):
    return np.random.default_rng().integers(0, 256, size(window), np.uint8)

def broken(scene, window, rng, materials):
    return {}["no such key"]

def few(scene):
    return scene

@dataclass(frozen=True)
class Options(FillOptions):
    depth: int = setting(7, "How grey.", low=0, high=255)

@dataclass(frozen=True)
class Taken(FillOptions):
    epsilon: float = setting(0.5, "The name of one of fgsm.", low=0, high=1)

def deep(scene, window, rng, materials, options: Options):
    return np.full(size(window), options.depth, np.uint8)

def deeper(scene, window, rng, materials, options: Options):
    return np.full(size(window), options.depth // 2, np.uint8)

def clash(scene, window, rng, materials, options: Taken):
    return np.full(size(window), 7, np.uint8)

def untold(scene, window, rng, materials, options):
    return np.full(size(window), 7, np.uint8)

class Says:
    what = None
    def find(self, picture):
        return self.what

class Fraction(Says):
    what = (1.5, 2, 99.5, 7.2)

class Bytes(Says):
    what = np.full((4, 4), 255, np.uint8)

class Text(Says):
    what = "dog"

class Torn(Says):
    def find(self, picture):
        return picture.nothing

class Fickle(Says):
    def __init__(self):
        self.count = 0
    def find(self, picture):
        self.count += 1
        return (0, 0, 1 + self.count % 2, 3)

class Nothing:
    pass

class Pair(Dataset):
    def __init__(self, root=None):
        self.root = root
        super().__init__("demo", ("a", "b"), Samples.of([0, 1, 0, 1], [0, 0, 1, 2], list("wxyz")))
    def image(self, row, size=None, fit="crop"):
        return np.full((size or 8, size or 8, 3), row, np.uint8)
    def source_size(self, row):
        return 8, 8

class Flat(Pair):
    def image(self, row, size=None, fit="crop"):
        return np.zeros((8, 8, 3), np.uint8)

class Loose(Pair):
    def __reduce__(self):
        raise TypeError("cannot travel")

def rootless():
    return Pair()

made = Pair()
number = 3
'''


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """A file of plug-ins in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE)


def refusal(act):
    """Return the line that an act is refused with."""
    with pytest.raises((UsageError, InputError, AssertionError)) as refused:
        act()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", ["mine.py:plain", "mine.py:deep", "tile", "random", "recolour"])
def test_fills_that_are_right(name):
    check_fill(name)


WRONG_FILLS = {
    "floats": "fill 'mine.py:floats': it returned float64 (5, 6, 3); expected uint8 (5, 6, 3), the size of its window",
    "wide": "fill 'mine.py:wide': it returned uint8 (12, 14, 3); expected uint8 (5, 6, 3), the size of its window",
    "broken": "fill 'mine.py:broken': KeyError: 'no such key' (mine.py, line 29)",
    "few": "fill 'mine.py:few': it takes 1 arguments; expected scene, window, rng, materials and optionally options",
    "number": "fill 'mine.py:number': expected a function (scene, window, rng, materials), or a Fill",
    "Options": "fill 'mine.py:Options': expected a function (scene, window, rng, materials), or a Fill",
    "untold": "fill 'mine.py:untold': annotate its parameter options with a frozen dataclass, a subclass of"
    " FillOptions",
}


@pytest.mark.parametrize("name", WRONG_FILLS)
def test_fills_that_are_refused_as_they_are_used(name):
    scene = random_scene(0, box=(1, 2, 7, 7))
    said = refusal(lambda: infill(f"mine.py:{name}", CF, scene, rng_for(0, 0, ""), Materials()))
    assert said == WRONG_FILLS[name]


@pytest.mark.parametrize(
    ("name", "words"), [("careless", "it wrote into the scene"), ("restless", "draw only from `rng`")]
)
def test_fills_that_the_tests_find(name, words):
    assert words in refusal(lambda: check_fill(f"mine.py:{name}"))


def test_settings_of_fills():
    used = ("mine.py:deep", "mine.py:deeper")
    given = options_of_texts(["depth=9"], used)
    assert {name: vars(options) for name, options in read_options(given, used).items() if name in used} == {
        name: {"depth": 9} for name in used
    }
    scene = random_scene(0, box=(1, 2, 7, 7))
    filled, _ = infill("mine.py:deep", CF, scene, rng_for(0, 0, ""), Materials(), read_options(given, used)[used[0]])
    assert (filled[scene.causal()] == 9).all()
    assert refusal(lambda: options_of_texts(["dept=9"], used)).startswith("unknown setting of a fill 'dept': did you")
    assert refusal(lambda: read_options({"depth": 300}, used)) == "depth = 300: expected a whole number from 0 to 255"
    assert refusal(lambda: read_options({}, ("mine.py:clash",))) == (
        "fill 'mine.py:clash': its setting epsilon has the same name as one of fill fgsm; rename it"
    )


@pytest.mark.parametrize("name", [*(name for name in MATTES if name not in (*NEEDS_FILE, "hatt")), "mine.py:Says"])
def test_mattes_that_are_right(name):
    check_matte(name)


WRONG_MATTES = {
    "Bytes": "matte 'mine.py:Bytes': its matte goes from 255 to 255; expected 0 to 1",
    "Text": "matte 'mine.py:Text': it found str; expected an array (h, w), a box (x0, y0, x1, y1) or None",
    "Torn": "matte 'mine.py:Torn': AttributeError: 'Shown' object has no attribute 'nothing' (mine.py, line 70)",
    "Nothing": "matte 'mine.py:Nothing': it made Nothing without a function find(picture); add one",
    "number": "matte 'mine.py:number': it is of type int, which cannot be called",
    "plain": "matte 'mine.py:plain': it asks for scene, but can only have device",
}


@pytest.mark.parametrize("name", WRONG_MATTES)
def test_mattes_that_are_refused(name):
    assert refusal(lambda: make_matte(f"mine.py:{name}").find(bright_square())) == WRONG_MATTES[name]


def test_a_matte_that_the_tests_find():
    assert refusal(lambda: check_matte("mine.py:Fickle")).endswith("a second call found something else")


def test_boxes_grow_to_whole_pixels_and_end_at_the_picture():
    assert make_matte("mine.py:Fraction").find(bright_square(64)) == (1, 2, 64, 8)


@pytest.mark.parametrize("name", ["mine.py:Pair", "mine.py:rootless", "mine.py:made"])
def test_data_sets_that_are_right(name):
    check_dataset(name)
    assert load_dataset(name).name == name
    assert pickle.loads(pickle.dumps(load_dataset(name))).image(2)[0, 0, 0] == 2


def test_roots_of_data_sets(tmp_path):
    assert load_dataset("mine.py:Pair", tmp_path).root == tmp_path
    with pytest.raises(SettingError, match=r"^root = .*: it has no effect: data set mine\.py:rootless takes no root$"):
        load_dataset("mine.py:rootless", tmp_path)
    with pytest.raises(InputError, match=r"^data set mine\.py:Pair: no folder at .*gone; give it with --root DIR$"):
        load_dataset("mine.py:Pair", tmp_path / "gone")


def test_data_sets_that_the_tests_find():
    assert refusal(lambda: check_dataset("mine.py:Flat")).endswith("(8, 8, 3) for size 16, fit crop")
    with pytest.raises(TypeError, match="cannot travel"):
        check_dataset("mine.py:Loose")


def test_only_the_user_names_code():
    assert named_dataset("demo", None) == "demo"
    assert named_dataset("mine.py:Pair", "/a/b/mine.py:Pair") == "/a/b/mine.py:Pair"
    assert refusal(lambda: named_dataset("os:system", None)) == (
        "dataset = None: the shard's data set is a plug-in, and its code runs only if you name it, too; take dataset ="
        " os:system"
    )
    assert refusal(lambda: named_dataset("mine.py:Pair", "demo")) == (
        "dataset = demo: the shard is of data set mine.py:Pair; give the path of its file"
    )
    assert refusal(lambda: named_dataset("demo", "mine.py:Pair")) == (
        "dataset = mine.py:Pair: the shard is of data set demo; leave the setting out"
    )


def test_an_engine_is_called():
    assert refusal(lambda: engine_of("mine.py:number")).startswith(
        "engine 'mine.py:number': expected a context manager"
    )
    assert callable(engine_of("mine.py:Nothing"))


def config(**settings):
    """Return settings of a shard."""
    return AugmentConfig(**{"dataset": "mine.py:Pair", "f": ("random",), "cf": ("mine.py:plain",), **settings})


def test_names_in_records_have_no_folders(tmp_path):
    there = config(dataset=f"{tmp_path}/mine.py:Pair", cf=(f"{tmp_path}/mine.py:plain",))
    assert there.stored() == config().stored()
    assert there.shard_path() == config().shard_path() == Path("shards/Pair-plain-random-seed0.h5")
    assert "plugins" not in config(dataset="demo", cf=("tile",)).stored()


def test_two_files_of_one_name_are_not_mixed():
    Path("other").mkdir()
    Path("other/mine.py").write_text(FILE)
    assert refusal(lambda: config(cf=("mine.py:plain",), f=("other/mine.py:plain",))) == (
        "fills mine.py:plain and other/mine.py:plain: a shard would call both mine.py:plain; rename a file"
    )


def test_a_shard_of_other_code_is_said_to_be_one(tmp_path):
    """The files lie in two folders, since a process imports one only once."""
    settings = {
        "dataset": "demo",
        "cf": ("mine.py:plain",),
        "meta": "1/class",
        "limit": 4,
        "size": 8,
        "matte": "centre",
    }
    augment(AugmentConfig(**settings, out=tmp_path / "x.h5"))
    Path("other").mkdir()
    Path("other/mine.py").write_text(FILE + "# changed\n")
    assert refusal(
        lambda: augment(AugmentConfig(**settings | {"cf": ("other/mine.py:plain",)}, out=tmp_path / "x.h5"))
    ) == (
        f"{tmp_path}/x.h5 exists and is of a run with another mine.py:plain: its code has changed since: rename it, or"
        " give --overwrite, or another --out"
    )
