"""Classifiers of timm, a small one of each kind: what the training loop relies on, weights, names and sizes."""

import builtins
import copy

import pytest
import torch
from safetensors.torch import save_file

from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_train.models import build_model, check_model
from clp_train.models.parts import ALL, ALL_BUT_HEAD, Classifier, frozen_batch_norm, last_block
from tests.clp_train.builders import batch_of, generator, optimiser_of, parts, step

timm = pytest.importorskip("timm")
STATISTICS = ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
KINDS = {  # name -> side of the pictures, how the names of its last block begin
    "resnet10t": (32, "body.layer4.0."),
    "mobilenetv3_small_050": (32, "body.conv_head."),
    "test_vit": (32, "body.blocks.5."),
    "vit_tiny_patch16_224": (32, "body.blocks.11."),
    "test_convnext": (32, "body.stages.3."),
    "test_efficientnet": (32, "body.conv_head."),
    "test_nfnet": (32, "body.final_conv."),
    "test_byobnet": (32, "body.stages.3.0."),
    "test_mambaout": (32, "body.stages.3."),
    "test_resnet": (40, "body.layer4.0."),
}


def build(name, classes=3, seed=0, size=32):
    return build_model(f"timm:{name}", classes, *STATISTICS, generator(seed), size=size)


@pytest.mark.parametrize("name", KINDS)
def test_a_classifier_learns_by_clp(name):
    size, block = KINDS[name]
    check_model(f"timm:{name}")
    network = build(name, size=size).double().train()
    assert network.tail[0] == block
    assert {"head.weight", "head.bias"} < set(last_block(network))
    x = torch.rand(2, 3, size, size, generator=generator(), dtype=torch.float64)
    for training in (True, False):
        out = network.train(training)(x)
        assert out.features.shape == (2, network.head.in_features)
        torch.testing.assert_close(out.logits, out.features @ network.head.weight.T + network.head.bias)
    config, _, method, _ = parts("clp", saliency_subset=0.5)
    before = copy.deepcopy(network.state_dict())
    network.train()
    losses = step(network, method, optimiser_of(network, config, 1e-3), batch_of(1, 4, side=size),
                  batch_of(2, 4, side=size), config)  # fmt: skip
    assert losses.saliency > 0
    assert losses.meta > 0
    moved = [key for key, value in network.named_parameters() if not torch.equal(value, before[key])]
    assert len(moved) > 0.7 * len(list(network.parameters()))
    again = build(name, seed=1, size=size).double()
    again.load_state_dict(dict(network.state_dict()))
    assert torch.equal(again.eval()(x).logits, network.eval()(x).logits)


@pytest.mark.parametrize("name", ["test_vit", "mobilenetv3_small_050", "test_nfnet", "test_byobnet"])
def test_features_times_head_are_timms_own_logits(name, tmp_path):
    """With a last layer of as many classes out of the file, and its own preprocessing; test_nfnet: other means."""
    size = 160 if name == "test_vit" else 32
    original = timm.create_model(name, num_classes=3).eval()
    save_file(original.state_dict(), tmp_path / "w.safetensors")
    network = build(f"{name}@{tmp_path / 'w.safetensors'}", size=size).eval()
    mean, std = (torch.tensor(original.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    x = torch.rand(2, 3, size, size, generator=generator())
    with torch.no_grad():
        torch.testing.assert_close(network(x).logits, original((x - mean) / std))
    assert network.start_weights.taken == ALL
    other = build(f"{name}@{tmp_path / 'w.safetensors'}", classes=4, size=size).eval()
    with torch.no_grad():
        torch.testing.assert_close(other(x).features, network(x).features)
    assert other.start_weights.taken == ALL_BUT_HEAD


def test_a_head_that_is_a_convolution_is_a_linear_layer():
    network = build("resnetv2_18") if timm.is_model("resnetv2_18") else build("resnetv2_50")
    assert type(network.head) is torch.nn.Linear
    x = torch.rand(2, 3, 32, 32, generator=generator())
    assert network(x).features.shape == (2, network.head.in_features)


def test_networks_with_two_last_layers():
    network = build("deit_tiny_distilled_patch16_224").eval()
    x = torch.rand(2, 3, 32, 32, generator=generator())
    inside = network.body.forward_features(network.normalise(x))
    torch.testing.assert_close(network(x).features, (inside[:, 0] + inside[:, 1]) / 2)
    with pytest.raises(UsageError, match="timm:crossvit_tiny_240 has several last layers of different widths; choose"):
        build("crossvit_tiny_240")


def test_weights_of_one_size_serve_another(tmp_path):
    """As timm does it: the places of patches are interpolated. A run's own weights are of its size already."""
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    name = f"test_vit@{tmp_path / 'w.safetensors'}"
    large, small = build(name, size=160), build(name, size=64)
    assert large.body.pos_embed.shape == (1, 101, 64)
    assert small.body.pos_embed.shape == (1, 17, 64)
    assert torch.equal(large.body.pos_embed[:, 0], small.body.pos_embed[:, 0])
    folder = tmp_path / "run"
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in small.state_dict().items()}, folder / "last.safetensors")
    again = build(f"test_vit@{folder}", size=64)
    assert all(torch.equal(value, small.state_dict()[key]) for key, value in again.state_dict().items())
    with pytest.raises(InputError, match=r": 1 tensors do not fit timm:test_vit, the first is 'body.pos_embed'; give"):
        build(f"test_vit@{folder}", size=32)


