"""Methods, models and transforms that are plug-ins: the tests that they are offered, and what is refused."""

from pathlib import Path

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_train.bench.jobs import run_of
from clp_train.bench.spec import Row, Scale
from clp_train.bench.versions import origins, run_version
from clp_train.config import make_config
from clp_train.methods import entry_of, options_of
from clp_train.methods.listing import methods_table
from clp_train.pictures.transforms import load_transform
from clp_train.testing import check_method, check_model, check_transform

FILE = '''
from dataclasses import dataclass
import torch
from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.method import Method
from clp_train.algorithm.objective import Terms
from torch import nn

@dataclass(frozen=True)
class Options(Settings):
    weight: float = setting(0.5, "What a picture weighs.", low=0, high=1)

@dataclass(frozen=True)
class Taken(Settings):
    lr: float = setting(0.5, "The name of one of every run.", low=0, high=1)

class Plain(Method):
    """Cross entropy."""

def build(context, options: Options):
    made = Plain()
    made.classes = context.table.classes
    return made

class Untold(Method):
    def __init__(self, options):
        pass

class Clash(Method):
    def __init__(self, options: Taken):
        pass

class Asks(Method):
    def __init__(self, data):
        pass

class Wrong(Method):
    parts = "meta step"

def nothing():
    return None

class Forgetful(Method):
    """What it counts is in no state."""
    def __init__(self):
        self.seen = 0
    def observe(self, view):
        self.seen += 1
    def terms(self, view):
        return Terms(weight=torch.full_like(view.logits[:, 0], 1 / self.seen))

class Learning(Method):
    """It has learned tensors and does not say so."""
    learned = (torch.zeros(1),)

def small(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

def mirrored(images, inside, generator):
    return images.flip(3), inside.flip(2)

def shorter(images, inside, generator):
    return images[:, :, 1:], inside

def noisy(images, inside, generator):
    return images + torch.rand(images.shape).to(images.dtype), inside

number = 3
'''


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """A file of plug-ins in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE)


def refusal(act):
    """Return the line that an act is refused with."""
    with pytest.raises((UsageError, AssertionError)) as refused:
        act()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_methods_that_are_right():
    check_method("mine.py:Plain")
    check_method("mine.py:build", {"weight": 0.2})
    assert (entry_of("mine.py:Plain").source, entry_of("mine.py:Plain").family) == ("Cross entropy", "own")


WRONG_METHODS = {
    "Untold": "annotate its parameter options with a frozen dataclass of settings, a subclass of Settings",
    "Clash": "its setting lr has the name of one of every run; give it another",
    "Asks": "it asks for data, but can only have options and context",
    "Wrong": "parts = 'meta step'; expected a tuple of meta step, perturbed meta logits, saliency, such as"
    " ('meta step',)",
    "nothing": "it made NoneType; expected an object of clp_train.algorithm.method.Method",
    "number": "it is of type int; expected a Method, or a function that makes one",
}


@pytest.mark.parametrize("name", WRONG_METHODS)
def test_methods_that_are_refused(name):
    assert refusal(lambda: check_method(f"mine.py:{name}")) == f"method 'mine.py:{name}': {WRONG_METHODS[name]}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Forgetful", "killed after step 2 and resumed, the run differs; is all of its state in `state_dict`?"),
        ("Learning", "if `learned` is not empty"),
    ],
)
def test_methods_that_the_tests_find(name, words):
    assert refusal(lambda: check_method(f"mine.py:{name}")).endswith(words)


@pytest.mark.parametrize("name", ["erm", "mwn"])
def test_registered_methods_pass_the_same_tests(name):
    check_method(name)


def test_models_and_transforms():
    check_model("mine.py:small")
    check_transform("mine.py:mirrored")
    check_transform("resize-crop-flip")
    assert "draw only from the generator" in refusal(lambda: check_transform("mine.py:noisy"))
    images, inside = torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool)
    assert refusal(lambda: load_transform("mine.py:shorter")(images, inside, None)).startswith(
        "transform 'mine.py:shorter': it returned ((torch.Size([2, 3, 3, 4]), torch.float32), "
    )


def test_its_settings_are_settings_of_the_run():
    config = make_config({"meta": Path("x.h5"), "method": "mine.py:build"}, ["weight=0.25"])
    assert (config.options.weight, options_of("mine.py:Plain").__name__) == (0.25, "NoOptions")
    assert config.folder == Path("runs/x-build-seed0")
    assert list(config.as_json()["plugins"]) == ["mine.py:build"]
    assert "plugins" not in make_config({"meta": Path("x.h5"), "method": "erm"}).as_json()
    said = refusal(lambda: make_config({"meta": Path("x.h5"), "method": "mine.py:build"}, ["wight=1"]))
    assert said.startswith("unknown setting 'wight': did you mean weight?")


def test_the_list_of_methods_has_the_one_that_is_named():
    assert "mine.py:Plain" in methods_table(method="mine.py:Plain").splitlines()[-1]
    assert "mine.py" not in methods_table(markdown=True)


def test_the_identity_of_a_run_has_its_code(tmp_path):
    """The files lie in two folders, since a process imports one only once."""
    arguments = ("--method", "mine.py:Plain", "--set", "transform=mine.py:mirrored", "--model", "mine.py:small@w.pt")
    assert list(origins(arguments)) == ["method mine.py:Plain", "model mine.py:small", "transform mine.py:mirrored"]
    assert origins(("--dataset", "demo", "--matte", "hatt:x.safetensors", "--model", "torchvision:vgg11")) == {}
    Path("other").mkdir()
    Path("other/mine.py").write_text(FILE + "# changed\n")
    versions = {run_version(f"{folder}mine.py:Plain", ()) for folder in ("", "other/", f"{tmp_path}/")}
    assert len(versions) == 2


def test_a_run_of_a_table_names_its_data_set_and_a_safe_folder():
    scale = Scale(("--dataset", "mine.py:number"), ("--epochs", "1"))
    run = run_of("a", scale, "own", Row("Own", "mine.py:Plain"), 0, "common", Path("work"))
    assert run.arguments[:4] == ("--method", "mine.py:Plain", "--dataset", "mine.py:number")
    assert run.folder.name.startswith("Plain-seed0-")
