"""The first draws of many keys at once: numpy's own generators, one by one, are the oracle."""

import pickle

import numpy as np
import pytest

from clp_aug.contract.draws import AT_ONCE, first_draws, generators
from clp_aug.contract.seeds import rng_for
from tests.oracles.dealing import draws


@pytest.mark.parametrize("trial", range(60))
def test_every_draw_is_that_of_its_own_generator(trial):
    rng = np.random.default_rng(trial)
    seed = int(rng.integers(0, 1 << int(rng.integers(1, 63))))
    ids = rng.integers(0, 1 << int(rng.integers(1, 63)), 40)
    found = first_draws(seed, ids, f"stage/{trial}")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, draws(seed, ids, f"stage/{trial}"))


@pytest.mark.parametrize("number", [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**62])
def test_the_borders_of_a_word(number):
    ids = np.array([number, 0, 2**32 - 1, 2**32])
    np.testing.assert_array_equal(first_draws(number, ids, ""), draws(number, ids, ""))


def test_a_seed_of_many_words():
    np.testing.assert_array_equal(first_draws(2**130 + 7, np.arange(5), "x"), draws(2**130 + 7, np.arange(5), "x"))


def test_more_than_are_taken_at_once():
    n = 2 * AT_ONCE + 3
    found = first_draws(5, np.arange(n), "plan")
    for i in (0, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE, n - 1):
        assert found[i] == rng_for(5, i, "plan").random()
    assert 0 <= found.min() <= found.max() < 1
    assert abs(found.mean() - 0.5) < 0.01


def test_none():
    assert first_draws(0, np.array([], np.int64), "plan").shape == (0,)


@pytest.mark.parametrize("trial", range(30))
def test_generators_made_together_are_those_made_one_by_one(trial):
    rng = np.random.default_rng(trial)
    seed = int(rng.integers(0, 1 << int(rng.integers(1, 63))))
    ids = rng.integers(0, 1 << int(rng.integers(1, 63)), 20).tolist()
    stages = [f"fill {i}/{trial}" for i in rng.integers(0, 5, 20)]
    for found, sample_id, stage in zip(generators(seed, ids, stages), ids, stages, strict=True):
        expected = rng_for(seed, sample_id, stage)
        assert found.bit_generator.state == expected.bit_generator.state
        streams = [each.bit_generator.seed_seq.spawn(2)[1].generate_state(3).tolist() for each in (found, expected)]
        assert streams[0] == streams[1], "and so are their children"
        assert pickle.loads(pickle.dumps(found)).integers(1 << 60) == expected.integers(1 << 60)


def test_no_generators():
    assert generators(0, [], []) == []
