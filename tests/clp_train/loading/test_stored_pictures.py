"""The meta pictures of a shard, in memory or mapped, one read at a time; LOAD goes on where it was killed."""

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_train.loading import blocks, data, stored
from clp_train.loading.cache import digest_of
from clp_train.loading.data import digest_of_pictures
from clp_train.loading.features import Features, digest_of_body
from clp_train.models import build_model
from tests.clp_train.builders import config_of, generator, load


class Killed(BaseException):
    """Stands for the end of the process."""


def seen(rows_seen, stop=None):
    """Return a watch that notes rows, and kills the process before it shows so many."""

    def watch(rows, name):
        for i, row in enumerate(rows):
            if i == stop:
                raise Killed
            rows_seen.append(int(row))
            yield row

    return watch


def test_in_memory_and_mapped_they_are_the_shards(demo_shard, tmp_path):
    shard = ShardReader(demo_shard)
    expected = torch.from_numpy(shard.images()).permute(0, 3, 1, 2).contiguous()
    for cache in (None, tmp_path, tmp_path):
        found = stored.meta_pictures(shard, cache)
        assert torch.equal(found.images, expected)
        assert found.images.is_contiguous()
        assert digest_of(found.images) == digest_of(expected)
    assert len(list(tmp_path.iterdir())) == 1


def test_once_mapped_no_picture_of_the_shard_is_read(demo_shard, tmp_path, monkeypatch):
    stored.meta_pictures(ShardReader(demo_shard), tmp_path)

    def never(*_):
        raise AssertionError("read again")

    for name in ("image", "images"):
        monkeypatch.setattr(ShardReader, name, never)
    stored.meta_pictures(ShardReader(demo_shard), tmp_path)


def test_it_never_asks_for_all_of_them_at_once(demo_shard, monkeypatch):
    monkeypatch.delattr(ShardReader, "images")
    assert len(stored.meta_pictures(ShardReader(demo_shard))) == 24


def test_a_shard_without_digests_goes_to_memory(demo_shard, tmp_path):
    shard = ShardReader(demo_shard)
    shard.digests = {}
    assert len(stored.meta_pictures(shard, tmp_path).images) == 24
    assert not list(tmp_path.iterdir())


def test_a_damaged_picture_is_one_line(demo_shard, tmp_path):
    shard = ShardReader(demo_shard)
    shard.digests["meta/images"][7] ^= 1
    for cache in (None, tmp_path):
        with pytest.raises(InputError, match=r"/meta/images\[7\] is damaged; make the shard again"):
            stored.meta_pictures(shard, cache)


def test_a_killed_one_goes_on(demo_shard, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 3 * 16**2)
    shard, rows = ShardReader(demo_shard), []
    with pytest.raises(Killed):
        stored.meta_pictures(shard, tmp_path, seen(rows, 11))
    rows.clear()
    found = stored.meta_pictures(shard, tmp_path, seen(rows))
    assert rows == list(range(8, 24))
    assert torch.equal(found.images, stored.meta_pictures(shard).images)


@pytest.mark.parametrize("workers", [1, 3])
def test_so_do_pictures_that_are_decoded(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 10 * 3 * 16**2)
    dataset, rows, shown = load_dataset("demo"), np.arange(3, 90, 2), []
    with pytest.raises(Killed):
        data.Reader(dataset, 16, "crop", seen(shown, 27), tmp_path, workers)(rows, "train")
    shown.clear()
    found = data.Reader(dataset, 16, "crop", seen(shown), tmp_path, workers)(rows, "train")
    assert shown == rows[20:].tolist()
    assert torch.equal(found.images, data.Reader(dataset, 16, "crop", data.unwatched, None)(rows, "train").images)


def test_so_do_features_with_whole_batches_to_the_last_bit(loaded, tmp_path, monkeypatch):
    pictures = loaded.evaluation["test"]
    network = build_model("resnet8", 2, [0.5] * 3, [0.25] * 3, generator()).eval()
    expected, calls = Features(network, None, "")(pictures), []
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    forward = network.forward

    def counted(images):
        if len(calls) == 2:  # the first asks how much memory a picture takes
            raise Killed
        calls.append(len(images))
        return forward(images)

    features = Features(network, tmp_path, digest_of_body(network))
    monkeypatch.setattr(network, "forward", counted)
    with pytest.raises(Killed):
        features(pictures)
    monkeypatch.setattr(network, "forward", lambda images: calls.append(len(images)) or forward(images))
    assert torch.equal(features(pictures), expected)
    assert sum(calls[1:2]) + sum(calls[3:]) == len(pictures), "no batch twice"


def test_a_run_is_tied_to_the_same_pictures_wherever_they_are(demo_shard, tmp_path):
    """The digest is recorded in checkpoints: of memory, of a new file, of one that is there."""
    runs = [load(config_of(meta=demo_shard, cache=cache)) for cache in (None, tmp_path / "c", tmp_path / "c")]
    assert len({digest_of_pictures(run) for run in runs}) == 1
