"""The order of an epoch: every picture once, or every part equally often."""

import numpy as np
import pytest

from clp_aug.contract.seeds import rng_for
from clp_train.pictures.samplers import SAMPLERS, class_aware, class_aware_size, draw_evenly, even_batches


def labels_and_groups(seed):
    """Return label and group, int64 (N,), of a random size; some numbers in between belong to nobody."""
    rng = rng_for(seed, 0, "test parts")
    n = int(rng.integers(1, 60))
    return rng.integers(0, 4, n) * 2, rng.integers(0, 7, n)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("seed", range(20))
def test_as_many_rows_as_pictures_by_the_generator_alone(seed, name):
    label, group = labels_and_groups(seed)
    rows = SAMPLERS[name](label, group, rng_for(seed, 1, "order"))
    assert rows.dtype == np.int64
    assert rows.shape == label.shape
    assert rows.min() >= 0
    assert rows.max() < len(label)
    np.testing.assert_array_equal(rows, SAMPLERS[name](label, group, rng_for(seed, 1, "order")))
    if len(label) > 8:
        assert not np.array_equal(rows, SAMPLERS[name](label, group, rng_for(seed, 2, "order")))


@pytest.mark.parametrize("seed", range(20))
def test_natural_is_every_picture_once(seed):
    label, group = labels_and_groups(seed)
    rows = SAMPLERS["natural"](label, group, rng_for(seed, 1, "order"))
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(label)))


class Asked:
    """A generator that keeps what it was asked for."""

    def choice(self, n, size, p):
        self.n, self.size, self.p = n, size, p


@pytest.mark.parametrize("seed", range(20))
def test_each_part_is_equally_likely_and_each_picture_within_it(seed):
    _, group = labels_and_groups(seed)
    asked, there = Asked(), set(group.tolist())
    draw_evenly(group, asked)
    expected = [1 / (len(there) * sum(other == own for other in group.tolist())) for own in group.tolist()]
    assert asked.n == asked.size == len(group)
    np.testing.assert_allclose(asked.p, expected, rtol=1e-12)
    assert sum(asked.p) == pytest.approx(1)


@pytest.mark.parametrize(("name", "of"), [("class", 0), ("group", 1)])
def test_rare_parts_come_as_often_as_common_ones(name, of):
    label = np.repeat([0, 1], [9000, 1000])
    group = np.repeat([0, 1, 2, 3], [8900, 100, 50, 950])
    part = (label, group)[of]
    drawn = np.bincount(part[SAMPLERS[name](label, group, rng_for(0, 0, "order"))])
    even = len(part) / len(drawn)
    assert np.abs(drawn - even).max() < 5 * even**0.5


def test_the_registry():
    assert list(SAMPLERS) == ["natural", "class", "group"]


@pytest.mark.parametrize("seed", range(60))
def test_even_batches_hold_every_part_and_every_picture_as_often(seed):
    _, part = labels_and_groups(seed)
    size = 2 + seed % 9
    batches = even_batches(part, size, rng_for(seed, 3, "order"))
    assert [len(rows) for rows in batches] == [len(b) for b in np.array_split(part, -(-len(part) // size))]
    for rows in batches:
        assert rows.dtype == np.int64
        counts = [int((part[rows] == p).sum()) for p in set(part.tolist())]
        assert max(counts) - min(counts) <= 1
    often = np.bincount(np.concatenate(batches), minlength=len(part))
    assert often.sum() == len(part)
    for p in set(part.tolist()):  # all of a part's pictures before any comes again
        assert often[part == p].max() - often[part == p].min() <= 1
    again = even_batches(part, size, rng_for(seed, 3, "order"))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def cycling(items, rng):
    """Yield items in random order, for ever, all of them before any comes again."""
    while True:
        yield from rng.permutation(items).tolist()


def class_aware_by_hand(label, rng):
    """One picture at a time, as iterators that cycle."""
    there = sorted(set(label))
    pictures = {c: cycling([row for row, own in enumerate(label) if own == c], rng) for c in there}
    classes, rows, size = cycling(there, rng), [], min(len(there) * max(map(label.count, there)), 4 * len(label))
    while len(rows) < size:
        c = next(classes)
        rows += [next(pictures[c]) for _ in range(4)]
    return rows[:size]


@pytest.mark.parametrize("seed", range(40))
def test_class_aware_takes_classes_and_their_pictures_in_turn(seed):
    label, _ = labels_and_groups(seed)
    rows = class_aware(label, rng_for(seed, 4, "order"))
    by_hand = class_aware_by_hand(label.tolist(), rng_for(seed, 5, "order"))
    assert rows.dtype == np.int64
    assert len(rows) == len(by_hand) == class_aware_size(label)
    classes = len(set(label.tolist()))
    for some in (rows, np.array(by_hand)):
        fours = [label[some[i : i + 4]] for i in range(0, len(some), 4)]
        assert all(len(set(four)) == 1 for four in fours)
        turns = [four[0] for four in fours]
        assert all(len(set(turns[i : i + classes])) == classes for i in range(0, len(turns) - classes + 1, classes))
        often = np.bincount(some, minlength=len(label))
        for c in set(label.tolist()):
            assert often[label == c].max() - often[label == c].min() <= 1
    np.testing.assert_array_equal(rows, class_aware(label, rng_for(seed, 4, "order")))


def test_class_aware_shows_every_picture_of_a_class_as_often_over_many_epochs():
    label = np.repeat([0, 1, 2], [30, 7, 1])
    drawn = sum(np.bincount(class_aware(label, rng_for(0, k, "order")), minlength=len(label)) for k in range(400))
    by_hand = sum(
        np.bincount(class_aware_by_hand(label.tolist(), rng_for(1, k, "order")), minlength=len(label))
        for k in range(400)
    )
    for counts in (drawn, by_hand):
        each = 400 * class_aware_size(label) / 3
        assert [counts[label == c].sum() for c in range(3)] == pytest.approx([each] * 3, rel=0.02)
        for c in range(3):
            expected = counts[label == c].mean()
            assert np.abs(counts[label == c] - expected).max() < 5 * expected**0.5


@pytest.mark.parametrize(("counts", "size"), [([9, 4, 2, 1], 36), ([300, 20, 5, 1, 1], 1308), ([5, 5], 10), ([3], 3)])
def test_the_size_of_a_class_aware_epoch(counts, size):
    assert class_aware_size(np.repeat(np.arange(len(counts)) * 3, counts)) == size
