"""The meta batch of a step: rows of the stream, and factuals made of its originals."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, ORIGINAL
from clp_train.pictures.batching import make_batch, meta_rows
from clp_train.pictures.infills import background_strips
from clp_train.pictures.keys import generator_for
from clp_train.pictures.types import BoxedPictures, masks
from clp_train.running.meta_batches import MetaStream, online_factuals
from tests.clp_train.builders import config_of, generator, stored

KINDS = (ORIGINAL, COUNTERFACTUAL, FACTUAL)
MADE = ("mix-rand", "fgsm")


class Out(NamedTuple):
    logits: torch.Tensor


class Linear(nn.Module):
    """A linear classifier with batch norm before it."""

    def __init__(self, side, classes=3):
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3 * side * side, classes)
        nn.init.normal_(self.head.weight, generator=generator())

    def forward(self, x):
        return Out(self.head(self.norm(x).flatten(1)))


def a_meta_set(seed, n=18, side=12, label=None):
    """Return random pictures of all kinds, labels and boxes; some boxes leave no background to take or to replace."""
    g = generator(seed)
    at = torch.randint(side - 3, (n, 2), generator=g)
    box = torch.cat([at, at + 1 + torch.randint(1, 4, (n, 2), generator=g).minimum(side - 1 - at)], 1)
    box[::7] = torch.tensor([0, 0, side, side])
    images = torch.randint(256, (n, 3, side, side), generator=g, dtype=torch.uint8)
    label = torch.randint(3, (n,), generator=g) if label is None else torch.full((n,), label)
    kind = torch.tensor(KINDS, dtype=torch.uint8)[torch.randint(3, (n,), generator=g)]
    return BoxedPictures(images, label, label + 10, torch.arange(500, 500 + n), box, kind)


def config_for(online, **change):
    return config_of(online=online, **{"transform": "none", "meta_batch_size": 10, **change})


def meta_batch(meta, step, config, network):
    """Return the meta batch of a step as a run of the configuration has it."""
    stream = MetaStream(stored(meta), config.meta_batches, config.batches, config.run.seed)
    (pictures,) = stream.ahead([step])
    return stream.batch(step, pictures, network)


def factuals_of(originals, step, config, network):
    """Return the factuals that a step of such a run makes of originals."""
    drawn = generator_for(config.run.seed, step, "online")
    return online_factuals(originals, originals.box, originals.label, config.meta_batches, drawn, network)


def assert_same(a, b):
    """Of two batches."""
    for name in vars(a):
        values, others = vars(a)[name], vars(b)[name]
        assert values is others is None or torch.equal(values, others), name


@pytest.mark.parametrize("transform", ["none", "pad-crop-flip"])
@pytest.mark.parametrize("step", range(5))
def test_without_online_fills_it_is_the_rows_of_the_stream(step, transform):
    meta, config = a_meta_set(0), config_for("none", transform=transform, seed=4)
    found = meta_batch(meta, step, config, None)
    rows = meta_rows(step, len(meta), 10, 4)
    assert_same(found, make_batch(meta, rows, generator_for(4, step, "meta transform"), transform))
    assert torch.equal(found.sample_id, meta.sample_id[rows])


@pytest.mark.parametrize(("asked", "batch_size", "size"), [(None, 100, 18), (None, 7, 7), (10, 7, 10), (10, 100, 10)])
def test_its_size(asked, batch_size, size):
    config = config_for("none", meta_batch_size=asked, batch_size=batch_size)
    assert len(meta_batch(a_meta_set(0), 0, config, None)) == size


@pytest.mark.parametrize("online", MADE)
@pytest.mark.parametrize("seed", range(10))
def test_factuals_are_made_of_the_originals_alone(seed, online):
    meta, network = a_meta_set(seed, n=30), Linear(12)
    plain = meta_batch(meta, seed, config_for("none", meta_batch_size=24), network)
    found = meta_batch(meta, seed, config_for(online, meta_batch_size=24), network)
    n = len(plain)
    assert_same(found.first(n), plain)
    originals = (plain.kind == ORIGINAL).nonzero().squeeze(1)
    source = {int(plain.sample_id[i]): i for i in originals}  # ids are the pictures' own here
    assert set(found.kind[n:].tolist()) <= {FACTUAL}
    assert len(found) - n <= len(originals)
    if online == "fgsm":
        assert found.sample_id[n:].tolist() == plain.sample_id[originals].tolist()
    changed = 0
    for k in range(n, len(found)):
        i = source[int(found.sample_id[k])]
        for name in ("label", "group", "inside"):
            assert torch.equal(vars(found)[name][k], vars(plain)[name][i]), name
        inside = plain.inside[i].expand(3, 12, 12)
        assert torch.equal(found.images[k][inside], plain.images[i][inside])
        changed += not torch.equal(found.images[k], plain.images[i])
    assert changed > 0


def test_mix_rand_leaves_out_what_has_no_partner():
    meta = a_meta_set(3, n=30)
    originals = meta.take((meta.kind == ORIGINAL).nonzero().squeeze(1))
    originals = replace(originals, label=(torch.arange(len(originals)) == 1).long())
    _, usable = background_strips(originals.box, 12, 12)
    originals.box[1] = torch.tensor([0, 0, 12, 12])  # the one picture that the others could take from has nothing
    usable[1] = False
    fits = (originals.label[:, None] != originals.label) & usable
    made = factuals_of(originals, 0, config_for("mix-rand"), None)
    assert made.sample_id.tolist() == originals.sample_id[fits.any(1)].tolist() == originals.sample_id[1:2].tolist()
    assert len(factuals_of(replace(originals, label=originals.label * 0), 0, config_for("mix-rand"), None)) == 0


@pytest.mark.parametrize("online", MADE)
def test_a_batch_without_originals_stays_as_it_is(online):
    meta = a_meta_set(0)
    meta = meta.take((meta.kind != ORIGINAL).nonzero().squeeze(1))
    found = meta_batch(meta, 1, config_for(online, meta_batch_size=5), Linear(12))
    assert len(found) == 5
    assert_same(found, meta_batch(meta, 1, config_for("none", meta_batch_size=5), None))


@pytest.mark.parametrize("online", MADE)
@pytest.mark.parametrize("transform", ["none", "pad-crop-flip"])
def test_keyed_by_the_step(online, transform):
    """Whatever came before, and whatever the global generator is at: a resumed run sees the same batches."""
    meta, config, network = a_meta_set(1), config_for(online, transform=transform), Linear(12)
    whole = [meta_batch(meta, step, config, network) for step in range(6)]
    for step in (5, 2):
        torch.manual_seed(step)
        assert_same(meta_batch(meta, step, config, network), whole[step])
    other = meta_batch(meta, 2, config_for(online, transform=transform, seed=1), network)
    assert not torch.equal(other.images[:10], whole[2].images[:10])


@pytest.mark.parametrize("online", MADE)
def test_partners_and_goals_change_with_the_step(online):
    meta = a_meta_set(1)
    originals = meta.take((meta.kind == ORIGINAL).nonzero().squeeze(1))
    made = [factuals_of(originals, step, config_for(online), Linear(12)).images for step in range(8)]
    assert any(a.shape != made[0].shape or not torch.equal(a, made[0]) for a in made[1:])


def test_fgsm_moves_the_background_by_its_radius():
    meta, network = a_meta_set(2), Linear(12).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    originals = meta.take((meta.kind == ORIGINAL).nonzero().squeeze(1))
    made = factuals_of(originals, 0, config_for("fgsm", online_epsilon=20 / 255), network)
    moved = made.images.int() - originals.images.int()
    outside = ~masks(originals.box, 12, 12)[:, None].expand_as(moved)
    limited = (originals.images < 20) | (originals.images > 235)
    assert made.images.dtype == torch.uint8
    assert (moved[~outside] == 0).all()
    assert (moved[outside & ~limited].abs() == 20).all()
    assert moved.abs().max() == 20
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
