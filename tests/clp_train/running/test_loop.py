"""One step of Algorithm 1 against the equations written out, and whole runs."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import DivergedError, counterfactual_loss
from clp_train.algorithm.objective import objective
from clp_train.algorithm.optimiser import rate_factor
from clp_train.algorithm.saliency import saliency
from clp_train.algorithm.step import MetaObjective
from clp_train.models.parts import last_block
from clp_train.running.assembly import step_rule
from tests.clp_train.builders import batch_of, config_of, load, method_of, parts, step, table_of, train, view_of

LR, LAMBDA = 0.2, 3.0


def strong_parts(method, **settings):
    """As `parts`, with a saliency term that weighs as much as the cross entropy."""
    return parts(method, saliency_lambda=LAMBDA, lr=LR, **settings)


def meta_loss_at(weights, network, method, meta, config, number=0):
    """Return the bracket of eq. (9) at weights by name."""
    return MetaObjective(network, method, meta, step_rule(config), number)(weights)


def test_erm_is_plain_sgd():
    config, network, method, optimiser = strong_parts("erm")
    other = copy.deepcopy(network)
    plain = torch.optim.SGD(other.parameters(), LR, 0.9, weight_decay=5e-4)
    for number in range(3):
        batch = batch_of(number, 6)
        losses = step(network, method, optimiser, batch, None, config, number)
        plain.zero_grad()
        expected = F.cross_entropy(other(batch.images).logits, batch.label)
        expected.backward()
        plain.step()
        assert losses.train == pytest.approx(expected.item())
        assert losses.meta is None
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])


@pytest.mark.parametrize("mode", ["forward", "reference"])
@pytest.mark.parametrize("meta_delta", ["none", "paper"])
def test_clp_step_is_equations_8_to_10(meta_delta, mode):
    config, network, method, optimiser = strong_parts("clp", meta_delta=meta_delta, hypergradient=mode)
    net, omega = copy.deepcopy(network), copy.deepcopy(method.network)
    batch, meta = batch_of(0, 6), batch_of(1, 6, kind=[0, 1, 2, 0, 1, 2])

    losses = step(network, method, optimiser, batch, meta, config)

    def delta_of(out, head, label, which):  # the statistics after `observe`, as the step itself had them
        return _perturb(method, which, View(out.logits.detach(), out.features.detach(), head.detach(), label, label))

    # eq. (8), with one graph through everything: nothing is split off or held constant here
    weights = dict(net.named_parameters())
    images = batch.images.detach().clone().requires_grad_()
    out = net(images)
    penalty = LAMBDA * saliency(images, out.logits, batch.inside, batch.label, "probability").mean()
    ce = F.cross_entropy(out.logits + delta_of(out, net.head.weight, batch.label, omega), batch.label)
    gradients = torch.autograd.grad(ce + penalty, weights.values(), create_graph=True)
    virtual = {name: w - LR * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
    # eq. (9)
    images = meta.images.detach().clone().requires_grad_()
    buffers = {name: b.clone() for name, b in net.named_buffers()}
    u = functional_call(net, {**virtual, **buffers}, (images,))
    z = u.logits if meta_delta == "none" else u.logits + delta_of(u, virtual["head.weight"], meta.label, omega)
    terms = torch.stack([
        counterfactual_loss(z[i : i + 1], y[None])[0] if meta.kind[i] == 1 else F.cross_entropy(z[i], y)
        for i, y in enumerate(meta.label)
    ])  # fmt: skip
    terms = terms + LAMBDA * saliency(images, u.logits, meta.inside, meta.label, "probability")
    expected = torch.autograd.grad(terms.mean(), tuple(omega.parameters()), retain_graph=True)
    assert losses.meta == pytest.approx(terms.mean().item(), rel=1e-10)
    for tensor, gradient in zip(method.learned, expected, strict=True):
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-8, atol=1e-14)
    assert not torch.equal(method.network.last.weight, omega.last.weight)
    # eq. (10), with the new Omega; weight decay from torch's own SGD
    delta = delta_of(out, net.head.weight, batch.label, method.network)
    final = F.cross_entropy(out.logits + delta, batch.label)
    assert losses.train == pytest.approx(final.item(), rel=1e-10)
    assert losses.saliency == pytest.approx(penalty.item(), rel=1e-10)
    for (name, w), g in zip(weights.items(), torch.autograd.grad(final + penalty, weights.values()), strict=True):
        torch.testing.assert_close(network.get_parameter(name), w - LR * (g + 5e-4 * w), rtol=1e-9, atol=1e-12)
    # one real pass moved the running statistics, the virtual one did not
    for name, buffer in net.named_buffers():
        assert torch.equal(network.get_buffer(name), buffer), name


def _perturb(method, omega, view):
    swapped = copy.copy(method)
    swapped.network = swapped.omega = omega
    return swapped.terms(view).delta


@pytest.mark.parametrize(
    "change",
    [
        {"meta_scope": "last-block"},
        {"virtual_momentum": True},
        {"meta_scope": "last-block", "virtual_momentum": True},
        {"meta_batch_norm": "running"},
    ],
    ids=str,
)
def test_other_virtual_steps_agree_with_their_double_backward(change):
    """After a first step, so that there is momentum: Omega's gradient in the forward form and by double backward."""
    found = []
    for mode in ("forward", "reference"):
        config, network, method, optimiser = strong_parts("clp", hypergradient=mode, **change)
        for number in range(2):
            step(network, method, optimiser, batch_of(number, 6), batch_of(9, 6, [0, 1, 2] * 2), config, number)
        found.append([tensor.grad.clone() for tensor in method.learned])
    for a, b in zip(*found, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-12)


