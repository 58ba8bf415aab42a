"""NAME@WEIGHTS: files of several forms and folders of runs, for every kind of model; what does not fit is one line."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from clp_aug.contract.errors import InputError, UsageError
from clp_train import run_folder
from clp_train.models import build_model, check_model
from clp_train.models.heads import make_head, replace_head
from clp_train.models.names import OF_A_RUN, split
from clp_train.models.parts import ALL, ALL_BUT_HEAD, Peers
from clp_train.models.weights import own_names
from tests.clp_train.builders import generator

STATISTICS = ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
SHUFFLE = "torchvision:shufflenet_v2_x0_5"
OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.body(x).flatten(1))
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The name of a network of the user's own."""
    path = tmp_path_factory.mktemp("own") / "nets.py"
    path.write_text(OWN)
    return f"{path}:Net"


def build(name, classes=3, seed=0, size=32):
    return build_model(name, classes, *STATISTICS, generator(seed), size=size)


def run_of(folder, network, name="last"):
    """Write the weights of a run as a run writes them."""
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / f"{name}.safetensors")
    return folder


def same(one, other, but=()):
    """Tell whether two networks have the same tensors, but for those whose names begin so."""
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(v, states[1][k]) for k, v in states[0].items() if not k.startswith(tuple(but)))


@pytest.mark.parametrize("model", ["resnet8", "efficientnet-lite0-scratch", SHUFFLE, "own"])
def test_a_run_starts_from_the_weights_of_another(model, own, tmp_path):
    model = own if model == "own" else model
    trained = build(model, seed=5)
    folder = run_of(tmp_path / "run", trained)
    for given in (folder, folder / "last.safetensors"):
        check_model(f"{model}@{given}")
        network = build(f"{model}@{given}")
        assert same(network, trained)
        sha256 = hashlib.sha256((folder / "last.safetensors").read_bytes()).hexdigest()
        assert network.start_weights == (str(folder / "last.safetensors"), sha256, ALL)
    other = build(f"{model}@{folder}", classes=5)
    assert other.head.out_features == 5
    assert other.start_weights.taken == ALL_BUT_HEAD
    assert same(other, trained, ("head.",))
    assert build(model).start_weights is None


def test_the_selected_epoch_comes_before_the_last(tmp_path):
    folder = run_of(run_of(tmp_path / "run", build("resnet8", seed=1)), build("resnet8", seed=2), "selected")
    assert same(build(f"resnet8@{folder}"), build("resnet8", seed=2))
    assert OF_A_RUN == (run_folder.SELECTED, run_folder.LAST)


def test_the_first_of_two_networks_counts_and_other_heads_do_not(tmp_path):
    first, second = build("resnet8", seed=1), build("resnet8", seed=2)
    folder = run_of(tmp_path / "peers", Peers(first, second))
    assert same(build(f"resnet8@{folder}"), first)
    replace_head(first, make_head("cosine", 64, 3, generator()))
    network = build(f"resnet8@{run_of(tmp_path / 'cosine', first)}")
    assert network.start_weights.taken == ALL_BUT_HEAD
    assert same(network, build("resnet8", seed=1), ("head.",))
    replace_head(network, make_head("linear", 64, 3, generator()))
    whole = build(f"resnet8@{run_of(tmp_path / 'whole', build('resnet8', seed=1))}")
    replace_head(whole, make_head("cosine", 64, 3, generator()))
    assert whole.start_weights.taken == ALL_BUT_HEAD, "the method has put its own there"


@pytest.fixture(scope="module")
def bare():
    """The tensors of a bare network of torchvision."""
    return models.shufflenet_v2_x0_5(weights=None).state_dict()


WRAPPED = {
    "plain.pth": lambda state: state,
    "plain.pt": lambda state: state,
    "parallel.pth": lambda state: {f"module.{k}": v for k, v in state.items()},
    "lightning.ckpt": lambda state: {"epoch": 3, "state_dict": {f"model.{k}": v for k, v in state.items()}},
    "deit.pth": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "compiled.bin": lambda state: {"model_state": {f"module._orig_mod.{k}": v for k, v in state.items()}, "step": 7},
    "within.pt": lambda state: {"model": {"state_dict": state}},
    "nothing.pt": lambda state: {"module.conv1.0.weight": state["conv1.0.weight"], **state},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_files_of_torch_save(name, bare, tmp_path):
    torch.save(WRAPPED[name](bare), tmp_path / name)
    if name == "nothing.pt":
        with pytest.raises(InputError, match=r"1 tensors do not fit \S+, the first is 'module.conv1.0.weight'; give"):
            build(f"{SHUFFLE}@{tmp_path / name}")
        return
    network = build(f"{SHUFFLE}@{tmp_path / name}")
    found = network.body.state_dict()
    assert all(torch.equal(value, bare[key]) for key, value in found.items())
    assert network.normalise.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert network.start_weights.taken == ALL_BUT_HEAD


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("/tmp/clp_must_not_be_there"),)


