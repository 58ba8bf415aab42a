"""A network meets its first pictures: what does not fit is told in one line before the first step; no trace is left."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from clp_aug.contract.errors import InputError, SettingError
from clp_train import cli
from clp_train.config import spell_option
from clp_train.models import build_model
from clp_train.models.from_torchvision import TorchvisionClassifier
from clp_train.models.parts import Classifier, Output, frozen_batch_norm
from clp_train.running.assembly import assemble
from clp_train.running.trial import check_batches, check_network, smallest_batch
from tests.clp_train.builders import config_of, generator

SOFTMAX = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, classes):
        super().__init__()
        self.body, self.pool, self.flat = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.fc, self.last = nn.Linear(4, classes), nn.LogSoftmax(1)
"""
STATISTICS = ([0.5] * 3, [0.25] * 3)


def pictures(size, n=2):
    return torch.randint(256, (n, 3, size, size), generator=generator(), dtype=torch.uint8)


def transformer():
    return models.VisionTransformer(224, 32, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8)


def partitions():
    return models.MaxVit((224, 224), 8, 7, [8] * 4, [1] * 4, 8, 0.0)


def dense():
    return models.DenseNet(4, (1, 1, 1, 1), 8)


def halvings():
    layers = [nn.Conv2d(3, 4, 3, 4), *[nn.MaxPool2d(2) for _ in range(4)]]
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))


class Picky(Classifier):
    """Takes pictures of one size alone, which no other network asks for."""

    def __init__(self, side=37):
        super().__init__()
        self.side, self.head = side, nn.Linear(3, 3)

    def forward(self, x):
        if x.shape[2] != self.side:
            raise RuntimeError(f"\nsides of {self.side}\nand more")
        return Output(x.mean((2, 3)), self.head(x.mean((2, 3))))


class Wide(Picky):
    """Gives one logit too many, or other shapes."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return Output(x, torch.zeros(self.shape))


@pytest.mark.parametrize(
    ("make", "size", "other"),
    [(transformer, 32, 224), (transformer, 500, 224), (partitions, 64, 224), (dense, 16, 32), (halvings, 32, 64)],
)
def test_pictures_of_a_size_that_a_network_does_not_take(make, size, other):
    network = TorchvisionClassifier(make(), 3, *STATISTICS)
    with pytest.raises(SettingError) as error:
        check_network(network, "torchvision:x", pictures(size), 3)
    assert error.value.spelt(spell_option) == (
        f"--model torchvision:x: it does not take pictures of {size} x {size}, expected {other} x {other}: make the"
        f" shard with clp-augment --size {other}, or choose another model"
    )
    check_network(network, "torchvision:x", pictures(other), 3)


def test_a_network_that_no_size_helps():
    with pytest.raises(SettingError) as error:
        check_network(Picky(), "own", pictures(32), 3)
    assert str(error.value) == "model = own: it does not take pictures of 32 x 32 (sides of 37); choose another model"


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2, 3, 1)], ids=str)
def test_logits_of_another_shape(shape):
    with pytest.raises(SettingError) as error:
        check_network(Wide(shape), "own", pictures(37), 3)
    assert f"37 x 37 (it returns logits of shape {shape}, expected (2, 3)); choose another model" in str(error.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_start_that_is_not_finite(value):
    network = build_model("resnet8", 3, *STATISTICS, generator())
    network.stem.weight.data[0, 0, 0, 0] = value
    with pytest.raises(InputError) as error:
        check_network(network, "torchvision:resnet18@w.safetensors", pictures(16), 3)
    assert str(error.value) == (
        "model torchvision:resnet18@w.safetensors: its logits are nan before the first step; its start weights are"
        " damaged, give others"
    )


def test_a_trial_leaves_nothing_behind():
    network = frozen_batch_norm(build_model("torchvision:shufflenet_v2_x0_5", 3, *STATISTICS, generator())).train()
    network.head.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes, random = [m.training for m in network.modules()], torch.get_rng_state()
    check_network(network, "x", pictures(32), 3)
    check_batches(network, 1, "batch_size", 2, pictures(32), {})
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [m.training for m in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in network.parameters())
    assert not network.head.weight.requires_grad


def test_batch_norm_of_one_picture_in_one_pixel():
    """Two values a channel are needed: of two pictures, of a larger map, or none at all with frozen statistics."""
    network = build_model("torchvision:resnet18", 3, *STATISTICS, generator())
    for size, batch in ((32, 2), (64, 1)):
        check_batches(network, batch, "batch_size", 2, pictures(size), {})
    with pytest.raises(SettingError) as error:
        check_batches(network, 1, "batch_size", 2, pictures(32), {"batch_size": 3})
    assert error.value.spelt(spell_option) == (
        "--batch-size 2: it leaves batches of one picture, which the batch norm of this network cannot take at 32 x 32;"
        " take --batch-size 3"
    )
    check_batches(frozen_batch_norm(network), 1, "batch_size", 2, pictures(32), {})


def part(data, pictures):
    """Return a run's data with so many training pictures."""
    return replace(data, train=data.train.take(torch.arange(pictures)))


