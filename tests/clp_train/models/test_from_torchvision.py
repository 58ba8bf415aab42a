"""Names, files of weights, and the place of the head, for every classifier of torchvision."""

import json
import math
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from clp_aug.contract.errors import InputError, UsageError
from clp_train.models import build_model, check_model, from_torchvision
from clp_train.models.from_torchvision import WITHOUT_LINEAR_HEAD, linear_head
from clp_train.models.parts import Classifier, Peers
from clp_train.models.wrapped import HardSigmoid, last_of

STATISTICS = ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


def build(text, seed=0):
    return build_model(f"torchvision:{text}", 3, *STATISTICS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision", "model 'torchvision': expected torchvision:NAME, or torchvision:NAME@WEIGHTS"),
        ("torchvision:", r"model 'torchvision:': expected torchvision:NAME"),
        ("resnet8:", "model 'resnet8:': expected resnet8"),
        ("resnet8:x", "model 'resnet8:x': expected resnet8, or resnet8@WEIGHTS"),
        ("torchvision:resnet5", "unknown torchvision classifier 'resnet5': expected one of 80, such as resnet50, "),
        (
            "torchvision:zzz",
            "unknown torchvision classifier 'zzz': expected one of 80, such as resnet50, resnext50_32x4d$",
        ),
        ("torchvision:squeezenet1_0", "torchvision:squeezenet1_0 ends in a convolution; choose"),
        (f"torchvision:resnet18@{__file__}", "torchvision.py: expected weights in a file .safetensors, .pth"),
        ("torchvision:resnet18@", "torchvision:resnet18@: expected weights after the @: a file or the folder"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(UsageError, match=message):
        check_model(name)
    with pytest.raises(UsageError, match=message):
        build_model(name, 3, *STATISTICS, torch.Generator())


def test_missing_file():
    with pytest.raises(InputError, match=r"resnet18@none.safetensors: no such file; .* nothing is downloaded"):
        check_model("torchvision:resnet18@none.safetensors")


def test_every_classifier_has_a_linear_head_and_a_last_block():
    names = [
        n for n in models.list_models(module=models) if not n.startswith("regnet")
    ]  # those compute at construction
    for name in names:
        with torch.device("meta"):
            body = models.get_model_builder(name)(weights=None, **from_torchvision.options(name, False))
        if name in WITHOUT_LINEAR_HEAD:
            assert not any(isinstance(module, nn.Linear) for module in body.modules())
            continue
        place, last = linear_head(body)
        assert last.out_features == 1000, name
        assert list(body.state_dict())[-1].startswith(place), name
        tail = tuple(last_of(body, place))
        share = sum(p.numel() for n, p in body.named_parameters() if n.startswith(tail))
        assert last.weight.numel() < share < sum(p.numel() for p in body.parameters()), name


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("resnet50", "layer4.2."),
        ("vgg16", "features.28."),
        ("densenet121", "features.denseblock4."),
        ("vit_b_16", "encoder.layers.encoder_layer_11."),
        ("maxvit_t", "blocks.3."),
        ("mobilenet_v2", "features.18."),
    ],
)
def test_last_block_of_known_networks(name, first):
    with torch.device("meta"):
        body = models.get_model(name, weights=None)
    assert last_of(body, linear_head(body)[0])[0] == first