@pytest.mark.parametrize(
    "content",
    [Bomb(), {"state_dict": 3}, [1, 2], {"model": {"a": Bomb()}}],
    ids=["code", "a number", "a list", "code within"],
)
def test_what_holds_no_tensors_is_one_line_and_is_not_run(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"^weights \S+: not a readable .pth file of tensors \(") as error:
        build(f"{SHUFFLE}@{tmp_path / 'w.pth'}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert not Path("/tmp/clp_must_not_be_there").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", b"text"], ids=repr)
def test_bytes_that_are_no_weights(content, tmp_path):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"^weights \S+: not a readable .pt file of tensors"):
        build(f"resnet8@{tmp_path / 'w.pt'}")


def test_weights_of_another_network_name_their_own(tmp_path):
    folder = run_of(tmp_path / "run", build("resnet8"))
    with pytest.raises(InputError) as error:
        build(f"resnet20@{folder}")
    assert str(error.value) == (
        f"weights {folder / 'last.safetensors'}: 80 tensors do not fit resnet20, the first is 'groups.1.bn1.bias'; give"
        " weights of resnet20"
    )
    for text in ("[]", "{", json.dumps({"config": {"model": 3}}), json.dumps({"config": {"model": "resnet8"}})):
        (folder / "result.json").write_text(text)
        with pytest.raises(InputError) as error:
            build(f"resnet20@{folder}")
    assert str(error.value).endswith("; they are of resnet8, give weights of resnet20")


@pytest.mark.parametrize(
    ("weights", "kind", "message"),
    [
        ("", UsageError, "expected weights after the @"),
        ("none", InputError, "no such file or folder; give the path of weights, nothing is downloaded"),
        ("none.pth", InputError, "no such file; give the path of the weights"),
        (".", InputError, "no selected.safetensors and no last.safetensors in .; give the folder of a finished run"),
        (__file__, UsageError, "expected weights in a file .safetensors, .pth, .pt, .bin, .ckpt, or the folder"),
    ],
)
def test_weights_that_are_not_there(weights, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message):
        check_model(f"resnet8@{weights}")


@pytest.mark.parametrize(
    ("text", "name", "weights"),
    [
        ("resnet8", "resnet8", None),
        ("resnet8@runs/x", "resnet8", "runs/x"),
        ("resnet8@a@b", "resnet8", "a@b"),
        ("timm:resnet18@w.pth", "timm:resnet18", "w.pth"),
        ("me@home/nets.py:Net", "me@home/nets.py:Net", None),
        ("me@home/nets.py:Net@w@1.pth", "me@home/nets.py:Net", "w@1.pth"),
        ("nets:Net@runs/me.py:x", "nets:Net@runs/me.py:x", None),
        ("resnet8@", "resnet8", ""),
    ],
)
def test_names_with_weights(text, name, weights):
    assert split(text) == (name, weights)


@pytest.mark.parametrize(
    ("stored", "expected", "own"),
    [
        (["a", "b"], ["a", "b"], ["a", "b"]),
        (["module.a", "module.b"], ["a", "b"], ["a", "b"]),
        (["model.a", "model.b"], ["model.a", "model.b"], ["model.a", "model.b"]),
        (["module.model.a"], ["model.a"], ["model.a"]),
        (["model.model.a"], ["a"], ["a"]),
        (["module.a", "b"], ["a"], ["module.a", "b"]),
        (["nets.0.a", "nets.1.a"], ["a"], ["a"]),
        ([], ["a"], []),
    ],
)
def test_names_of_tensors(stored, expected, own):
    assert list(own_names(stored, expected).values()) == own


def test_weights_of_an_own_bare_network(own, tmp_path):
    """Its last layer comes along where it has the classes."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    module = nn.Module()
    module.body, module.fc = body, nn.Linear(4, 3)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    network = build(f"{own}@{tmp_path / 'w.safetensors'}")
    assert torch.equal(network.head.weight, module.fc.weight)
    assert torch.equal(network.body.body[0].weight, body[0].weight)
    assert network.start_weights.taken == ALL
    assert network.normalise.mean.flatten().tolist() == pytest.approx(STATISTICS[0]), "it has no preprocessing"
    other = build(f"{own}@{tmp_path / 'w.safetensors'}", classes=4)
    assert torch.equal(other.body.body[0].weight, body[0].weight)
    assert (other.head.out_features, other.start_weights.taken) == (4, ALL_BUT_HEAD)
    assert load_file(tmp_path / "w.safetensors").keys() == module.state_dict().keys()
