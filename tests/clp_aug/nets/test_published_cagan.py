"""Published weights: names and shapes, every file format, the network against a plain one on the file's own names."""

import pytest
import torch
from torch.nn import functional as F

from clp_aug.nets.attention_layer import contextual_attention
from clp_aug.nets.layouts import LAYOUTS
from clp_aug.nets.published_cagan import LICENCE, load_published
from tests.clp_aug.nets.published import ATROUS, in_tensorflow, write


def plain_network(port, picture, hole, layout):
    """What the published code computes, layer after layer on the file's own tensors. Source: b.1 of its tables."""

    def conv(part, name, x, stride=1, rate=1, activation=F.elu):
        weight, bias = (port[f"{part}_generator.{name}.conv.{kind}"] for kind in ("weight", "bias"))
        reach = rate * (weight.shape[-1] - 1) + 1
        pads = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + reach - side, 0)
            pads += [total // 2, total - total // 2] if layout == "tf" else [reach // 2, reach // 2]
        return activation(F.conv2d(F.pad(x, pads), weight, bias, stride, dilation=rate))

    def down(part, prefix, x):
        for name, stride in (("1", 1), ("2_downsample", 2), ("3", 1), ("4_downsample", 2), ("5", 1)):
            x = conv(part, f"{prefix}conv{name}", x, stride)
        return conv(part, f"{prefix}conv6", x, activation=F.relu if prefix else F.elu)

    def dilated(part, x):
        for name, rate in zip(ATROUS, (2, 4, 8, 16), strict=True):
            x = conv(part, name, x, rate=rate)
        return x

    def up(part, prefix, x):
        for i in range(11, 17):
            if i in (13, 15):
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = conv(part, f"{prefix}conv{i}", x)
        return conv(part, f"{prefix}conv17", x, activation=lambda x: x.clamp(-1, 1))

    if layout == "tf":
        picture = picture[:, [2, 1, 0]]
    known, ones = (picture * 2 - 1) * (1 - hole), torch.ones_like(hole)
    coarse = up("coarse", "", dilated("coarse", down("coarse", "", torch.cat([known, ones, hole], 1))))
    now = torch.cat([coarse * hole + known * (1 - hole), ones, hole], 1)
    attended = contextual_attention(down("fine", "pm", now), hole, LAYOUTS[layout])
    attended = conv("fine", "pmconv10", conv("fine", "pmconv9", attended))
    refined = up("fine", "all", torch.cat([dilated("fine", down("fine", "", now)), attended], 1))
    return [(x[:, [2, 1, 0]] if layout == "tf" else x) / 2 + 0.5 for x in (coarse, refined)]


def agrees(network, port, inputs, layout):
    with torch.no_grad():
        expected = plain_network(port, *inputs, layout)
        for found, plain in zip(network(*inputs), expected, strict=True):
            torch.testing.assert_close(found, plain, atol=1e-5, rtol=0)
    return True


def test_the_tables_are_those_of_the_full_network(port, tensorflow):
    assert len(port) == len(tensorflow) == 84
    assert sum(value.numel() for value in port.values()) == 3_601_542


@pytest.mark.parametrize("ending", [".pt", ".pth", ".p", ".P", ".safetensors"])
@pytest.mark.parametrize("layout", ["own", "tf"])
def test_the_ports_files(port, inputs, tmp_path, ending, layout):
    network, sha256 = load_published(write(tmp_path / f"gen_00430000{ending}", port), layout)
    assert network.layout == LAYOUTS[layout]
    assert not network.training
    assert len(sha256) == 64
    assert agrees(network, port, inputs, layout)


def test_its_own_training_is_the_default(port, tmp_path):
    assert load_published(write(tmp_path / "w.safetensors", port))[0].layout == LAYOUTS["own"]


def test_layouts_give_other_pictures(port, inputs, tmp_path):
    path = write(tmp_path / "w.safetensors", port)
    own, tf = (load_published(path, layout)[0].fill(*inputs) for layout in ("own", "tf"))
    assert (own - tf).abs().max() > 0.01


@pytest.mark.parametrize("prefix", ["netG.", "module.", "module.netG.", "netG.module."])
def test_prefixes(port, tmp_path, prefix):
    network, _ = load_published(write(tmp_path / "w.pt", {prefix + name: value for name, value in port.items()}))
    assert torch.equal(network.coarse.conv3.weight, port["coarse_generator.conv3.conv.weight"])
    assert torch.equal(network.pasting.pmconv9.bias, port["fine_generator.pmconv9.conv.bias"])


@pytest.mark.parametrize("layout", ["own", "tf"])
@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".pt"])
def test_tensorflows_names_mean_its_layout(port, tensorflow, inputs, tmp_path, ending, layout):
    network, _ = load_published(write(tmp_path / f"w{ending}", tensorflow), layout)
    assert network.layout == LAYOUTS["tf"]
    assert agrees(network, port, inputs, "tf")


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_tensorflows_names_with_an_output_number(tensorflow, tmp_path, ending):
    path = write(tmp_path / f"w{ending}", {f"{name}:0": value for name, value in tensorflow.items()})
    assert torch.equal(load_published(path)[0].merging.allconv17.bias, tensorflow["inpaint_net/allconv17/bias"])


def test_files_of_old_torch(port, inputs, tmp_path):
    path = tmp_path / "gen_00430000.pt"
    torch.save(port, path, _use_new_zipfile_serialization=False)
    assert agrees(load_published(path)[0], port, inputs, "own")


def test_parameters_and_half_precision(port, tmp_path):
    state = {name: torch.nn.Parameter(value.half()) for name, value in port.items()}
    network, _ = load_published(write(tmp_path / "w.pt", state))
    assert network.coarse.conv1.weight.dtype == torch.float32
    assert torch.equal(network.coarse.conv1.weight, port["coarse_generator.conv1.conv.weight"].half().float())


def test_any_size_and_known_pixels_stay(port, tmp_path):
    network, _ = load_published(write(tmp_path / "w.npz", in_tensorflow(port)))
    picture, hole = torch.rand(1, 3, 13, 18), torch.zeros(1, 1, 13, 18)
    hole[..., 5:, 9:] = 1
    found, hidden = network.fill(picture, hole), hole.bool().expand(1, 3, 13, 18)
    assert torch.equal(found[~hidden], picture[~hidden])
    assert not torch.equal(found[hidden], picture[hidden])


def test_the_licence_is_named():
    assert LICENCE.startswith("CC BY-NC 4.0")