@pytest.mark.parametrize(
    ("method", "batch_size", "count", "smallest"),
    [("erm", 2, 40, 2), ("erm", 2, 41, 1), ("erm", 3, 41, 2), ("erm", 100, 7, 7), ("pde", 2, 41, 1),
     ("clp", 40, 80, 24)],
)  # fmt: skip
def test_the_smallest_batch_of_a_run(loaded, demo_shard, method, batch_size, count, smallest):
    config = config_of(method, demo_shard, batch_size=batch_size, saliency_lambda=0.0)
    data = part(loaded, count)
    assembly = assemble(config, data)
    assert smallest_batch(config, assembly.method, data, assembly.stages, batch_size) == smallest


def test_a_run_whose_network_cannot_take_its_last_batch(loaded, demo_shard):
    small = {"model": "torchvision:shufflenet_v2_x0_5", "batch_size": 2}
    assemble(config_of("erm", demo_shard, **small), part(loaded, 40))
    with pytest.raises(SettingError) as error:
        assemble(config_of("erm", demo_shard, **small), part(loaded, 41))
    assert "it leaves batches of one picture" in str(error.value)
    assert error.value.take == {"batch_size": 3}
    assemble(config_of("erm", demo_shard, **small, trainable="head"), part(loaded, 41))
    assemble(config_of("erm", demo_shard, **small, freeze_batch_norm=True), part(loaded, 41))
    with pytest.raises(SettingError, match="it leaves batches of one picture") as error:
        assemble(config_of("clp", demo_shard, omega_start="background", **small | {"batch_size": 40}), part(loaded, 3))
    assert error.value.take == {}, "each background network learns one picture"


def test_the_door_refuses_in_one_line_and_leaves_no_folder(demo_shard, tmp_path):
    options = [
        "--meta",
        str(demo_shard),
        "--model",
        "torchvision:densenet121",
        "--out",
        str(tmp_path / "run"),
        "--quiet",
    ]
    result = CliRunner().invoke(cli.train, options)
    assert result.exit_code == 2
    assert result.stderr == (
        "error: --model torchvision:densenet121: it does not take pictures of 16 x 16, expected 32 x 32: make the"
        " shard with clp-augment --size 32, or choose another model\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "torchvision:alexnet",
            "it does not take pictures of 16 x 16, expected 64 x 64: make the shard with clp-augment",
        ),
        ("mine", "it does not end in its layer fc: what follows changes the logits; let it end there, or name the"),
        ("resnet8@weights", "tensors do not fit resnet8, the first is "),
    ],
)
def test_what_does_not_fit_is_told_before_a_picture_is_read(model, message, demo_shard, tmp_path, monkeypatch):
    def read(*_arguments, **_named):
        raise AssertionError("pictures were read")

    monkeypatch.setattr("clp_train.loading.data.load", read)
    (tmp_path / "mine.py").write_text(SOFTMAX)
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    name = {"mine": f"{tmp_path / 'mine.py'}:Net", "resnet8@weights": f"resnet8@{tmp_path / 'w.safetensors'}"}
    options = ["--meta", str(demo_shard), "--model", name.get(model, model), "--out", str(tmp_path / "run"), "--quiet"]
    result = CliRunner().invoke(cli.train, options)
    assert result.exit_code in (2, 3)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_says_which_weights_it_starts_from(demo_shard, tmp_path):
    """The same weights, judged before a step, are those that the first run left."""
    options = ["--meta", str(demo_shard), "--method", "erm", "--epochs", "1", "--limit", "8"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert CliRunner().invoke(cli.train, [*options, "--out", str(first), "--quiet"]).exit_code == 0
    said = CliRunner().invoke(cli.train, [*options, "--model", f"resnet8@{first}", "--out", str(second)])
    weights = next(path for path in (first / "selected.safetensors", first / "last.safetensors") if path.exists())
    assert f"starts from {weights}: all of it\n" in said.stderr
    start = json.loads((second / "result.json").read_text())["start_weights"]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert start == {"file": str(weights), "sha256": digest, "taken": "all of it"}
    assert "start_weights" not in json.loads((first / "result.json").read_text())
