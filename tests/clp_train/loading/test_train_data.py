"""LOAD and the joint transform."""

import itertools
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.datasets import folder, load_dataset
from clp_train.loading import data
from clp_train.pictures.batching import epoch_rows, meta_rows, train_batch
from clp_train.pictures.transforms import joint
from clp_train.pictures.types import kind_counts, masks
from clp_train.running.assembly import assemble
from tests.clp_train.builders import config_of, generator, load, make_demo_shard


def test_training_pictures_are_the_shards_and_come_with_their_boxes(loaded, demo_shard):
    dataset, tables = load_dataset("demo"), data.ShardReader(demo_shard).tables
    assert loaded.train.sample_id.tolist() == tables["train/sample_id"].tolist()
    for i in (0, 17, len(loaded.train) - 1):
        row = dataset.rows_of(loaded.train.sample_id[i : i + 1].numpy())[0]
        assert (loaded.train.images[i].permute(1, 2, 0).numpy() == dataset.image(row, 16)).all()
        assert loaded.train.box[i].tolist() == tables["train/box"][i].tolist()
        assert (loaded.train.label[i], loaded.train.group[i]) == (
            dataset.samples.label[row],
            dataset.samples.group[row],
        )


def test_meta_pictures_keep_kind_label_and_pixels(loaded, demo_shard):
    shard = data.ShardReader(demo_shard)
    assert (loaded.meta.images[4].permute(1, 2, 0).numpy() == shard.image(4)).all()
    assert loaded.meta.kind.tolist() == [0, 1, 2] * 8
    assert kind_counts(loaded.meta) == {"original": 8, "counterfactual": 8, "factual": 8}


def test_evaluation_splits_are_the_data_sets(loaded):
    split = load_dataset("demo").samples.split
    assert {name: len(part) for name, part in loaded.evaluation.items()} == {
        "val": (split == 1).sum(),
        "test": (split == 2).sum(),
    }


def test_labels_as_trained_on_come_from_the_shard(tmp_path, loaded):
    path = make_demo_shard(tmp_path / "noisy.h5", size=16, per_group=2, train=80, noisy=True)
    noisy = load(config_of(meta=path)).train
    assert noisy.label.tolist() == [1 - y for y in loaded.train.label.tolist()]
    assert noisy.group.tolist() == loaded.train.group.tolist()


def test_meta_pictures_out_of_val_leave_it(tmp_path):
    path = make_demo_shard(tmp_path / "val.h5", size=16, per_group=2, train=8, split=1)
    run = load(config_of(meta=path))
    assert not set(run.evaluation["val"].sample_id.tolist()) & set(run.meta.sample_id.tolist())
    assert len(run.evaluation["val"]) == 200 - 8


def test_limit_takes_turns_over_groups(demo_shard):
    run = load(config_of(meta=demo_shard, limit=10))
    assert sorted(torch.bincount(run.train.group).tolist()) == [2, 2, 3, 3]
    group = np.array([0] * 9 + [1])
    assert np.bincount(group[data.spread(group, 6, seed=0)]).tolist() == [5, 1]
    assert data.spread(group, None, 0).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"header": {"fingerprint": "0" * 64}}, "made from another version of data set demo .fingerprint 000000000000"),
        ({"settings": {"size": 32}}, "size 32 and fit 'crop' for pictures of 16 x 16; make the shard again"),
        ({"settings": {"fit": None}}, "its settings have size 16 and fit None for"),
        ({"train": 0}, "it lists 0 training pictures, expected at least 2"),
    ],
    ids=["fingerprint", "size", "fit", "no training pictures"],
)
def test_a_shard_that_does_not_fit_is_refused(tmp_path, changes, message):
    path = make_demo_shard(tmp_path / "bad.h5", **{"size": 16, "per_group": 1, "train": 8} | changes)
    with pytest.raises(InputError, match=message):
        load(config_of(meta=path))


