"""Files that are not the published inpainting weights: each refusal with its line."""

import io
import pickle
import re
import warnings
import zipfile

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets import published_cagan
from clp_aug.nets.contextual_attention import ContextualAttentionNet, load
from clp_aug.nets.published_cagan import load_published
from tests.clp_aug.nets.published import write

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
    refused(path, f"{path.stat().st_size} bytes, expected at most 10000000")


@pytest.mark.parametrize("ending", [".pt", ".npz"])
def test_small_files_that_unpack_to_large_ones(tmp_path, monkeypatch, ending):
    content, path = io.BytesIO(), tmp_path / f"w{ending}"
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(3_000_000))
    path.write_bytes(content.getvalue())
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(published_cagan, "LARGEST", 1_000_000)
    refused(path, "cannot be used (unpacks to 3000000 bytes, expected at most 1000000)")


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


def test_what_numpy_warns_of_is_no_line_of_its_own():
    """Headers as Python 2 wrote them, with a long number."""
    file = io.BytesIO()
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3L,), }"
    content = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + bytes(12)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a:0.npy", content)
    with pytest.warns(UserWarning, match="Python 2"):
        np.load(io.BytesIO(file.getvalue()))["a:0"]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert published_cagan.from_npz(file.getvalue())["a"].shape == (3,)
    assert said == []
