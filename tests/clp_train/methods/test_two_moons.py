"""Two half circles with 40 % wrong labels: what the methods make of right and wrong ones, in a few seconds."""

import pytest
import torch
from torch import nn

from clp_train.models.parts import Output, Peers, start_linear
from clp_train.pictures.types import Batch
from tests.clp_train.builders import config_of, generator, method_of, optimiser_of, step, table_of

ORACLES = ()  # nothing by hand here: see test_mentornet.py, test_l2rw.py, test_peers.py and others

STEPS, N = 60, 200


class Perceptron(nn.Module):
    """Points (n, 2) -> Output, 32 features."""

    tail = ("body.2.", "head.")

    def __init__(self, seed):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.head = nn.Linear(32, 2)
        g = generator(seed)
        for layer in (self.body[0], self.body[2], self.head):
            start_linear(layer, g)

    def forward(self, x):
        features = self.body(x)
        return Output(features, self.head(features))


def moons(n, seed, share):
    """Points, labels of which a share is wrong, and which of them are."""
    g = generator(seed)
    clean = torch.arange(n) % 2
    angle = torch.pi * torch.rand(n, generator=g)
    x = torch.stack([angle.cos() + clean, angle.sin() * (1 - 2 * clean) + 0.4 * clean], 1)
    wrong = torch.rand(n, generator=g) < share
    return x + 0.1 * torch.randn(n, 2, generator=g), torch.where(wrong, 1 - clean, clean), wrong


def points_batch(x, label, rows=True):
    n = len(label)
    nothing, ids = torch.zeros(n, dtype=torch.uint8), torch.arange(n)
    return Batch(x, torch.zeros(n, 0, 0, dtype=torch.bool), label, label, nothing, ids, ids if rows else None)


def weights_of(name, **options):
    """Train on the whole set at each step; return the mean weight of right and of wrong labels, summed over the second
    half of the steps.
    """
    x, label, wrong = moons(N, 0, 0.4)
    settings = {"epochs": STEPS, "lr": 0.2, "omega_lr": 0.01, "hypergradient": "forward"}
    config = config_of(name, options=options, **settings)
    table = table_of(label, wrong=0.4, meta_label=torch.arange(20) % 2)
    method = method_of(name, table, options, **settings)
    network = Perceptron(0) if method.networks == 1 else Peers(Perceptron(0), Perceptron(1))
    method.enter(0, network)
    optimiser, meta = optimiser_of(network, config), points_batch(*moons(20, 1, 0.0)[:2], rows=False)
    total = torch.zeros(N)
    weight_of, seen = method.terms, []
    method.terms = lambda view: seen.append(weight_of(view)) or seen[-1]
    for number in range(STEPS):
        shown = meta if method.learned else None
        step(network, method, optimiser, points_batch(x, label), shown, config, number, number / STEPS)
        if number >= STEPS // 2 and seen[-1].weight is not None:
            total += seen[-1].weight.detach()
    return total[~wrong].mean().item(), total[wrong].mean().item()


@pytest.mark.parametrize(
    ("name", "options"),
    [("l2rw", {}), ("mwn", {}), ("mentornet", {"percentile": 0.5}), ("co-teaching", {}), ("jocor", {"agreement": 0.1})],
)
def test_wrong_labels_weigh_less(name, options):
    right, wrong = weights_of(name, **options)
    assert wrong < 0.7 * right