def test_a_meta_batch_larger_than_the_meta_set_is_refused(demo_shard, loaded):
    assemble(config_of(meta=demo_shard, meta_batch_size=24), loaded)
    with pytest.raises(SettingError, match=r"^meta_batch_size = 25: the meta set holds 24 pictures"):
        assemble(config_of(meta=demo_shard, meta_batch_size=25), loaded)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_masks_are_the_contracts(height, width, draw):
    from clp_aug.contract import boxes

    x0, y0 = draw.draw(st.integers(0, width - 1)), draw.draw(st.integers(0, height - 1))
    box = (x0, y0, draw.draw(st.integers(x0 + 1, width)), draw.draw(st.integers(y0 + 1, height)))
    found = masks(torch.tensor([box, box]), height, width)
    assert (found[1].numpy() == boxes.mask(box, height, width)).all()


@given(st.integers(2, 12))
def test_reflected_is_reflection_padding(n):
    found = joint.reflect(torch.arange(-(n - 1), 2 * n - 1), n)
    assert found.tolist() == np.pad(np.arange(n), n - 1, mode="reflect").tolist()


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([(8, 8), (8, 11), (16, 9), (5, 7), (1, 1)]))
def test_transform_moves_picture_and_mask_together(seed, shape):
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (6, 3, *shape), dtype=np.uint8))
    inside = torch.from_numpy(rng.random((6, *shape)) < 0.5)
    moved, mask = joint.pad_crop_flip(images, inside, generator(seed))
    assert moved.shape == images.shape
    assert moved.dtype == torch.uint8
    # oracle: every shift and flip of the padded picture with its mask as a fourth channel; the result is one of them
    (height, width), (ph, pw) = shape, (shape[0] // 8, shape[1] // 8)
    for n in range(6):
        both = np.concatenate([images[n].numpy(), inside[n][None].numpy().astype(np.uint8)])
        padded = np.pad(both, ((0, 0), (ph, ph), (pw, pw)), mode="reflect")
        candidates = [
            padded[:, dy : dy + height, dx : dx + width][:, :, ::flip]
            for dy, dx, flip in itertools.product(range(2 * ph + 1), range(2 * pw + 1), (1, -1))
        ]
        found = np.concatenate([moved[n].numpy(), mask[n][None].numpy().astype(np.uint8)])
        assert any((found == candidate).all() for candidate in candidates)


def test_transform_uses_every_shift_and_flip():
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(400, 3, 8, 8)
    moved, _ = joint.pad_crop_flip(images, torch.zeros(400, 8, 8, dtype=torch.bool), generator())
    assert len(torch.unique(moved.flatten(1), dim=0)) == 3 * 3 * 2


def test_an_epoch_holds_every_picture_once_in_even_batches(loaded):
    drawn = {"seed": 0, "transform": "pad-crop-flip"}
    rows = epoch_rows(loaded.train, 3, 0, 32)
    made = [train_batch(loaded.train, part, 9 + k, **drawn) for k, part in enumerate(rows)]
    assert all(torch.equal(b.row, torch.from_numpy(part)) for b, part in zip(made, rows, strict=True))
    assert sorted(len(b) for b in made) == [26, 27, 27]
    assert sorted(torch.cat([b.sample_id for b in made]).tolist()) == sorted(loaded.train.sample_id.tolist())
    again = train_batch(loaded.train, epoch_rows(loaded.train, 3, 0, 32)[0], 9, **drawn)
    assert torch.equal(again.images, made[0].images)
    partner = train_batch(loaded.train, rows[0], 9, **drawn, stream="partner")
    assert torch.equal(partner.sample_id, made[0].sample_id)
    assert not torch.equal(partner.images, made[0].images), "a partner is transformed by draws of its own"
    other = train_batch(loaded.train, epoch_rows(loaded.train, 4, 0, 32)[0], 9, **drawn)
    assert not torch.equal(other.sample_id, made[0].sample_id)
    assert 0 <= again.images.min() <= again.images.max() <= 1


@given(st.integers(1, 12), st.integers(1, 12))
def test_meta_rows_are_one_stream_that_cycles(pictures, batch_size):
    batch_size = min(batch_size, pictures)
    stream = np.concatenate([meta_rows(step, pictures, batch_size, 5) for step in range(pictures)])
    for cycle in stream.reshape(batch_size, pictures):  # pictures * batch_size numbers: whole cycles
        assert sorted(cycle) == list(range(pictures))


def test_channel_statistics_are_those_of_the_pixels(loaded):
    mean, std = data.channel_statistics(loaded.train.images)
    pixels = loaded.train.images.double() / 255
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())
    assert data.channel_statistics(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))[1] == [1e-3] * 3


