"""hatt: weights from a file are checked before they are used, and pictures of any size get a matte."""

import os
import re

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clp_aug.contract.errors import InputError
from clp_aug.fitting.config import MatteFit
from clp_aug.fitting.loop import write_weights
from clp_aug.mattes import make_matte
from clp_aug.nets.hatt_lite import HattLite, load, start


class Shown:
    """A picture as the stages see it."""

    def __init__(self, image):
        self.image, self.size = image, len(image)


@pytest.fixture
def weights(tmp_path):
    network = HattLite()
    start(network, torch.Generator().manual_seed(0))
    path = tmp_path / "w.safetensors"
    write_weights(network, MatteFit(tmp_path, path))
    return path, network.eval()


@pytest.mark.parametrize("size", [1, 32, 224, 300])
def test_it_is_the_network_on_224_pixels(weights, size):
    path, network = weights
    picture = np.random.default_rng(size).integers(0, 256, (size, size, 3), np.uint8)
    matte = make_matte(f"hatt:{path}")
    threads = torch.get_num_threads()
    found = matte.find(Shown(picture))
    assert torch.get_num_threads() == threads
    small = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA if size > 224 else cv2.INTER_CUBIC)
    with torch.no_grad():
        expected = network(torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255)[0, 0].numpy()
    assert found.shape == (224, 224)
    assert np.abs(found - expected).max() < 0.02  # weights in half precision, batch norm folded
    assert matte.about.name == "hatt:w"
    assert len(matte.about.sha256) == 64


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_are_found_as_one_is_bit_by_bit_for_any_number_of_threads(weights, threads):
    path, _ = weights
    rng, before = np.random.default_rng(0), torch.get_num_threads()
    pictures = [Shown(rng.integers(0, 256, (size, size, 3), np.uint8)) for size in (32, 224, 300, 64, 224)]
    matte = make_matte(f"hatt:{path}")
    alone = [matte.find(picture) for picture in pictures]
    torch.set_num_threads(threads)
    try:
        together = matte.find_all(pictures)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(together) == len(pictures)
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
    assert matte.find_all([]) == []


def broken(path, change):
    state = load_file(path)
    change(state)
    save_file(state, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("head.bias"), "'head.bias' is missing, expected (1,); use weights of clp-fit matte"),
        (lambda s: s.update(more=torch.zeros(2)), "'more' is (2,), expected nothing; use weights of clp-fit matte"),
        (
            lambda s: s.update({"head.bias": torch.zeros(2)}),
            "'head.bias' is (2,), expected (1,); use weights of clp-fit matte",
        ),
        (
            lambda s: s["head.bias"].fill_(float("nan")),
            "head.bias holds NaN, infinity or no floating point; fit them again",
        ),
    ],
    ids=["missing", "foreign", "shape", "nan"],
)
def test_weights_that_do_not_fit_are_refused(weights, change, message):
    path, _ = weights
    broken(path, change)
    with pytest.raises(InputError, match=re.escape(f"matting weights {path}: {message}")):
        load(path)


def test_files_that_are_no_weights_are_refused(weights):
    path, _ = weights
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"w\.safetensors: damaged \(.*\); copy or fit them again"):
        load(path)
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match=r"w\.safetensors: damaged \(.*\); copy or fit them again"):
        load(path)
    path.unlink()
    with pytest.raises(InputError, match=r"w\.safetensors: cannot read \(No such file or directory\)"):
        load(path)


def test_attention_that_was_left_out_stays_out(tmp_path):
    network = HattLite(distil=False, filter_cues=False)
    start(network, torch.Generator().manual_seed(0))
    path = tmp_path / "w.safetensors"
    write_weights(network, MatteFit(tmp_path, path, distil=False, filter_cues=False))
    found, _ = load(path)
    assert found.distillation is None
    assert found.fine.attention is None


def test_a_name_that_is_no_text_is_made_one(weights):
    """Shards hold it, and their readers want text."""
    path, _ = weights
    other = path.with_name(os.fsdecode(b"caf\xe9.safetensors"))
    path.rename(other)
    assert make_matte(f"hatt:{other}").about.name == "hatt:caf\N{REPLACEMENT CHARACTER}"
