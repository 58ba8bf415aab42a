"""Backgrounds replaced in training pictures, against pictures whose colours tell where each pixel comes from."""

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.methods.train_infills import Options, TrainInfills, boxes_around
from clp_train.pictures.types import Batch, masks
from tests.clp_train.builders import config_of, load, method_of, table_of, train

ORACLES = ("train-infills",)
N, SIZE = 24, 16


def coded(seed):
    """A batch whose picture i is i / 100 outside its box and i / 100 + 0.5 inside; the last two lack a box."""
    rng = rng_for(seed, 0, "test train infills")
    corner, side = rng.integers(0, 9, (N, 2)), rng.integers(3, 7, (N, 2))
    box = torch.from_numpy(np.concatenate([corner, corner + side], 1))
    box[-2:] = 0
    inside = masks(box, SIZE, SIZE)
    label = torch.from_numpy(rng.integers(0, 3, N))
    images = (torch.arange(N) / 100)[:, None, None, None] + 0.5 * inside[:, None].float()
    images = images.expand(N, 3, SIZE, SIZE).contiguous()
    return Batch(images, inside, label, label, torch.zeros(N, dtype=torch.uint8), torch.arange(N)), box


@pytest.mark.parametrize("seed", range(20))
def test_boxes_are_found_in_masks(seed):
    batch, box = coded(seed)
    assert torch.equal(boxes_around(batch.inside), box)


@pytest.mark.parametrize("seed", range(10))
def test_backgrounds_come_from_one_picture_of_another_class_and_objects_stay(seed):
    batch, _ = coded(seed)
    before = batch.images.clone()
    found = TrainInfills(Options(share=1.0)).mixed(batch, rng_for(seed, 1, "mix"))
    assert torch.equal(batch.images, before)
    assert torch.equal(found.inside, batch.inside)
    assert found.label is batch.label
    for i in range(N):
        outside = ~batch.inside[i]
        if not batch.inside[i].any():
            assert torch.equal(found.images[i], before[i]), "nothing would be left of a picture without a box"
            continue
        assert torch.equal(found.images[i][:, ~outside], before[i][:, ~outside])
        (source,) = found.images[i][:, outside].unique().tolist()
        assert batch.label[round(100 * source)] != batch.label[i]
    other = TrainInfills(Options(share=1.0)).mixed(batch, rng_for(seed, 2, "mix"))
    assert not torch.equal(other.images, found.images)


def test_as_many_are_changed_as_asked_for():
    shares = []
    for seed in range(40):
        batch, _ = coded(seed)
        found = TrainInfills(Options(share=0.25)).mixed(batch, rng_for(seed, 1, "mix"))
        shares.append(float((found.images != batch.images).flatten(1).any(1)[:-2].float().mean()))
    assert 0.2 < np.mean(shares) < 0.3


def test_a_share_of_zero_is_cross_entropy_and_one_is_not(demo_shard):
    def weights(method, **options):
        config = config_of(meta=demo_shard, method=method, epochs=1, batch_size=40, options=options)
        return train(config, load(config)).last.state

    plain, none, all_of_them = weights("erm"), weights("train-infills", share=0.0), weights("train-infills", share=1.0)
    assert all(torch.equal(value, none[name]) for name, value in plain.items())
    assert not all(torch.equal(value, all_of_them[name]) for name, value in plain.items())


def test_what_is_refused():
    with pytest.raises(UsageError, match=r"share = 1\.5: expected a number from 0 to 1"):
        config_of("train-infills", options={"share": 1.5})
    with pytest.raises(UsageError) as error:
        method_of("train-infills", table_of([0, 1]), trainable="head")
    assert str(error.value) == (
        "trainable = head: method train-infills changes pictures at every step, but features of a frozen"
        " body are computed once; take trainable = all"
    )