def test_weights_of_an_earlier_form_are_converted_as_timm_does_it(tmp_path):
    state = timm.create_model("test_convnext").state_dict()
    old = {f"visual.trunk.{key}": value for key, value in state.items()}  # as open_clip names them
    save_file(old, tmp_path / "open_clip.safetensors")
    found = build(f"test_convnext@{tmp_path / 'open_clip.safetensors'}").body.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in found.items())


def test_weights_of_another_network(tmp_path):
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"\d+ tensors do not fit timm:test_vit, the first is .*; give weights"):
        build(f"test_vit@{tmp_path / 'w.safetensors'}")


def test_frozen_batch_norms_keep_their_activation():
    """timm's batch norm has the activation within."""
    network, x = build("test_efficientnet"), torch.rand(2, 3, 32, 32, generator=generator())
    expected = network.eval()(x).logits
    assert torch.equal(frozen_batch_norm(network).train()(x).logits, expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm", "model 'timm': expected timm:NAME, or timm:NAME@WEIGHTS"),
        ("timm:resnet19", r"unknown timm classifier 'resnet19': did you mean resnet\d+\w*\? there are \d+"),
        ("timm:zzz", r"unknown timm classifier 'zzz': timm.list_models\(\) has their names; there are \d+"),
        ("timm:hf-hub:timm/resnet18", "unknown timm classifier 'hf-hub:timm/resnet18'"),
        ("timm:resnet18.a9_in1k", r"timm:resnet18.a9_in1k: timm knows no weights 'a9_in1k' of resnet18; did you mean"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(UsageError, match=message):
        check_model(name)


def test_a_tag_names_the_preprocessing_and_downloads_nothing(tmp_path):
    check_model("timm:vit_tiny_patch16_224.augreg_in21k")
    network = build("test_resnet.r160_in1k")
    assert network.normalise.mean.flatten().tolist() == pytest.approx(STATISTICS[0]), "no weights, so the data's own"


def test_a_size_that_it_cannot_be_made_for():
    with pytest.raises(SettingError) as error:
        build("test_vit", size=8)
    assert "it does not take pictures of 8 x 8 (" in str(error.value)
    assert str(error.value).endswith(
        "), expected 160 x 160: make the shard with clp-augment --size 160, or choose another model"
    )


def test_without_timm_one_line_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def fails(name, *rest, **more):
        if name == "timm":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", fails)
    with pytest.raises(UsageError, match=r"needs timm: pip install 'causal-logit-perturbation\[timm\]'$"):
        check_model("timm:resnet18")


def test_start_values_come_from_the_generator_alone():
    torch.manual_seed(1)
    random = torch.get_rng_state()
    first = build("test_vit").state_dict()
    assert torch.equal(torch.get_rng_state(), random)
    torch.manual_seed(2)
    assert all(torch.equal(value, first[key]) for key, value in build("test_vit").state_dict().items())
    assert isinstance(build("test_vit"), Classifier)
