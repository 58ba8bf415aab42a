"""Noise that a network draws of itself: the same in every pass of a step, keyed by seed and step, and then gone."""

import pytest
import torch
from torch import nn

from clp_train.algorithm.hypergradient import hypergradient
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.noise import same_noise
from clp_train.algorithm.passes import virtual_pass
from clp_train.algorithm.slopes import SLOPES
from clp_train.models.parts import Output
from tests.clp_train.builders import batch_of, generator, optimiser_of, parts, step

CPU = torch.device("cpu")


class Noisy(nn.Module):
    """A classifier of features with dropout; head as all have it."""

    tail = ("head",)

    def __init__(self, share=0.5):
        super().__init__()
        self.body, self.head = nn.Linear(3 * 8 * 8, 20), nn.Linear(20, 3)
        self.drop = nn.Dropout(share)
        for values in self.parameters():
            nn.init.normal_(values, std=0.2, generator=generator(1))

    def forward(self, x):
        features = self.drop(self.body(x.flatten(1)).tanh())
        return Output(features, self.head(features))


def gradient_of(mode, keyed):
    """The hypergradient of a weight a picture, in float64; the meta loss looks at other pictures without noise."""
    network, batch = Noisy().double(), batch_of(seed=2, n=12)
    weight = torch.zeros(len(batch), dtype=torch.float64, requires_grad=True)
    meta = batch_of(seed=3)

    def meta_loss(weights):
        network.eval()
        loss = cross_entropy(virtual_pass(network, weights, meta.images).logits, meta.label).mean()
        network.train()
        return loss

    def behind(u):
        return (weight.sigmoid() * cross_entropy(u, batch.label)).mean()

    def solve():
        weights = dict(network.named_parameters())
        logits = network(batch.images).logits
        rates = [0.1] * len(weights)
        return hypergradient(network, weights, batch.images, logits, behind, (weight,), meta_loss, rates, mode=mode)

    if not keyed:
        torch.manual_seed(5)
        return solve().gradients[0]
    with same_noise(5, CPU):
        return solve().gradients[0]


@pytest.mark.parametrize("mode", SLOPES)
def test_the_hypergradient_of_a_noisy_network_is_that_of_the_double_backward(mode):
    expected, found = gradient_of("reference", keyed=True), gradient_of(mode, keyed=True)
    curvature = 2e-4 * expected.norm().item() if mode == "one-sided" else 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9 + curvature)
    without = gradient_of(mode, keyed=False)  # what it is about: a difference of two passes is then one of two noises
    assert (without - expected).norm() > 0.1 * expected.norm()


def test_every_pass_draws_the_same_and_what_was_drawn_before_goes_on():
    network, x = Noisy(), batch_of(dtype=torch.float32).images
    weights = dict(network.named_parameters())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with same_noise(7, CPU):
        first = network(x).logits
        assert all(torch.equal(virtual_pass(network, weights, x).logits, first) for _ in range(2))
    assert torch.equal(torch.rand(3), expected), "no other draw has moved"
    with same_noise(8, CPU):
        assert not torch.equal(network(x).logits, first)
    assert not torch.equal(network(x).logits, virtual_pass(network, weights, x).logits), "outside nothing is replayed"


def test_a_step_of_a_noisy_network_depends_on_seed_and_step_alone():
    def weights_after(number, draws):
        config, _, method, _ = parts("clp", saliency_lambda=0)
        network = Noisy().double()
        torch.rand(draws)
        step(network, method, optimiser_of(network, config), batch_of(1), batch_of(2), config, number)
        return torch.cat([w.detach().flatten() for w in network.parameters()])

    assert torch.equal(weights_after(3, 0), weights_after(3, 17))
    assert not torch.equal(weights_after(3, 0), weights_after(4, 0))
