"""An own loop's meta step: its gradient against finite differences through the real step of the optimiser."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, RMSprop

from clp_aug.contract.errors import SettingError
from clp_train import Bilevel, MetaLoader, Omega
from clp_train.algorithm.losses import meta_losses
from clp_train.algorithm.noise import replay_noise, same_noise
from tests.clp_train.algorithm.small_loops import (
    DOUBLE,
    LEARNED,
    batches,
    generator,
    network_of,
    omega_of,
    optimiser_of,
    shifted,
    tensor_of,
)

OPTIMISERS = {  # every one with the real step as its virtual one
    "sgd": (SGD, {"lr": 0.3}),
    "momentum": (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": (Adam, {"lr": 0.01, "weight_decay": 0.01}),
    "adamw": (AdamW, {"lr": 0.01}),
    "amsgrad": (AdamW, {"lr": 0.01, "amsgrad": True}),
}
CLOSE = {"forward": 1e-5, "central": 1e-5, "reference": 1e-5, "one-sided": 1e-3}  # of finite differences, which err too


def tensors(learned):
    return [learned] if isinstance(learned, torch.Tensor) else list(learned.parameters())


def meta_after_a_real_step(network, optimiser, x, y, meta, loss, learned, seed):
    """L_meta after a step of the optimiser itself, on copies, the obvious way; noise as the loop's object draws it."""
    network, optimiser = copy.deepcopy((network, optimiser))
    with same_noise(seed, torch.device("cpu")):
        optimiser.zero_grad()
        loss(network(x), y, learned).backward()
        optimiser.step()
        replay_noise()
        x_meta, y_meta, *kind = meta
        logits = network(x_meta)
        losses = meta_losses(logits, y_meta, *kind) if kind else F.cross_entropy(logits, y_meta, reduction="none")
    return losses.mean().item()


def assert_is_the_slope_of(value_at, learned, gradients, tolerance):
    """Compare gradients with central differences along random directions through all that is learned."""
    g, h = generator(7), 1e-5
    for _ in range(3):
        directions = [torch.randn(w.shape, generator=g, dtype=DOUBLE) for w in learned]

        def at(sign, directions=directions):
            with torch.no_grad():
                for w, d in zip(learned, directions, strict=True):
                    w += sign * h * d
            value = value_at()
            with torch.no_grad():
                for w, d in zip(learned, directions, strict=True):
                    w -= sign * h * d
            return value

        expected = (at(1) - at(-1)) / (2 * h)
        found = sum((a * d).sum().item() for a, d in zip(gradients, directions, strict=True))
        assert abs(expected) > 1e-7
        assert found == pytest.approx(expected, rel=tolerance, abs=1e-11)


@pytest.mark.parametrize("mode", CLOSE)
@pytest.mark.parametrize("kinds", [False, True], ids=["plain", "counterfactuals"])
@pytest.mark.parametrize("what", LEARNED)
@pytest.mark.parametrize(("kind", "settings"), OPTIMISERS.values(), ids=OPTIMISERS)
def test_the_gradient_is_that_of_the_meta_loss_after_the_real_step(kind, settings, what, kinds, mode):
    """After four steps, so that no moment is zero; batch norm, dropout and two groups of settings are in it."""
    make, loss = LEARNED[what]
    network, learned = network_of(), make()
    optimiser, meta = optimiser_of(network, kind, settings), batches(6, 1, 5, kinds)
    bilevel = Bilevel(network, optimiser, learned, meta, loss, mode=mode)
    *before, (x, y) = batches(count=5)
    for batch in before:
        bilevel.step(*batch)
    torch.manual_seed(11)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    start = copy.deepcopy((network, optimiser, learned))
    torch.manual_seed(11)
    bilevel.loss(x, y)
    gradients = [w.grad for w in tensors(learned)]
    network, optimiser, learned = start
    value = lambda: meta_after_a_real_step(network, optimiser, x, y, meta[0], loss, learned, seed)  # noqa: E731
    assert bilevel.meta_loss.item() == pytest.approx(value(), rel=1e-10)
    assert_is_the_slope_of(value, tensors(learned), gradients, CLOSE[mode])


