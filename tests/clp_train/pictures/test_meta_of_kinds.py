"""Meta pictures of some kinds: those of a plain selection, and not copied where they lie evenly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, ORIGINAL
from clp_aug.contract.seeds import rng_for
from clp_train.evaluating.attention import look_at
from clp_train.evaluating.outputs import scores_of
from clp_train.pictures.batching import meta_order, meta_rows
from clp_train.pictures.types import BoxedPictures, meta_of_kinds, slice_of
from clp_train.running.assembly import table_of
from clp_train.running.part import originals_of
from tests.clp_train.builders import config_of, generator, load, network_of

KINDS = st.lists(st.sampled_from([ORIGINAL, COUNTERFACTUAL, FACTUAL]), max_size=20)
THREE_IN_TURN = [ORIGINAL, COUNTERFACTUAL, FACTUAL] * 4


def pictures(kinds, images=None):
    n = len(kinds)
    images = torch.randint(256, (n, 3, 4, 5), generator=generator(n)).to(torch.uint8) if images is None else images
    rows = torch.arange(n)
    return BoxedPictures(images, rows % 3, rows % 2, rows, torch.ones(n, 4).long(), torch.tensor(kinds).to(torch.uint8))


def assert_same(found, expected):
    for name, values in vars(expected).items():
        assert torch.equal(getattr(found, name), values), name


def is_within(part, whole):
    return part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


@given(KINDS, st.sets(st.sampled_from([ORIGINAL, COUNTERFACTUAL, FACTUAL]), min_size=1))
def test_the_pictures_of_a_plain_selection(kinds, wanted):
    meta = pictures(kinds)
    rows = torch.tensor([row for row, kind in enumerate(kinds) if kind in wanted], dtype=torch.long)
    found = meta_of_kinds(meta, sorted(wanted))
    assert_same(found, meta.take(rows))
    distances = set(rows.diff().tolist())
    assert (slice_of(rows) is not None) == (len(distances) < 2)
    if len(distances) < 2 and len(rows):
        assert is_within(found.images, meta.images)


@given(st.integers(0, 30), st.integers(1, 5), st.integers(0, 12))
def test_even_rows_are_a_slice(first, step, count):
    rows = torch.arange(first, first + step * count, step)[:count]
    found = slice_of(rows)
    assert torch.arange(100)[found].tolist() == rows.tolist()


def test_all_of_them_are_the_set_itself():
    meta = pictures(THREE_IN_TURN)
    assert meta_of_kinds(meta, (ORIGINAL, COUNTERFACTUAL, FACTUAL)) is meta


def test_features_are_copied_to_lie_together():
    meta = pictures(THREE_IN_TURN, torch.rand(12, 7, generator=generator(0)))
    found = meta_of_kinds(meta, (ORIGINAL,))
    assert not is_within(found.images, meta.images)
    assert found.images.is_contiguous()
    assert torch.equal(found.images, meta.images[::3])


@pytest.fixture
def run(demo_shard):
    return load(config_of(meta=demo_shard))


@pytest.mark.parametrize("left_out", [(), (4,)], ids=["even", "uneven"])
def test_a_look_at_the_originals_is_the_same_wherever_they_lie(run, left_out):
    keep = torch.tensor([row for row in range(len(run.meta)) if row not in left_out])
    meta = run.meta.take(keep)
    network = network_of(len(run.header.class_names)).float()
    alone = meta.take((meta.kind == ORIGINAL).nonzero().squeeze(1))
    (found, looks), (expected, others) = look_at(network, meta), look_at(network, alone)
    assert found == expected
    for look, other in zip(looks, others, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(look, other, strict=True))
    scores = [scores_of(network, run.train, part)("meta") for part in (meta, alone)]
    assert torch.equal(scores[0].logits, scores[1].logits)
    assert torch.equal(scores[0].features, scores[1].features)
    assert torch.equal(table_of(replace(run, meta=meta)).meta_label, alone.label)


def test_originals_of_a_shard_are_not_copied(run):
    assert is_within(originals_of(run).images, run.meta.images)


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 30), st.integers(0, 3))
def test_meta_rows_are_those_of_whole_passes_one_behind_the_other(step, pictures, batch_size, seed):
    stream = np.concatenate(
        [rng_for(seed, cycle, "meta order").permutation(pictures) for cycle in range((step + 1) * batch_size)]
    )
    assert meta_rows(step, pictures, batch_size, seed).tolist() == stream[step * batch_size :][:batch_size].tolist()


def test_an_order_that_steps_share_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        meta_order(0, 5, 0)[0] = 1
    meta_rows(0, 5, 3, 0)[0] = 1  # a step's own may be