def test_without_a_file_the_training_set_normalises():
    network = build("shufflenet_v2_x0_5")
    assert network.normalise.mean.flatten().tolist() == pytest.approx(STATISTICS[0])
    assert network.normalise.std.flatten().tolist() == pytest.approx(STATISTICS[1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A file of torchvision's own tensors, made here, and the network it came from."""
    network = models.shufflenet_v2_x0_5(weights=None).eval()
    path = tmp_path_factory.mktemp("weights") / "shuffle.safetensors"
    save_file(network.state_dict(), path)
    return network, path


def test_weights_of_a_file(trained):
    original, path = trained
    network = build(f"shufflenet_v2_x0_5@{path}").eval()
    assert network.head.weight.shape == (3, 1024)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    original.fc = nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(network(x).features, original((x - mean) / std))
    other = build(f"shufflenet_v2_x0_5@{path}", seed=1)
    assert not torch.equal(other.head.weight, network.head.weight)


def test_weights_of_another_network(trained, tmp_path):
    with pytest.raises(
        InputError, match=r"tensors do not fit torchvision:resnet18, the first is .*weights of torchvision:resnet18"
    ):
        build(f"resnet18@{trained[1]}")
    state = models.shufflenet_v2_x0_5(weights=None).state_dict()
    state["conv1.0.weight"] = state["conv1.0.weight"][:, :1].clone()
    save_file(state, tmp_path / "grey.safetensors")
    with pytest.raises(InputError, match=r": 1 tensors do not fit .*, the first is 'conv1.0.weight'"):
        build(f"shufflenet_v2_x0_5@{tmp_path / 'grey.safetensors'}")


def test_unreadable_weights(trained, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(trained[1].read_bytes()[:1000])
    with pytest.raises(InputError, match=r"not a readable .safetensors file"):
        build(f"shufflenet_v2_x0_5@{broken}")


def test_auxiliary_heads_of_a_file_are_ignored(tmp_path):
    with torch.device("meta"):
        shapes = models.googlenet(weights=None, aux_logits=True, init_weights=True).state_dict()
    save_file({name: torch.zeros(v.shape, dtype=v.dtype) for name, v in shapes.items()}, tmp_path / "g.safetensors")
    network = build(f"googlenet@{tmp_path / 'g.safetensors'}")
    assert isinstance(network, Classifier)
    assert network.body.transform_input
    assert not any("aux" in name for name, _ in network.named_parameters())
    assert network.train()(torch.rand(2, 3, 64, 64)).logits.shape == (2, 3)


def test_hard_sigmoid_is_torchs():
    x = torch.linspace(-5, 5, 101)
    torch.testing.assert_close(HardSigmoid()(x), nn.functional.hardsigmoid(x))
    assert not any(isinstance(module, nn.Hardsigmoid) for module in build("mobilenet_v3_small").modules())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("conv1.0.weight", lambda value: value.fill_(math.nan)),
        ("conv1.0.weight", lambda value: value.fill_(math.inf)),
        ("conv1.0.weight", lambda value: value.double().fill_(1e300)),
        ("conv1.0.weight", lambda value: value.int()),
        ("conv1.1.running_var", lambda value: value.fill_(-math.inf)),
        ("conv1.0.weight", lambda value: value.to(torch.complex64)),
    ],
    ids=["nan", "inf", "large", "int", "running", "complex"],
)
def test_values_that_are_no_finite_numbers_name_the_file(trained, tmp_path, name, change):
    state, path = {key: value.clone() for key, value in load_file(trained[1]).items()}, tmp_path / "w.safetensors"
    save_file(state | {name: change(state[name])}, path)
    with pytest.raises(InputError) as error:
        build(f"shufflenet_v2_x0_5@{path}")
    assert str(error.value) == (
        f"weights {path}: {name} holds NaN, infinity or no floating point; give weights of"
        " torchvision:shufflenet_v2_x0_5"
    )


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.float8_e4m3fn], ids=str)
def test_weights_of_other_floating_point(trained, tmp_path, kind):
    state, path = load_file(trained[1]), tmp_path / "w.safetensors"
    save_file(state | {"conv1.0.weight": state["conv1.0.weight"].to(kind)}, path)
    found = build(f"shufflenet_v2_x0_5@{path}").state_dict()["body.conv1.0.weight"]
    assert torch.equal(found, state["conv1.0.weight"].to(kind).float())


@pytest.mark.parametrize(
    "header",
    [
        {"conv1.0.weight": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}},
        {"a\nb" * 1000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
    ],
    ids=["larger than the file", "no type of torch", "no type of torch either", "long name"],
)
def test_headers_that_lie(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    with pytest.raises(InputError, match=r"^weights \S+: ") as error:
        build(f"shufflenet_v2_x0_5@{tmp_path / 'w.safetensors'}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_file_of_another_size_is_refused_before_its_values_are_read(tmp_path):
    """A terabyte of zeros, of which the disk holds nothing."""
    length = 2**40
    text = json.dumps({"a": {"dtype": "F32", "shape": [length // 4], "data_offsets": [0, length]}}).encode()
    with open(tmp_path / "w.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + length)
    with pytest.raises(InputError, match=r"tensors do not fit torchvision:shufflenet_v2_x0_5, the first is 'a'"):
        build(f"shufflenet_v2_x0_5@{tmp_path / 'w.safetensors'}")


FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5",
    "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "swin_v2_t", "vgg11_bn",
    "vit_b_32",
)  # fmt: skip
"""A small classifier of every module of torchvision.models but regnet, which computes at construction."""


@pytest.mark.parametrize("name", FAMILIES)
def test_a_state_without_versions_is_taken_up(name):
    """States of a run and files hold tensors by name; torch's own state dicts have version numbers besides."""
    with torch.device("meta"):
        network = from_torchvision.TorchvisionClassifier(from_torchvision.make_body(name, False), 3, *STATISTICS)
    for whole in (network, Peers(network, network)):
        whole.load_state_dict(dict(whole.state_dict()), assign=True)


def test_weights_of_a_network_with_versions(tmp_path):
    body = models.mnasnet0_5(weights=None)
    save_file(body.state_dict(), tmp_path / "m.safetensors")
    found = build(f"mnasnet0_5@{tmp_path / 'm.safetensors'}").body.state_dict()
    assert all(torch.equal(value, body.state_dict()[name]) for name, value in found.items())
