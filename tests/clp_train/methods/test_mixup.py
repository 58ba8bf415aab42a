"""Mixup: each batch against the formula picture by picture, its shares and orders, a step on features."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms, objective
from clp_train.methods.parts.mixing import followed_by, taken
from tests.clp_train.builders import batch_of, config_of, generator, load, method_of, table_of, train
from tests.clp_train.methods.shared_cases import assert_refused

ORACLES = ("mixup",)


def mixup(**options):
    return method_of("mixup", table_of([0, 1, 2]), options)


@pytest.mark.parametrize("seed", range(10))
def test_a_batch_is_mixed_with_itself_by_one_share(seed):
    batch, n = batch_of(seed, n=1 + seed, rows=True), 1 + seed
    before = batch.images.clone()
    mixed, rng = mixup(alpha=0.7).mixed(batch, rng_for(seed, 0, "mix")), rng_for(seed, 0, "mix")
    share, order = rng.beta(0.7, 0.7), rng.permutation(n)
    logits = torch.randn(n, 3, dtype=torch.float64, generator=generator(seed))
    losses = 0.0
    for i, j in enumerate(order.tolist()):
        torch.testing.assert_close(mixed.images[i], share * before[i] + (1 - share) * before[j])
        log_p = [z - math.log(sum(math.exp(v) for v in logits[i].tolist())) for z in logits[i].tolist()]
        losses -= share * log_p[batch.label[i]] + (1 - share) * log_p[batch.label[j]]
    found = objective(logits, mixed.label, Terms(target=mixed.target))
    assert found.item() == pytest.approx(losses / n)
    assert torch.equal(batch.images, before)
    assert torch.equal(mixed.label, batch.label)
    assert mixed.second is None


def test_features_are_mixed_as_pictures_are():
    batch = batch_of(3, n=6, rows=True)
    features = replace(batch, images=batch.images.flatten(1), inside=torch.zeros(6, 0, 0, dtype=torch.bool))
    found = mixup().mixed(features, rng_for(0, 0, "mix")).images
    torch.testing.assert_close(found, mixup().mixed(batch, rng_for(0, 0, "mix")).images.flatten(1))


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_shares_are_those_of_the_beta_distribution(alpha):
    batch, method = batch_of(n=2, side=1, rows=True), mixup(alpha=alpha)
    batch = replace(batch, images=torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None, None, None].expand(2, 3, 1, 1))
    found = [method.mixed(batch, rng_for(0, k, "mix")).images[:, 0, 0, 0] for k in range(3000)]
    met = [(one[0].item(), one[1].item()) for one in found]
    shares = [a for a, b in met if b != 0]  # the two have met each other
    assert abs(len(shares) - 1500) < 5 * math.sqrt(3000 / 4)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_without_alpha_it_is_cross_entropy_and_with_it_not(demo_shard, trainable):
    def weights(method, trainable="all", **options):
        config = config_of(
            meta=demo_shard, method=method, epochs=1, batch_size=40, options=options, trainable=trainable
        )
        return train(config, load(config)).last.state["head.weight"]

    for trainable in ("all", "head"):
        plain = weights("erm", trainable)
        assert torch.equal(plain, weights("mixup", trainable, alpha=0.0))
        assert not torch.equal(plain, weights("mixup", trainable))


def test_rows_are_taken_and_put_behind():
    batch = replace(batch_of(n=5, rows=True), target=F.one_hot(torch.arange(5) % 3).double())
    some = taken(replace(batch, second=batch), torch.tensor([3, 0, 3]))
    assert some.second is None
    whole = followed_by(batch, some, some)
    for name in ("images", "inside", "label", "group", "kind", "sample_id", "row", "target"):
        values = getattr(batch, name)
        assert torch.equal(getattr(some, name), torch.stack([values[3], values[0], values[3]]))
        assert torch.equal(getattr(whole, name), torch.cat([values, *[getattr(some, name)] * 2]))


def test_it_refuses():
    assert_refused("mixup", "alpha = -0.1: expected a number >= 0", alpha=-0.1)
