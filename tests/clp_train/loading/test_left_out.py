"""LOAD does without the pictures that the shard was made without, and lists those that cannot be read."""

import numpy as np
import pytest

from clp_aug import pipeline
from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_train.loading.data import load_shard_dataset
from tests.clp_aug.datasets.tiny_sets import make_folder
from tests.clp_train.builders import config_of, load

FILES = [f"{split}/{label}/{i}.png" for split in ("train", "test") for label in ("cat", "dog") for i in range(5)]
BROKEN = ("train/cat/1.png", "test/dog/0.png")


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path / "pictures", FILES)


def shard_of(root, **more):
    config = AugmentConfig(
        dataset="folder", root=root, cf=("grey",), meta="2/class", matte="centre", out=root.parent / "x.h5", **more
    )
    return pipeline.augment(config).path


def cut(root, names=BROKEN):
    for name in names:
        (root / name).write_bytes((root / name).read_bytes()[:-40])


def test_what_the_shard_was_made_without_training_does_without(root):
    cut(root)
    path = shard_of(root, skip_broken=True)
    run = load(config_of(meta=path, root=root))
    whole = load_dataset("folder", root).samples
    gone = [whole.sample_id[whole.name.index(name)] for name in BROKEN]
    ids = np.concatenate([part.sample_id for part in (run.train, run.meta, *run.evaluation.values())])
    assert sorted(set(whole.sample_id) - set(ids)) == sorted(gone)
    for name in BROKEN:
        (root / name).write_bytes((root / FILES[0]).read_bytes())
    again = load(config_of(meta=path, root=root))
    assert (again.train.images == run.train.images).all(), "mended since, they still are no part of the shard"


def test_a_broken_picture_that_the_shard_knows_is_refused(root):
    cut(root)
    path = shard_of(root, skip_broken=True)
    (root / "train/cat/0.png").unlink()
    with pytest.raises(InputError, match=r"x\.h5: made from another version of data set folder"):
        load(config_of(meta=path, root=root))


@pytest.mark.parametrize("cache", [False, True], ids=["memory", "cache"])
def test_pictures_that_broke_since_are_listed(root, cache):
    path = shard_of(root)
    shard = ShardReader(path)
    names = [name for name in FILES if name.startswith("test")][:3]
    cut(root, names)
    with pytest.raises(InputError, match=r"^data set folder: 3 of 10 pictures cannot be read: picture ") as raised:
        load(config_of(meta=path, root=root, **({"cache": root.parent / "cache"} if cache else {})))
    assert str(raised.value).endswith("remove them, or make the shard again with clp-augment --skip-broken")
    assert shard.header.fingerprint == load_shard_dataset(shard, root).fingerprint()


@pytest.mark.parametrize("value", ["train/cat/0.png", [1], {"a": 1}, [["train/cat/0.png"]], None])
def test_a_list_that_is_none_is_refused(root, value):
    shard = ShardReader(shard_of(root))
    shard.header.settings["left_out"] = value
    with pytest.raises(
        InputError, match=r"x\.h5: setting left_out is not a list of names; make the shard again with clp-augment$"
    ):
        load_shard_dataset(shard, root)
