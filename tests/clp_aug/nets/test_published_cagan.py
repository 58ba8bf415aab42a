"""Published names and shapes, written out; every file format; the network against a plain one that runs on the file's
own names; each refusal with its line."""

import io
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets import published_cagan
from clp_aug.nets.attention_layer import contextual_attention
from clp_aug.nets.contextual_attention import ContextualAttentionNet, load
from clp_aug.nets.layouts import LAYOUTS
from clp_aug.nets.published_cagan import LICENCE, load_published

ATROUS = [f"conv{i}_atrous" for i in (7, 8, 9, 10)]
COARSE = {  # planes in, planes out, side of the kernel
    "conv1": (5, 32, 5), "conv2_downsample": (32, 64, 3), "conv3": (64, 64, 3), "conv4_downsample": (64, 128, 3),
    **dict.fromkeys(["conv5", "conv6", *ATROUS, "conv11", "conv12"], (128, 128, 3)),
    "conv13": (128, 64, 3), "conv14": (64, 64, 3), "conv15": (64, 32, 3), "conv16": (32, 16, 3), "conv17": (16, 3, 3),
}  # fmt: skip
FINE = {
    "conv1": (5, 32, 5), "conv2_downsample": (32, 32, 3), "conv3": (32, 64, 3), "conv4_downsample": (64, 64, 3),
    "conv5": (64, 128, 3), **dict.fromkeys(["conv6", *ATROUS], (128, 128, 3)),
    "pmconv1": (5, 32, 5), "pmconv2_downsample": (32, 32, 3), "pmconv3": (32, 64, 3),
    "pmconv4_downsample": (64, 128, 3), **dict.fromkeys([f"pmconv{i}" for i in (5, 6, 9, 10)], (128, 128, 3)),
    "allconv11": (256, 128, 3), "allconv12": (128, 128, 3), "allconv13": (128, 64, 3), "allconv14": (64, 64, 3),
    "allconv15": (64, 32, 3), "allconv16": (32, 16, 3), "allconv17": (16, 3, 3),
}  # fmt: skip
UPSAMPLED = ("conv13", "conv15", "allconv13", "allconv15")


@pytest.fixture(scope="module")
def port():
    """A state dict as the PyTorch port names it."""
    generator, state = torch.Generator().manual_seed(0), {}
    for part, table in (("coarse", COARSE), ("fine", FINE)):
        for name, (before, after, side) in table.items():
            spread = (3 / (before * side * side)) ** 0.5
            weight = torch.empty(after, before, side, side).uniform_(-spread, spread, generator=generator)
            state[f"{part}_generator.{name}.conv.weight"] = weight
            state[f"{part}_generator.{name}.conv.bias"] = torch.empty(after).uniform_(-0.1, 0.1, generator=generator)
    return state


def in_tensorflow(port):
    """The same tensors as TensorFlow names and orders them."""
    state = {}
    for name, value in port.items():
        part, layer, _, kind = name.split(".")
        if part == "fine_generator" and layer.startswith("conv"):
            layer = f"x{layer}"
        scope = f"{layer}_upsample/{layer}_upsample_conv" if layer in UPSAMPLED else layer
        if kind == "weight":
            state[f"inpaint_net/{scope}/kernel"] = value.permute(2, 3, 1, 0).contiguous()
        else:
            state[f"inpaint_net/{scope}/bias"] = value
    return state


@pytest.fixture(scope="module")
def tensorflow(port):
    return in_tensorflow(port)


@pytest.fixture(scope="module")
def inputs():
    """Two pictures of 32 x 40 in RGB, a hole each, as the networks take them."""
    picture = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    hole = torch.zeros(2, 1, 32, 40)
    hole[0, :, 14:22, 6:19] = 1
    hole[1, :, 0:9, 30:40] = 1
    return picture, hole


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