@pytest.mark.parametrize("virtual", ["plain", "own"])
@pytest.mark.parametrize("kind", [SGD, RMSprop], ids=["sgd", "another"])
def test_the_plain_virtual_step_is_equation_8_whatever_the_optimiser(kind, virtual):
    network, s = network_of(), tensor_of()
    optimiser = kind(network.parameters(), 0.1)
    if virtual == "own" and kind is RMSprop:
        with pytest.raises(
            SettingError, match=r"^optimiser = RMSprop: its step is not known; .*; take virtual = plain$"
        ):
            Bilevel(network, optimiser, s, batches(6, 1, 5), shifted)
        return
    bilevel = Bilevel(network, optimiser, s, batches(6, 1, 5), shifted, virtual=virtual)
    torch.manual_seed(4)
    seed, (x, y) = int(torch.empty((), dtype=torch.int64).random_()), batches()[0]
    plain = copy.deepcopy(network)
    expected = meta_after_a_real_step(plain, SGD(plain.parameters(), 0.1), x, y, batches(6, 1, 5)[0], shifted, s, seed)
    torch.manual_seed(4)
    bilevel.loss(x, y)
    assert bilevel.meta_loss.item() == pytest.approx(expected, rel=1e-12)


def test_omega_learns_as_in_a_run_of_clp():
    """Three steps of the loop's object and of the trainer, from one start, are the same three steps."""
    from clp_train.algorithm.optimiser import build_optimiser
    from tests.clp_train.builders import batch_of, parts, step

    config, network, method, _ = parts("clp", saliency_lambda=0.0, virtual_momentum=True, hypergradient="forward")
    own = copy.deepcopy(network)
    omega = Omega(torch.tensor([5.0, 3.0, 2.0])).double()
    omega.load_state_dict(method.network.state_dict())
    taken = [batch_of(k, 6) for k in range(3)]
    metas = [batch_of(10 + k, 6, [0, 1, 2]) for k in range(3)]
    loader = [(meta.images, meta.label, meta.kind) for meta in metas]
    bilevel = Bilevel(own, build_optimiser(own, [own.head], config.sgd), omega, loader)
    optimiser = build_optimiser(network, [network.head], config.sgd)
    for number, (batch, meta) in enumerate(zip(taken, metas, strict=True)):
        losses = step(network, method, optimiser, batch, meta, config, number)
        loss = bilevel.step(batch.images, batch.label)
        assert (loss.item(), bilevel.meta_loss.item()) == pytest.approx((losses.train, losses.meta), rel=1e-9)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name], value, rtol=1e-6, atol=1e-9)
    for name, value in method.network.state_dict().items():
        torch.testing.assert_close(omega.state_dict()[name], value, rtol=1e-6, atol=1e-9)


