"""SPARE: weights by loops over clusters, what is drawn, clusters that are plain to see, and the epoch they are made."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.methods.parts.clusters import best_clusters, k_means, silhouette
from clp_train.methods.spare import sampling_weights
from clp_train.models.parts import Output
from tests.clp_train.builders import config_of, generator, load, method_of, table_of, train
from tests.clp_train.methods.shared_cases import assert_refused, counted_label
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("spare",)


def slow_silhouette(points, assigned):
    """Return the mean of (b - a) / max(a, b): a to the own cluster's others, b to the nearest other cluster."""
    values = []
    for i, own in enumerate(assigned):
        means = {}
        for k in set(assigned):
            others = [j for j, other in enumerate(assigned) if other == k and j != i]
            if others:
                means[k] = sum(float(np.linalg.norm(points[i] - points[j])) for j in others) / len(others)
        if own not in means:
            values.append(0.0)
            continue
        a, b = means[own], min(value for k, value in means.items() if k != own)
        values.append((b - a) / max(a, b))
    return sum(values) / len(values)


@pytest.mark.parametrize("seed", range(10))
def test_the_silhouette_is_its_loop(seed):
    rng = rng_for(seed, 0, "test silhouette")
    points, assigned = rng.normal(size=(12, 2)), np.append(rng.integers(0, 3, 10), [0, 1])
    assert silhouette(points, assigned, 0) == pytest.approx(slow_silhouette(points, assigned.tolist()))


def lloyd(points, centres):
    """Return the clusters that k-means ends with from some centres, and the sum of squared distances."""
    while True:
        squares = ((points[:, None] - centres) ** 2).sum(2)
        moved = np.stack([points[squares.argmin(1) == k].mean(0) for k in range(len(centres))])
        if np.array_equal(moved, centres):
            return squares.argmin(1), squares.min(1).sum()
        centres = moved


@pytest.mark.parametrize("seed", range(10))
def test_k_means_is_as_good_as_that_by_hand_from_many_starts(seed):
    rng = rng_for(seed, 0, "test k-means")
    points, clusters = rng.normal(size=(25, 2)), 2 + seed % 2
    starts = (points[rng.permutation(25)[:clusters]] for _ in range(40))
    best = min(lloyd(points, start)[1] for start in starts)
    assigned = k_means(points, clusters, seed)
    found = sum(((part - part.mean(0)) ** 2).sum() for part in (points[assigned == k] for k in range(clusters)))
    assert found <= best * 1.02


@pytest.mark.parametrize("true", [2, 3, 4])
def test_clusters_that_are_plain_to_see_are_found(true):
    rng = rng_for(0, true, "test clusters")
    own = np.repeat(np.arange(true), [40, 8, 20, 5][:true])
    points = 10 * np.eye(true)[own] + rng.normal(size=(len(own), true)) / 3
    assigned, apart = best_clusters(points, 6, 1)
    assert len({*zip(own.tolist(), assigned.tolist(), strict=True)}) == true
    assert apart == pytest.approx(slow_silhouette(points, assigned.tolist()))
    assert apart > 0.9