def test_cached_pictures_are_the_same_and_are_decoded_once(demo_shard, tmp_path, monkeypatch):
    plain = load(config_of(meta=demo_shard))
    first = load(config_of(meta=demo_shard, cache=tmp_path / "cache"))
    files = sorted(tmp_path.glob("cache/*"))
    assert [path.suffix for path in files] == [".array"] * 4  # train, val, test, meta; nothing left beside them

    def never(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(data.load_dataset("demo").__class__, "image", never)
    again = load(config_of(meta=demo_shard, cache=tmp_path / "cache"))
    for run in (first, again):
        for part, other in ((run.train, plain.train), (run.evaluation["test"], plain.evaluation["test"])):
            assert all(torch.equal(a, b) for a, b in zip(vars(part).values(), vars(other).values(), strict=True))


def paint(path, level):
    """Write a grey picture, as many bytes for any level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (level,) * 3).save(path)


@pytest.mark.parametrize("keeps_time", [False, True])
def test_pictures_that_were_changed_in_place_are_decoded_anew(tmp_path, keeps_time):
    """With the size, and even the time, that their file had."""
    files = {name: tmp_path / "train" / f"{name}.bmp" for name in ("cat/1", "cat/2", "dog/1")}
    for path, level in zip(files.values(), (10, 20, 30), strict=True):
        paint(path, level)
    dataset = folder.load(tmp_path)

    def levels():
        read = data.Reader(dataset, 4, "crop", data.unwatched, tmp_path / "cache")
        return read(np.arange(3), "train").images[:, 0, 0, 0].tolist()

    assert levels() == [10, 20, 30]
    before = files["cat/2"].stat()
    paint(files["cat/2"], 50)
    if keeps_time:
        os.utime(files["cat/2"], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert files["cat/2"].stat().st_size == before.st_size
    assert levels() == [10, 50, 30]
    files["dog/1"].unlink()
    with pytest.raises(InputError, match=r"dog/1\.bmp"):
        levels()


@pytest.mark.parametrize("bytes_of_it", [b"", b"junk", None])
def test_a_damaged_cache_is_refused(demo_shard, tmp_path, bytes_of_it):
    config = config_of(meta=demo_shard, cache=tmp_path / "cache")
    load(config)
    for path in tmp_path.glob("cache/*"):
        path.write_bytes(bytes(path.stat().st_size) if bytes_of_it is None else bytes_of_it)
    with pytest.raises(InputError, match=r"\.array: damaged cache .*; remove it"):
        load(config)


DEMO_TRAIN = (1425, 75, 75, 1425)  # ring before temple, ring before garden, cross before temple, cross before garden


def test_averages_are_weighted_as_the_train_split_whatever_the_run_takes_of_it(loaded, demo_shard, tmp_path):
    """80 pictures are trained on and 8 are meta originals; --limit takes fewer still."""
    assert loaded.weights == DEMO_TRAIN
    assert load(config_of(meta=demo_shard, limit=8)).weights == DEMO_TRAIN
    out_of_val = make_demo_shard(tmp_path / "val.h5", size=8, per_group=2, train=8, split=1)
    assert load(config_of(meta=out_of_val)).weights == DEMO_TRAIN


def test_averages_of_a_long_tail_are_weighted_as_it_and_the_meta_originals_are(tmp_path):
    tail = make_demo_shard(tmp_path / "tail.h5", size=8, per_group=2, train=80, settings={"imbalance": 10.0})
    run = load(config_of(meta=tail))
    originals = run.meta.group[run.meta.kind == 0]
    expected = torch.bincount(run.train.group) + torch.bincount(originals)
    assert run.weights == tuple(expected.tolist()) == (22, 22, 22, 22)
    out_of_val = make_demo_shard(tmp_path / "val.h5", size=8, split=1, train=80, settings={"imbalance": 10.0})
    assert load(config_of(meta=out_of_val)).weights == (20, 20, 20, 20), "val pictures weigh nothing"