def write(path, state):
    """Write tensors in the format that the ending names."""
    if path.suffix == ".safetensors":
        save_file({name: value.clone() for name, value in state.items()}, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        torch.save(state, path)
    return path


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


# refusals


REMEDY = "; expected the 84 tensors of the published generator"


def refused(path, message, layout="own"):
    with pytest.raises(InputError) as caught:
        load_published(path, layout)
    assert str(caught.value) == f"published inpainting weights {path}: {message}{REMEDY}"
    assert "\n" not in str(caught.value)


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


def test_missing_and_unexpected_tensors_are_listed(port, tensorflow, tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, without(port, "coarse_generator.conv1.conv.bias"))
    refused(path, "'coarse_generator.conv1.conv.bias' is missing, expected (32,)")
    write(path, port | {"localD.linear.weight": torch.zeros(1, 5)})
    refused(path, "'localD.linear.weight' is (1, 5), expected nothing")
    write(path, {name: value for name, value in port.items() if "coarse" in name} | {"more": torch.zeros(())})
    with pytest.raises(InputError, match=r" is missing, expected \(32,\), .* and 48 more; expected the 84 tensors"):
        load_published(path)
    write(path, without(tensorflow, "inpaint_net/allconv15_upsample/allconv15_upsample_conv/kernel"))
    refused(
        path,
        "'inpaint_net/allconv15_upsample/allconv15_upsample_conv/kernel' is missing, expected (3, 3, 64, 32)",
        "tf",
    )


def test_a_tensor_that_comes_twice_is_one_too_many(port, tmp_path):
    name = "fine_generator.allconv17.conv.bias"
    path = write(tmp_path / "w.safetensors", port | {f"netG.{name}": port[name] + 1})
    refused(path, f"'netG.{name}' is (3,), expected nothing")


def test_wrong_shapes_are_named(port, tensorflow, tmp_path):
    name = "fine_generator.conv2_downsample.conv.weight"
    path = write(tmp_path / "w.pt", port | {name: torch.zeros(64, 32, 3, 3)})
    refused(path, f"{name!r} is (64, 32, 3, 3), expected (32, 32, 3, 3)")
    name = "inpaint_net/conv1/kernel"
    path = write(tmp_path / "w.npz", tensorflow | {name: tensorflow[name].permute(3, 2, 0, 1)})
    refused(path, f"{name!r} is (32, 5, 5, 5), expected (5, 5, 5, 32)", "tf")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_not_finite(port, tmp_path, value):
    name = "fine_generator.conv5.conv.bias"
    path = write(tmp_path / "w.pt", port | {name: torch.full((128,), value)})
    refused(path, f"{name} holds NaN, infinity or no floating point")


def test_whole_numbers(port, tmp_path):
    name = "coarse_generator.conv17.conv.bias"
    path = write(tmp_path / "w.npz", port | {name: torch.zeros(3, dtype=torch.int32)})
    refused(path, f"{name} holds NaN, infinity or no floating point")


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_nothing_but_tensors_is_unpickled(port, tmp_path):
    message = "cannot be used (no checkpoint of torch, or one with more than tensors in it)"
    path = tmp_path / "w.pt"
    for new in (True, False):
        torch.save({"coarse_generator.conv1.conv.weight": Bomb()}, path, _use_new_zipfile_serialization=new)
        refused(path, message)
    torch.save(torch.nn.Linear(2, 2), path)
    refused(path, message)
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    refused(path, message)
    arrays = np.array([Bomb()], dtype=object)
    np.savez(tmp_path / "w.npz", **{"inpaint_net/conv1/kernel": arrays})
    with pytest.raises(InputError, match=r"cannot be used \(Object arrays cannot be loaded"):
        load_published(tmp_path / "w.npz")


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "cannot be used (a list, not tensors by name)"),
        ({0: torch.zeros(2)}, "cannot be used (a dict, not tensors by name)"),
        ({"state_dict": {}}, "cannot be used ('state_dict' is no plain tensor)"),
        ({"netG.a": torch.eye(2).to_sparse()}, "cannot be used ('netG.a' is no plain tensor)"),
        ({"netG.a": torch.empty(2, device="meta")}, "cannot be used ('netG.a' is no plain tensor)"),
        ({"linear.weight": torch.zeros(2)}, "a tensor named 'linear.weight'"),
        ({}, "no tensor in it"),
    ],
)
def test_other_contents_of_a_checkpoint(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", message)


@pytest.mark.parametrize("ending", [".pt", ".npz", ".safetensors"])
def test_damaged_files(port, tmp_path, ending):
    path = write(tmp_path / f"w{ending}", {"coarse_generator.conv1.conv.bias": torch.zeros(32)})
    whole = path.read_bytes()
    for content in (b"", b"hello", b"PK\x03\x04", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"weights \S+: cannot be used \(.+\); expected the 84 tensors of"
        ) as caught:
            load_published(path)
        assert "\n" not in str(caught.value)


def test_weights_of_our_own_are_sent_back(tmp_path):
    network = ContextualAttentionNet(4, (2,))
    path = write(tmp_path / "w.safetensors", network.state_dict())
    refused(path, "weights of clp-fit inpainter, not published ones")


def test_published_weights_are_sent_on(port, tmp_path):
    for ending in (".safetensors", ".pt"):
        with pytest.raises(InputError, match=r"give .* to --cagan-weights"):
            load(write(tmp_path / f"w{ending}", port))


def test_large_files_are_not_read(port, tmp_path, monkeypatch):
    path = write(tmp_path / "w.safetensors", port)
    monkeypatch.setattr(published_cagan, "LARGEST", 10_000_000)
    refused(path, f"{path.stat().st_size} bytes, at most 10000000 can be")


@pytest.mark.parametrize("ending", [".pt", ".npz"])
def test_small_files_that_unpack_to_large_ones(tmp_path, monkeypatch, ending):
    content, path = io.BytesIO(), tmp_path / f"w{ending}"
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(3_000_000))
    path.write_bytes(content.getvalue())
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(published_cagan, "LARGEST", 1_000_000)
    refused(path, "cannot be used (unpacks to 3000000 bytes, at most 1000000 can be)")


def test_shapes_are_compared_before_anything_is_made_of_them(port, tmp_path):
    """One number, said to be 10^15."""
    name = "coarse_generator.conv1.conv.bias"
    path = write(tmp_path / "w.pt", port | {name: torch.zeros(1).expand(10**15)})
    refused(path, f"{name!r} is (1000000000000000,), expected (32,)")


def test_unknown_endings_and_missing_files(tmp_path):
    for name in ("w.ckpt", "w"):
        message = f"unknown ending {(tmp_path / name).suffix!r}, expected one of .pt, .pth, .p, .npz, .safetensors"
        with pytest.raises(InputError, match=re.escape(message)):
            load_published(tmp_path / name)
    with pytest.raises(InputError, match=r"w\.pt: cannot read \(No such file or directory\)"):
        load_published(tmp_path / "w.pt")


def test_unknown_layouts(tmp_path):
    with pytest.raises(UsageError, match="unknown layout 'tensorflow': choose one of own, tf"):
        load_published(tmp_path / "w.pt", "tensorflow")