def own_loop(bilevel, taken, optimiser):
    """The same step in the caller's hands."""
    for x, y in taken:
        loss = bilevel.loss(x, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def started(steps=0, **settings):
    network, learned = network_of(), omega_of()
    optimiser = optimiser_of(network, AdamW, {"lr": 0.01})
    return network, optimiser, learned, Bilevel(network, optimiser, learned, batches(6, 2, 5, True), **settings)


def state_of(network, learned):
    return [value.clone() for value in (*network.state_dict().values(), *learned.state_dict().values())]


def test_step_and_loss_are_two_ways_to_one_step():
    left = []
    for use in ("step", "loss"):
        torch.manual_seed(3)
        network, optimiser, omega, bilevel = started()
        if use == "loss":
            own_loop(bilevel, batches(), optimiser)
        else:
            losses = [bilevel.step(*batch) for batch in batches()]
            assert not any(loss.requires_grad for loss in losses)
        left.append(state_of(network, omega))
    assert all(torch.equal(a, b) for a, b in zip(*left, strict=True))


def test_a_loop_that_is_resumed_goes_on(tmp_path):
    whole, killed = started(), started()
    for number, batch in enumerate(batches()):
        if number == 3:
            network, optimiser, _, bilevel = killed
            torch.save([part.state_dict() for part in (network, optimiser, bilevel)], tmp_path / "state.pt")
            killed = started()
            next(killed[3].meta)  # the fourth batch of two is the second
            state = torch.load(tmp_path / "state.pt", weights_only=True)
            for part, kept in zip((killed[0], killed[1], killed[3]), state, strict=True):
                part.load_state_dict(kept)
        for parts in (whole, killed):
            torch.manual_seed(number)
            parts[3].step(*batch)
    a, b = (state_of(parts[0], parts[2]) for parts in (whole, killed))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_meta_step_is_taken_every_so_many_steps_and_leaves_the_network_alone():
    network, _, omega, bilevel = started(interval=3)
    moved = []
    for x, y in batches():
        before = state_of(network, omega)[:-4], [w.detach().clone() for w in omega.parameters()]
        torch.manual_seed(0)
        loss = bilevel.loss(x, y)
        moved.append(not all(torch.equal(a, b) for a, b in zip(before[1], omega.parameters(), strict=True)))
        assert all(torch.equal(a, b) for a, b in zip(before[0], network.parameters(), strict=False) if a.dim() == 4)
        assert loss.requires_grad
        assert all(w.grad is None for w in network.parameters())
    assert moved == [True, False, False, True, False, False]


def test_the_backward_pass_leaves_the_meta_gradient_as_it_is():
    _, _, omega, bilevel = started()
    loss = bilevel.loss(*batches()[0])
    before = [w.grad.clone() for w in omega.parameters()]
    loss.backward()
    assert all(torch.equal(a, w.grad) for a, w in zip(before, omega.parameters(), strict=True))
    assert all(w.requires_grad for w in omega.parameters())


def test_one_real_pass_moves_the_statistics_of_batch_norm():
    network, _, _, bilevel = started()
    for x, y in batches():
        bilevel.loss(x, y)
    assert network[1].num_batches_tracked.item() == 6


@pytest.mark.parametrize(("mode", "wrapped", "passes"), [
    ("central", False, 4), ("one-sided", False, 3), ("one-sided", True, 4),
])  # fmt: skip
def test_how_many_passes_a_step_takes(mode, wrapped, passes):
    """A wrapper may do something of its own before a pass, so beside one a one-sided difference takes both passes."""
    network, omega, calls = network_of(), omega_of(), []
    given = nn.DataParallel(network, device_ids=[]) if wrapped else network
    optimiser = optimiser_of(network, AdamW, {"lr": 0.01})
    bilevel = Bilevel(given, optimiser, omega, batches(6, 2, 5, True), mode=mode)
    network[0].register_forward_hook(lambda *_: calls.append(1))
    bilevel.loss(*batches()[0])
    assert len(calls) == passes


def test_what_a_seed_says_is_drawn_once_a_step():
    """The caller's own random numbers go on behind it the same, whatever the network draws."""
    drawn = []
    for mode in ("forward", "central", "one-sided"):
        bilevel = started(mode=mode)[3]
        torch.manual_seed(5)
        bilevel.loss(*batches()[0])
        drawn.append(torch.rand(()).item())
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.fixture
def shard(demo_shard):
    from clp_aug import ShardReader

    return ShardReader(demo_shard)


def test_a_shard_is_a_meta_set(shard):
    loader = MetaLoader(shard, batch_size=5, transform=lambda x: 2 * x, seed=3)
    passes = [list(loader) for _ in range(2)]
    assert len(passes[0]) == len(loader) == -(-len(shard) // 5)
    for parts in passes:
        x, y, kind = (torch.cat(part) for part in zip(*parts, strict=True))
        assert (x.dtype, y.dtype, kind.dtype) == (torch.float32, torch.int64, torch.uint8)
        assert sorted(y.tolist()) == sorted(shard.tables["meta/label"].tolist())
        assert sorted(kind.tolist()) == sorted(shard.tables["meta/kind"].tolist())
        expected = torch.from_numpy(shard.images()).permute(0, 3, 1, 2).float() / 255
        torch.testing.assert_close(x.sum((1, 2, 3)).sort().values, 2 * expected.sum((1, 2, 3)).sort().values)
    assert not torch.equal(passes[0][0][0], passes[1][0][0])
    with pytest.raises(SettingError, match=r"^batch_size = 0: expected a whole number >= 1$"):
        MetaLoader(shard, batch_size=0)


def test_a_loop_takes_an_open_shard_as_it_is(shard):
    classes = len(shard.header.class_names)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes))
    optimiser = AdamW(network.parameters(), 1e-2)
    omega = Omega(torch.ones(classes))
    bilevel = Bilevel(network, optimiser, omega, shard)
    for _ in range(3):
        bilevel.step(torch.rand(8, 3, 16, 16), torch.arange(8) % classes)
    assert bilevel.meta_loss > 0
    assert omega.last.weight.abs().max() > 0
