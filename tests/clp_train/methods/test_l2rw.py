"""L2RW against finite differences, picture by picture."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.running import loop
from clp_train.running.assembly import assemble
from tests.clp_train.builders import batch_of, config_of, load, method_of, network_of, optimiser_of, step
from tests.clp_train.methods.reweighting_cases import meta_loss_after, with_meta
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("l2rw",)


def l2rw_by_hand(network, batch, meta, lr, eps=1e-5):
    """The meta loss once eps of one picture's loss has been stepped along, picture by picture."""
    falls = []
    for i in range(len(batch)):
        trial = copy.deepcopy(network)
        loss = F.cross_entropy(trial(batch.images).logits, batch.label, reduction="none")[i]
        gradients = torch.autograd.grad(loss, list(trial.parameters()))
        ends = [meta_loss_after(network, [-sign * eps * lr * g for g in gradients], meta) for sign in (1, -1)]
        falls.append((ends[0] - ends[1]) / (2 * eps))
    useful = [max(-fall, 0.0) for fall in falls]
    total = sum(useful)
    return [u / (total + (total == 0)) for u in useful]


@pytest.mark.parametrize("mode", ["reference", "forward", "central"])
@pytest.mark.parametrize("n", [2, 7])
def test_l2rw_weights_are_clipped_and_normalised_finite_differences(mode, n):
    for seed in range(2):
        network, batch, meta = network_of(seed=seed), batch_of(seed, n, rows=True), batch_of(seed + 10, 5)
        config = config_of("l2rw", hypergradient=mode, lr=0.2)
        expected = l2rw_by_hand(network, batch, meta, 0.2)
        method, other = method_of("l2rw", with_meta()), copy.deepcopy(network)
        step(network, method, optimiser_of(network, config), batch, meta, config)
        assert (method.weight / n).tolist() == pytest.approx(expected, abs=2e-4)
        assert sum(expected) == pytest.approx(1)
        assert 0 < sum(w == 0 for w in expected) < n or n == 2  # some are clipped

        optimiser = optimiser_of(other, config)  # the step is that of the weighted sum
        losses = F.cross_entropy(other(batch.images).logits, batch.label, reduction="none")
        (method.weight / n @ losses).backward()
        optimiser.step()
        for a, b in zip(network.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_a_batch_that_only_harms_weighs_nothing_and_moves_nothing():
    network, batch = network_of(), batch_of(n=1, rows=True)
    batch = replace(batch, images=batch.images.repeat(3, 1, 1, 1), label=torch.zeros(3, dtype=torch.int64))
    meta = replace(batch, row=None, label=torch.ones(3, dtype=torch.int64))  # the same pictures, labelled otherwise
    config = config_of("l2rw", hypergradient="forward", momentum=0.0, weight_decay=0.0)
    method, before = method_of("l2rw", with_meta()), copy.deepcopy(network)
    with torch.no_grad():
        network.head.bias[0] += 1.0  # class 0 leads: more of it takes from class 1
    before.load_state_dict(network.state_dict())
    losses = step(network, method, optimiser_of(network, config), batch, meta, config)
    assert method.weight.tolist() == [0, 0, 0]
    assert losses.train == 0
    for a, b in zip(network.parameters(), before.parameters(), strict=True):
        assert torch.equal(a, b)


def test_l2rw_weights_by_hand():
    method = method_of("l2rw", with_meta())
    method.update([torch.tensor([-1.0, 2.0, -3.0])])
    assert method.weight.tolist() == pytest.approx([0.75, 0, 2.25])


def test_without_a_meta_step_all_pictures_weigh_the_same():
    network, batch = network_of(), batch_of(n=7, rows=True)
    config = config_of("l2rw", meta_interval=3)
    method = method_of("l2rw", with_meta(), meta_interval=3)
    for number in range(7):
        meta = batch_of(5, 4) if number % 3 == 0 else None
        step(network, method, optimiser_of(network, config), batch, meta, config, number)
        assert torch.equal(method.weight, torch.ones(7, dtype=torch.float64)) == (meta is None)


def test_of_differences_a_run_says_what_they_cost(demo_shard):
    loaded, told = load(config_of(meta=demo_shard)), []
    for mode in ("central", "one-sided", "forward", "reference"):
        config = config_of("l2rw", demo_shard, hypergradient=mode, epochs=1, model="resnet8", batch_size=40)
        loop.train(assemble(config, loaded), loop.Hooks(remark=told.append))
    assert told == [
        f"l2rw: {mode} differences in float32 give its weights, which are cut at zero, to two or three digits;"
        " hypergradient = forward gives all"
        for mode in ("central", "one-sided")
    ]


def test_l2rw_refuses_a_meta_step_that_comes_too_late():
    message = "meta_step = lagged: method l2rw weighs the pictures of the step itself; take meta_step = exact"
    with pytest.raises(UsageError) as error:
        method_of("l2rw", with_meta(), meta_step="lagged")
    assert str(error.value) == message


def test_l2rw_resumes_between_two_meta_steps(demo_shard, tmp_path):
    loaded = load(config_of(meta=demo_shard))
    whole = killable(short(demo_shard, tmp_path / "whole", method="l2rw"), loaded)
    config = short(demo_shard, tmp_path / "killed", method="l2rw")
    with pytest.raises(Killed):
        killable(config, loaded, 4)  # the state is that of step 3, of an interval of 2
    assert_same(killable(config, loaded, resume=True), whole)
