"""Mean and deviation of channels: counted some pictures at a time, to the last bit as over all at once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from clp_train.loading import data
from clp_train.loading.cache import load_or_fill


def at_once(images):
    """Return the statistics of uint8 (N, 3, H, W) from all levels of a channel at once."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in range(3):
        share = torch.from_numpy(np.bincount(images[:, channel].numpy().ravel(), minlength=256)).double()
        share /= share.sum()
        mean.append(float((share * levels).sum()))
        std.append(max(float((share * (levels - mean[-1]).square()).sum().sqrt()), 1e-3))
    return mean, std


def random_images(seed, *shape):
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.integers(0, 257, 2))
    return torch.from_numpy(rng.integers(low, max(high, low + 1), shape, np.uint8))


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9), st.integers(1, 2000))
def test_counted_in_parts_they_are_the_same_floats(seed, n, height, width, counted):
    images = random_images(seed, n, 3, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "COUNTED_BYTES", counted)
        assert data.channel_statistics(images) == at_once(images)


def test_of_a_mapped_file_they_are_the_same(tmp_path):
    images = random_images(7, 50, 3, 16, 16)
    mapped = load_or_fill(tmp_path / "a.array", images.shape, np.uint8, lambda _: [images.numpy()])
    assert data.channel_statistics(mapped) == at_once(images)


class LargestCopy(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made within it, views of what there was left out."""

    def __init__(self, images):
        super().__init__()
        self.there, self.most = images.untyped_storage().data_ptr(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, list | tuple) else [out]:
            if isinstance(made, torch.Tensor) and made.untyped_storage().data_ptr() != self.there:
                self.most = max(self.most, made.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize("pictures", [20, 200])
def test_no_copy_is_larger_for_more_pictures(monkeypatch, pictures):
    monkeypatch.setattr(data, "COUNTED_BYTES", 10 * 3 * 32 * 32)
    images = random_images(1, pictures, 3, 32, 32)
    with LargestCopy(images) as copies:
        data.channel_statistics(images)
    assert copies.most == 10 * 32 * 32, "one channel of a part"
