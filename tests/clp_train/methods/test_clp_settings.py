"""CLP's own settings: even batches, and Omega's step that falls with the network's; killed and resumed or not."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.optimiser import rate_factor
from clp_train.algorithm.step import train_step
from clp_train.config import make_config
from tests.clp_train.builders import config_of, method_of, table_of, train
from tests.clp_train.resuming import assert_resumed_is_the_same

ORACLES = ()
METHODS = ("clp", "meta-lp")


def five_epochs(shard, method="clp", **options):
    """Return a configuration without saliency."""
    more = {"epochs": 5, "batch_size": 40, "saliency_lambda": 0.0, "omega_lr": 2e-3}
    return config_of(meta=shard, method=method, options=options, **more)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schedule", ["constant", "network"])
def test_omegas_step_falls_with_the_networks(demo_shard, loaded, monkeypatch, method, schedule):
    found = []

    def noted(self, gradients):
        found.append(self.optimiser.param_groups[0]["lr"])
        plain(self, gradients)

    owner = type(method_of(method, table_of([0, 1])))
    plain = owner.update
    monkeypatch.setattr(owner, "update", noted)
    config = five_epochs(demo_shard, method, omega_schedule=schedule)
    train(config, loaded)
    each = -(-len(loaded.train.label) // 40)
    factors = [rate_factor(config.sgd, epoch, 5) if schedule == "network" else 1.0 for epoch in range(5)]
    assert found == pytest.approx([2e-3 * factor for factor in factors for _ in range(each)])
    assert schedule == "constant" or len(set(found)) == 3


@pytest.mark.parametrize("method", METHODS)
def test_batches_are_even_over_the_classes_or_as_the_pictures_come(demo_shard, loaded, method):
    seen = {"natural": Counter(), "class": Counter()}
    label = loaded.train.label
    few = torch.cat([(label == 0).nonzero().flatten(), (label == 1).nonzero().flatten()[:12]])
    loaded = replace(loaded, train=loaded.train.take(few))
    for batches, counter in seen.items():

        def noted(network, method, optimiser, batch, *rest, counter=counter):
            counter.update(batch.label.tolist())
            return train_step(network, method, optimiser, batch, *rest)

        train(five_epochs(demo_shard, method, batches=batches), loaded, train_step=noted)
    counts = torch.bincount(loaded.train.label).tolist()
    assert seen["natural"] == Counter({c: 5 * n for c, n in enumerate(counts)})
    total = sum(seen["class"].values())
    assert total == 5 * sum(counts)
    for c, n in enumerate(counts):
        assert abs(seen["class"][c] / total - 0.5) < 0.13 < abs(n / sum(counts) - 0.5)


def test_killed_and_resumed_it_is_the_same(demo_shard, loaded, tmp_path):
    config = five_epochs(demo_shard, batches="class", omega_schedule="network")
    assert_resumed_is_the_same(config, loaded, tmp_path, 3 * -(-len(loaded.train.label) // 40) + 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batches=group", "batches = group: expected one of natural, class"),
        ("omega_schedule=steps", "omega_schedule = steps: expected one of constant, network"),
    ],
)
def test_unknown_values_list_the_valid_ones(demo_shard, text, message):
    with pytest.raises(UsageError) as error:
        make_config({"meta": demo_shard}, texts=[text])
    assert str(error.value) == message