def test_virtual_momentum_is_the_real_step():
    """With momentum and decay in it, W_hat is where the real step would go: the meta loss there is the same number."""
    config, network, method, optimiser = strong_parts("clp", virtual_momentum=True)
    batch, meta = batch_of(1, 6), batch_of(9, 6, [0, 1, 2] * 2)
    step(network, method, optimiser, batch_of(0, 6), None, config, 0)
    other = copy.deepcopy((network, method, optimiser))
    other[2].param_groups[0]["params"] = list(other[0].parameters())
    before = step(network, method, optimiser, batch, meta, config, 1)
    other_optimiser = torch.optim.SGD(other[0].parameters(), LR, 0.9, weight_decay=config.sgd.weight_decay)
    for mine, theirs in zip(other[0].parameters(), other[2].state.values(), strict=True):
        other_optimiser.state[mine]["momentum_buffer"] = theirs["momentum_buffer"].clone()
    step(other[0], other[1], other_optimiser, batch_of(1, 6), None, config, 1)
    weights = dict(other[0].named_parameters())
    assert before.meta == pytest.approx(meta_loss_at(weights, *other[:2], meta, config, 1).item(), rel=1e-9)


def test_lagged_follows_the_step_that_was_taken():
    """Its gradient is that of the exact form whose virtual step is the real one, at the same start."""
    gradients = []
    for change in ({"meta_step": "lagged"}, {"virtual_momentum": True}):
        config, network, method, optimiser = strong_parts("clp", **change)
        for number in range(2):
            meta = batch_of(9, 6, [0, 1, 2] * 2) if number else None
            step(network, method, optimiser, batch_of(number, 6), meta, config, number)
        gradients.append([tensor.grad for tensor in method.learned])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-13)


def test_the_first_clp_step_starts_from_plain_cross_entropy():
    method = method_of("clp", table_of([0] * 5 + [1] * 3))
    assert torch.equal(method.terms(view_of(4, 2)).delta, torch.zeros(4, 2))


def test_training_saliency_keeps_its_interval():
    config, network, method, optimiser = strong_parts("clp", saliency_interval=2)
    found = [step(network, method, optimiser, batch_of(k, 4), batch_of(9, 4), config, k).saliency for k in range(3)]
    assert [value is not None for value in found] == [True, False, True]


def test_a_broken_picture_stops_the_run_by_name():
    config, network, method, optimiser = strong_parts("erm")
    batch = replace(batch_of(0, 4), sample_id=torch.arange(100, 104))
    network.head.bias.data[2] = torch.nan
    with pytest.raises(DivergedError, match="step 5: the training loss is nan on samples 100, 101, 102, 103; lower"):
        step(network, method, optimiser, batch, None, config, 5)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("erm", {}, "the training loss is nan .*, so the learning rate is not at fault; raise the batch"),
        ("clp", {}, r"the train saliency is nan .* not at fault; raise .* or leave the term out \(saliency_lambda 0\)"),
        ("clp", {"saliency_on": "meta"}, "the training loss is nan .*, so the learning rate is not at fault"),
    ],
)  # fmt: skip
def test_a_first_step_that_fails_does_not_blame_the_learning_rate(method, settings, message):
    config, network, method, optimiser = strong_parts(method, **settings)
    network.head.bias.data[2] = torch.nan
    with pytest.raises(DivergedError, match=f"step 0: {message}"):
        step(network, method, optimiser, batch_of(0, 4), batch_of(1, 6), config, 0)