CASES = {
    "one": np.ones((1, 2)),
    "two": np.array([[0.0, 1.0], [5.0, 5.0]]),
    "all alike": np.ones((9, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_points_that_cannot_be_told_apart_are_one_cluster(case):
    assigned, apart = best_clusters(CASES[case], 5, 0)
    assert assigned.tolist() == [0] * len(CASES[case])
    assert apart == 1.0


def test_of_many_points_some_are_compared():
    rng = rng_for(0, 0, "test many")
    points = np.concatenate([rng.normal(size=(5000, 2)), 20 + rng.normal(size=(1500, 2))])
    assigned = np.repeat([0, 1], [5000, 1500])
    some = silhouette(points, assigned, 3)
    assert some == silhouette(points, assigned, 3) != silhouette(points, assigned, 4)
    assert some == pytest.approx(silhouette(points, assigned, 4), abs=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_weights_are_those_of_the_loop(seed):
    g = generator(seed)
    classes = 2 + seed % 3
    label = torch.cat([torch.arange(classes - seed % 2), torch.randint(classes - seed % 2, (20,), generator=g)])
    cluster = label * 3 + torch.randint(3, (len(label),), generator=g)
    sizes = Counter(cluster.tolist())
    power = torch.tensor([[1.0, 2.0, 0.5, 0.0][(c + seed) % 4] for c in range(classes)], dtype=torch.float64)
    raw = [sizes[k] ** -power[c].item() for k, c in zip(cluster.tolist(), label.tolist(), strict=True)]
    of_class = Counter()
    for value, c in zip(raw, label.tolist(), strict=True):
        of_class[c] += value
    expected = [v / of_class[c] / len(of_class) for v, c in zip(raw, label.tolist(), strict=True)]
    size = torch.tensor([sizes[k] for k in cluster.tolist()])
    assert sampling_weights(size, label, power).tolist() == pytest.approx(expected, rel=1e-12)


def logits_of(groups, noise, seed=0):
    """Return logits of two classes that follow the place of groups (label, place) alone, with some noise."""
    sign = (groups % 2 * 2 - 1).double()
    logits = torch.stack([-sign, sign], 1)
    return logits + noise * torch.randn(len(groups), 2, generator=generator(seed), dtype=torch.float64)


def clustered(table, logits, seed=0, **options):
    """Return the method after the start of its second epoch, with such a network."""
    method = method_of("spare", table, options, seed=seed)
    method.begin_epoch(0, 30, {}.__getitem__)
    assert method.batches(0, 7, rng_for(0, 0, "order")) is None
    method.begin_epoch(1, 30, {"train": Output(logits, logits)}.__getitem__)
    return method


def test_groups_that_the_outputs_tell_come_equally_often():
    table = of_groups([300, 12, 30, 150])
    method, counts = clustered(table, logits_of(table.group, 0.01)), Counter()
    for epoch in range(1, 61):
        method.begin_epoch(epoch + 1, 30, {}.__getitem__)
        batches = method.batches(epoch, 50, rng_for(0, epoch, "order"))
        assert sum(map(len, batches)) == 492
        assert len(batches) == 10
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
        counts.update(table.group[np.concatenate(batches)].tolist())
    spread = (60 * 492 / 4 * 3 / 4) ** 0.5
    assert all(abs(counts[g] - 60 * 492 / 4) < 5 * spread for g in range(4))


def test_clusters_that_are_less_clear_count_with_the_power():
    """Of a class with sizes a and b, pictures are drawn as a^-2 and b^-2: small clusters as b / a more often."""
    table = of_groups([200, 20, 20, 200])
    logits = logits_of(table.group, 0.35)
    plain, strong = (clustered(table, logits, threshold=t, clusters=2).weights for t in (-1.0, 1.0))
    for c in range(2):
        rows = table.label == c
        one, two = (sorted(set(w[rows].tolist())) for w in (plain, strong))
        assert len(one) == len(two) == 2
        assert two[1] / two[0] == pytest.approx((one[1] / one[0]) ** 2)
        assert plain[rows].sum().item() == pytest.approx(0.5)
        assert strong[rows].sum().item() == pytest.approx(0.5)


def test_a_class_of_one_picture_and_one_without():
    table = table_of(counted_label([5, 1, 0, 4]), classes=4)
    method = clustered(table, torch.randn(10, 4, generator=generator()))
    assert method.weights.sum().item() == pytest.approx(1)
    assert method.weights[5].item() == pytest.approx(1 / 3)


def test_it_is_cross_entropy_in_one_stage_on_pictures_of_the_seed():
    table, _ = random_table(3)
    logits = torch.randn(len(table.label), table.classes, generator=generator(3))
    one, same = (clustered(table, logits) for _ in range(2))
    assert torch.equal(one.weights, same.weights)
    assert one.terms(seen(table, 0)[2]) == Terms()
    assert tuple(one.stages) == (Stage(),)
    other = method_of("spare", table)
    assert other.state_dict() == {}
    other.load_state_dict(one.state_dict())
    drawn = [np.concatenate(m.batches(4, 8, rng_for(0, 4, "order"))) for m in (one, other)]
    assert np.array_equal(*drawn)


@pytest.mark.parametrize("settings", [{}, {"trainable": "head"}], ids=["whole", "head"])
def test_killed_it_goes_on_bit_by_bit(demo_shard, tmp_path, settings):
    loaded = load(config_of(meta=demo_shard))
    settings, steps = {"method": "spare", "epochs": 3, **settings}, []
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded, steps=steps)
    for kill_at in (2, len(steps) // 3 + 1, len(steps) - 1):
        config = short(demo_shard, tmp_path / str(kill_at), **settings)
        with pytest.raises(Killed):
            killable(config, loaded, kill_at)
        assert_same(killable(config, loaded, resume=True), whole)


def test_refusals(demo_shard):
    assert_refused("spare", "first_epochs = 0: expected a whole number >= 1", first_epochs=0)
    assert_refused("spare", "clusters = 1: expected a whole number >= 2", clusters=1)
    assert_refused("spare", "power = -1.0: expected a number >= 0", power=-1.0)
    assert_refused("spare", "threshold = 1.5: expected a number from -1 to 1", threshold=1.5)
    config = config_of("spare", demo_shard, epochs=3, options={"first_epochs": 3})
    with pytest.raises(UsageError) as error:
        train(config, load(config))
    assert str(error.value) == "first_epochs = 3: the run has 3 epochs; expected a smaller number"


def test_scikit_learn_is_not_imported_before_it_is_needed():
    program = "import sys, clp_train.methods.spare; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
