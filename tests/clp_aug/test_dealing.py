"""Copies of a million originals: dealt as one by one, partners without a shuffle for each, progress to the end."""

from collections import Counter
from contextlib import contextmanager
from itertools import islice

import numpy as np
import pytest

from clp_aug import pipeline
from clp_aug.config import AugmentConfig
from clp_aug.contract.shards import ShardReader
from clp_aug.sharding import SHUFFLED, one_by_one, others_in_random_order, plan_copies
from tests.oracles import dealing

FILLS = ("grey", "tile", "random", "shuffle", "telea", "cagan")


@pytest.mark.parametrize("trial", range(60))
def test_the_plan_is_that_of_dealing_one_by_one(trial):
    rng = np.random.default_rng(trial)
    n, ratio = int(rng.integers(1, 80)), int(rng.integers(0, 6))
    labels, ids = rng.integers(0, 4, n), rng.permutation(1000)[:n]
    cf, f = (FILLS[: int(rng.integers(0, 5))] for _ in range(2))
    if not (cf or f):
        ratio = 0
    assert plan_copies(labels, ids, cf, f, ratio, trial) == dealing.plan(labels, ids, cf, f, ratio, trial)


def test_equal_copies_are_stored_once():
    copies = plan_copies(np.arange(1000) % 7, np.arange(1000), ("grey", "tile"), ("random", "shuffle", "fgsm"), 2, 0)
    assert len({id(one) for one in copies}) <= 2 * 6


@pytest.mark.parametrize("n", [1, 2, 100, SHUFFLED])
def test_partners_of_a_set_as_before_are_those_of_one_shuffle(n):
    labels = np.random.default_rng(n).integers(0, 3, n)
    found = list(others_in_random_order(labels, 1, np.random.default_rng(5)))
    assert found == np.random.default_rng(5).permutation(np.flatnonzero(labels != 1)).tolist()


def test_partners_of_a_larger_set_are_others_each_once():
    labels = np.arange(SHUFFLED + 1) % 3
    found = list(others_in_random_order(labels, 1, np.random.default_rng(5)))
    assert sorted(found) == np.flatnonzero(labels != 1).tolist()
    assert found == list(others_in_random_order(labels, 1, np.random.default_rng(5)))
    assert found != list(others_in_random_order(labels, 1, np.random.default_rng(6)))


def test_no_partner_in_a_larger_set():
    assert list(others_in_random_order(np.zeros(SHUFFLED + 1, int), 0, np.random.default_rng(0))) == []


def test_rows_one_by_one_come_in_every_order_equally_often():
    rng = np.random.default_rng(0)
    orders = Counter(tuple(one_by_one(4, rng)) for _ in range(24 * 400))
    assert len(orders) == 24
    assert sum((count - 400) ** 2 / 400 for count in orders.values()) < 50  # chi squared, 23 degrees: p = 0.001


def test_what_is_kept_grows_with_what_is_taken():
    """Of a million million rows: a list of them would not fit."""
    few = list(islice(one_by_one(10**12, np.random.default_rng(0)), 5))
    assert len(set(few)) == 5
    assert max(few) > 10**10


def test_the_last_stage_tells_how_far_it_is(tmp_path):
    told: dict[str, list[int]] = {}

    @contextmanager
    def progress(stage, total):
        told[stage] = [total, 0]

        def advance(done):
            told[stage][1] += done

        yield advance

    config = AugmentConfig(
        dataset="demo",
        cf=("grey",),
        f=("random",),
        matte="given",
        size=16,
        meta="3/class",
        limit=20,
        out=tmp_path / "s.h5",
    )
    reader = ShardReader(pipeline.augment(config, progress).path)
    assert list(told)[-1] == "SHARD"
    assert told["SHARD"] == [reader.stored, reader.stored] == [len(reader) + reader.mattes] * 2