def test_learning_rate_drops_at_60_and_80_percent():
    settings = config_of(epochs=10, lr=0.1).sgd
    rates = [settings.lr * rate_factor(settings, epoch, 10) for epoch in range(10)]
    assert rates == pytest.approx([0.1] * 6 + [0.01] * 2 + [0.001] * 2)


@pytest.mark.parametrize("method", ["erm", "clp"])
def test_same_seed_same_weights(demo_shard, method):
    def run(seed, global_seed):
        torch.manual_seed(global_seed)  # nothing may depend on it
        config = config_of(meta=demo_shard, method=method, epochs=1, batch_size=40, seed=seed)
        return train(config, load(config))

    a, b, other = run(0, 1), run(0, 2), run(1, 1)
    assert all(torch.equal(v, b.last.state[k]) for k, v in a.last.state.items())
    assert a.last.metrics == b.last.metrics
    assert not torch.equal(a.last.state["stem.weight"], other.last.state["stem.weight"])


def test_the_selected_epoch_has_the_best_val_worst_group(demo_shard):
    config = config_of(meta=demo_shard, method="erm", epochs=4, batch_size=40)
    run = load(config)
    trained = train(config, run)
    best = max(trained.history, key=lambda line: (line["val_worst"], line["val_average"], line["epoch"]))
    assert trained.selected.epoch == best["epoch"]
    assert trained.selected.metrics["val"].worst == best["val_worst"]
    assert set(trained.selected.metrics) == set(trained.last.metrics) == {"val", "test"}
    assert torch.equal(trained.network.state_dict()["head.weight"], trained.selected.state["head.weight"])
    assert [line["meta_loss"] for line in trained.history] == [None] * 4


def test_without_val_nothing_is_selected(demo_shard):
    config = config_of(meta=demo_shard, method="erm", epochs=2, batch_size=40)
    run = load(config)
    del run.evaluation["val"]
    trained = train(config, run)
    assert trained.selected is None
    assert set(trained.last.metrics) == {"test"}
    assert "val_worst" not in trained.history[0]


def test_lagged_within_a_scope_is_at_the_weights_before_the_step():
    """By double backward: d/dOmega of the scope's gradient at the old weights, along v at the new ones."""
    config, network, method, optimiser = strong_parts("clp", meta_step="lagged", meta_scope="last-block")
    batch, meta = batch_of(0, 6), batch_of(9, 6, [0, 1, 2] * 2)
    before, omega = copy.deepcopy((network, method))
    step(network, method, optimiser, batch, meta, config, 0)
    out = before(batch.images)
    head = before.head.weight.detach()
    view = View(out.logits.detach(), out.features.detach(), head, batch.label, batch.group, batch.row)
    omega.observe(view)
    terms = omega.terms(view)
    scope = {name: dict(before.named_parameters())[name] for name in last_block(before)}
    gradients = torch.autograd.grad(objective(out.logits, batch.label, terms), scope.values(), create_graph=True)
    stepped = {name: w.detach().requires_grad_() for name, w in network.named_parameters() if name in scope}
    v = torch.autograd.grad(meta_loss_at(stepped, network, method, meta, config), stepped.values())
    mixed = torch.autograd.grad(gradients, omega.learned, [LR * part for part in v])
    for found, expected in zip(method.learned, mixed, strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(found.grad, -expected, rtol=1e-6, atol=1e-12)


def test_saliency_of_the_meta_batch_alone_is_told():
    """Where eq. (6) acts there alone; it is what the meta loss has more than without it, at a step of nothing."""
    told = {}
    for where, weight in (("meta", LAMBDA), ("train", LAMBDA), ("meta", 0.0)):
        config, network, method, optimiser = strong_parts("clp", saliency_on=where)
        method.saliency_weight = weight
        for group in optimiser.param_groups:
            group["lr"] = 0.0
        told[where, weight] = step(network, method, optimiser, batch_of(0, 6), batch_of(9, 6, [0, 1, 2] * 2), config, 0)
    alone, plain = told["meta", LAMBDA], told["meta", 0.0]
    assert alone.saliency == pytest.approx(alone.meta - plain.meta, rel=1e-9)
    assert alone.saliency > 0
    assert plain.saliency is None
    assert told["train", LAMBDA].saliency not in (None, alone.saliency)
