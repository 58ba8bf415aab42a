"""What the tests of ISDA, MetaSAug and RISDA share: a small last layer, views of it, delta by loops, a step by hand."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from clp_train.algorithm.characteristics import View
from tests.clp_train.builders import generator, method_of, optimiser_of, table_of
from tests.clp_train.methods.head_alone import HeadAlone

TWELVE = torch.arange(12) % 3
"""Labels of three classes, as `batch_of(n=12)` has them."""


def entered(name, network, label=TWELVE, classes=3, **options):
    """Return a method that has entered its first stage."""
    method = method_of(name, table_of(label, classes=classes), options)
    method.enter(0, network)
    return method


def small(seed, classes=3, width=4, dtype=torch.float64):
    """Return what a method sees of a network: its last layer."""
    g = generator(seed)
    head = nn.Linear(width, classes).to(dtype)
    with torch.no_grad():
        head.weight.copy_(torch.randn(classes, width, generator=g))
    return HeadAlone(head)


def view_through(network, seed, n, progress, classes=3, dtype=torch.float64):
    """Return what a network shows of random pictures; none is of the last class."""
    g = generator(seed)
    features = torch.randn(n, network.head.in_features, generator=g, dtype=dtype)
    label = torch.randint(classes - 1, (n,), generator=g)
    with torch.no_grad():
        return View(
            network.head(features), features, network.head.weight.detach(), label, label, torch.arange(n), progress
        )


def delta_by_hand(weight, features, label, batch_label, strength, mixing=None):
    """strength / 2 (w_j - w_y)^T Sigma_y (w_j - w_y) from all features seen so far, picture by picture."""
    width = weight.shape[1]
    sigma = np.zeros((len(weight), width, width))
    for c in range(len(weight)):
        own = features[label == c].numpy()
        if len(own):
            sigma[c] = np.atleast_2d(np.cov(own.T, bias=True))
    if mixing is not None:
        sigma = np.einsum("ck,kab->cab", mixing, sigma)
    w = weight.detach().numpy()
    return [[strength / 2 * (w[j] - w[y]) @ sigma[y] @ (w[j] - w[y]) for j in range(len(w))] for y in batch_label]


def plain_step(network, batch, delta, weight, config):
    """SGD on the weighted mean of cross entropies, delta(network's head) followed by the gradient."""
    optimiser = optimiser_of(network, config)
    out = network(batch.images)
    losses = F.cross_entropy(
        out.logits + delta(network.head.weight, out.features.detach()), batch.label, reduction="none"
    )
    ((weight * losses).sum() / weight.sum()).backward()
    optimiser.step()


def isda_by_hand(weight, sigma, label, strength):
    return torch.stack([
        torch.stack([strength / 2 * (w - weight[y]) @ sigma[y] @ (w - weight[y]) for w in weight]) for y in label
    ])  # fmt: skip


def covariances(features, label):
    return torch.stack([features[label == c].T.cov(correction=0) for c in range(3)])


def assert_same_weights(a, b):
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y)
