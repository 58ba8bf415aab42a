"""What an own loop has: a small network in float64, batches, and what may be learned, for tests of the meta step."""

import torch
from torch import nn
from torch.nn import functional as F

from clp_train import Omega

DOUBLE = torch.float64


def generator(seed):
    return torch.Generator().manual_seed(seed)


def network_of():
    """Batch norm, dropout, and layers of different learning rates."""
    torch.manual_seed(0)  # of this network's start
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(36, 3))
    return nn.Sequential(*layers).double()


def optimiser_of(network, kind, settings):
    head = {"params": network[-1].parameters(), "lr": 3 * settings["lr"], "weight_decay": 0.02}
    return kind([{"params": network[:-1].parameters()}, head], **settings)


def batches(n=8, count=6, seed=0, kinds=False):
    g = generator(seed)
    drawn = [
        (torch.rand(n, 3, 5, 5, generator=g, dtype=DOUBLE), torch.randint(3, (n,), generator=g)) for _ in range(count)
    ]
    return [(x, y, torch.arange(n).remainder(3).to(torch.uint8)) if kinds else (x, y) for x, y in drawn]


def omega_of(start=1):
    """An Omega that is not zero."""
    omega = Omega(torch.tensor([5.0, 3.0, 2.0]), generator=generator(start)).double()
    nn.init.normal_(omega.last.weight, std=0.3, generator=generator(start + 1))
    return omega


def weighted(logits, y, learned):
    return (learned[:, 0].sigmoid() * F.cross_entropy(2 * logits, y, reduction="none")).mean()


def shifted(logits, y, learned):
    return F.cross_entropy(logits + learned, y)


def weighted_by_a_net(logits, y, net):
    losses = F.cross_entropy(logits, y, reduction="none")
    return (net(losses.detach()[:, None]).squeeze(1).sigmoid() * losses).mean()


def tensor_of():
    return torch.randn(8, 3, generator=generator(3), dtype=DOUBLE).requires_grad_()


def net_of():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()


LEARNED = {
    "a weight each": (tensor_of, weighted),
    "a shift each": (tensor_of, shifted),
    "a net": (net_of, weighted_by_a_net),
}
