"""An own loop's meta step: networks and optimisers that are wrapped, and what does not fit, in one line."""

from types import FunctionType

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from clp_aug.contract.errors import SettingError, UsageError
from clp_train import Bilevel, Omega
from clp_train.algorithm.losses import DivergedError
from clp_train.algorithm.slopes import DIFFERENCES
from tests.clp_train.algorithm.small_loops import (
    DOUBLE,
    batches,
    network_of,
    omega_of,
    optimiser_of,
    shifted,
    tensor_of,
)


class Wrapped(nn.Module):
    """A network whose output is an object, as those of many libraries are."""

    class Out:
        def __init__(self, logits):
            self.logits = logits

    def __init__(self):
        super().__init__()
        self.inner = network_of()

    def forward(self, x):
        return self.Out(self.inner(x))


@pytest.mark.parametrize("wrap", ["an output with logits", "data parallel", "an optimiser within another"])
def test_what_is_wrapped_learns_the_same(wrap):
    gradients = []
    for wrapped in (False, True):
        network, omega = network_of(), omega_of()
        outer = network
        if wrapped and wrap == "an output with logits":
            outer = Wrapped()
            outer.inner = network
        if wrapped and wrap == "data parallel":
            outer = nn.DataParallel(network)
        optimiser = optimiser_of(network, AdamW, {"lr": 0.01})
        if wrapped and wrap == "an optimiser within another":
            inner, optimiser = optimiser, Adam(network.parameters())
            optimiser.optimizer = inner
        torch.manual_seed(0)
        Bilevel(outer, optimiser, omega, batches(6, 1, 5)).loss(*batches()[0])
        gradients.append([w.grad for w in omega.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_in_bfloat16_the_gradient_is_about_the_same():
    """Within autocast, whose rounding is 1 in 256."""
    gradients = []
    for low in (False, True):
        network, omega = network_of().float(), omega_of().float()
        optimiser = SGD(network.parameters(), 0.1)
        meta = [(x.float(), y) for x, y in batches(32, 1, 5)]
        (x, y), *_ = batches(32)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = Bilevel(network, optimiser, omega, meta, mode="central").loss(x.float(), y)
        assert loss.dtype == torch.float32
        gradients.append(torch.cat([w.grad.flatten() for w in omega.parameters()]))
    assert (gradients[1] - gradients[0]).norm() < 0.1 * gradients[0].norm()


class NoForwardMode(torch.autograd.Function):
    """The identity, without a forward-mode derivative."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g


class Odd(nn.Module):
    def forward(self, x):
        return NoForwardMode.apply(x)


def test_a_network_without_forward_mode_says_what_to_take():
    network = nn.Sequential(nn.Flatten(), Odd(), nn.Linear(75, 3)).double()
    network = nn.Sequential(nn.Flatten(), nn.Linear(75, 4), Odd(), nn.Linear(4, 3)).double()
    optimiser = SGD(network.parameters(), 0.1)
    bilevel = Bilevel(network, optimiser, tensor_of(), batches(6, 1, 5), shifted)
    with pytest.raises(
        SettingError, match=r"^mode = forward: the network has no such derivative .*; take mode = central$"
    ):
        bilevel.loss(*batches()[0])
    Bilevel(network, optimiser, tensor_of(), batches(6, 1, 5), shifted, mode="central").loss(*batches()[0])


def refused(**change):
    """Return arguments of which some are not fit; those that need the network or what is learned are functions."""
    network, s = network_of(), tensor_of()
    optimiser = SGD(network.parameters(), 0.1)
    usual = {"network": network, "optimiser": optimiser, "learned": s, "meta": batches(6, 1), "training_loss": shifted}
    given = {name: value(network, s) if isinstance(value, FunctionType) else value for name, value in change.items()}
    return usual | given


class Compiled(nn.Linear):
    _orig_mod = None


REFUSED = {
    "interval": ({"interval": 0}, r"^interval = 0: expected a whole number >= 1$"),
    "mode": ({"mode": "centre"}, r"^unknown mode 'centre': .*choose one of central, forward, one-sided, reference$"),
    "virtual": ({"virtual": "adam"}, r"^unknown virtual step 'adam': choose one of own, plain$"),
    "no loss": ({"training_loss": None}, r"^learned = Tensor: only Omega has a loss of its own; give training_loss"),
    "nothing learns": (
        {"learned": lambda n, s: [s.detach()]},
        r"^learned = list: nothing in it requires gradients; call requires_grad_\(\)$",
    ),
    "other weights": (
        {"optimiser": lambda n, s: SGD(nn.Linear(1, 1).parameters(), 0.1)},
        r"^optimiser = SGD: it moves no weight of the network; make it over network.parameters",
    ),
    "learned twice": (
        {"optimiser": lambda n, s: SGD([*n.parameters(), s], 0.1)},
        r"^optimiser = SGD: it also moves what the meta step learns; remove those tensors from it$",
    ),
    "a head": (
        {"head": lambda n, s: n[-1]},
        r"^head = Linear: has no effect together with training_loss; leave it out$",
    ),
    "no head": (
        {"training_loss": None, "learned": lambda n, s: Omega(torch.ones(4))},
        r"^head = None: the network has no linear layer with 4 outputs; give the layer of the logits as head$",
    ),
    "compiled": ({"network": lambda n, s: Compiled(1, 1)}, r"^network = Compiled: it is compiled; expected"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_one_line_at_the_door(change, message):
    with pytest.raises(UsageError, match=message):
        Bilevel(**refused(**change))


def test_what_shows_only_in_a_step_is_one_line():
    x, y = batches()[0]
    network = network_of()
    optimiser = SGD(network.parameters(), 0.1)
    message = (
        r"^meta = list: it gave no batches in its first or a later pass; expected a loader that can be read again$"
    )
    with pytest.raises(SettingError, match=message):
        Bilevel(network, optimiser, tensor_of(), [], shifted).loss(x, y)
    with pytest.raises(
        SettingError, match=r"^network = tuple: expected a network whose output is logits, or has .logits$"
    ):
        Bilevel(Pair(network), optimiser, tensor_of(), batches(6, 1), shifted).loss(x, y)
    wide = nn.Sequential(network_of(), nn.Linear(3, 3).double(), nn.Linear(3, 3).double())
    bilevel = Bilevel(wide, SGD(wide.parameters(), 0.1), omega_of(), batches(6, 1), head=nn.Linear(3, 3))
    with pytest.raises(SettingError, match=r"^head = the layer: its input is None; expected one row for each of 8 pic"):
        bilevel.loss(x, y)
    nan = [(torch.full((6, 3, 5, 5), torch.nan, dtype=DOUBLE), torch.zeros(6, dtype=torch.int64))]
    with pytest.raises(DivergedError, match=r"^step 0: the meta loss is nan; lower the learning rate"):
        Bilevel(network, optimiser, tensor_of(), nan, shifted).loss(x, y)


class Pair(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x), x


@pytest.mark.parametrize("mode", DIFFERENCES)
def test_mixed_precision_within_the_network_asks_for_forward_mode(mode):
    network = network_of()
    network._original_forward = network.forward
    optimiser = SGD(network.parameters(), 0.1)
    with pytest.raises(SettingError, match=rf"^mode = {mode}: the network rounds inside .*; take mode = forward$"):
        Bilevel(network, optimiser, omega_of(), batches(6, 1), mode=mode)
    Bilevel(network, optimiser, omega_of(), batches(6, 1))
