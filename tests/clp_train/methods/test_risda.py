"""RISDA against a loop over pictures."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_train.algorithm.objective import Terms
from clp_train.methods.parts.class_weights import effective_weights
from clp_train.methods.risda import is_largest
from clp_train.models.parts import Output
from tests.clp_train.builders import generator
from tests.clp_train.methods.moments_cases import TWELVE, delta_by_hand, entered, small, view_through
from tests.clp_train.methods.shared_cases import assert_refused, assert_refuses_empty_classes

ORACLES = ("risda",)


def risda_knowledge(logits, features, label):
    """Return K and D, counted and summed picture by picture."""
    classes = logits.shape[1]
    taken, means = np.zeros((classes, classes)), np.zeros((classes, features.shape[1]))
    for z, f, y in zip(logits.numpy(), features.numpy(), label.tolist(), strict=True):
        n = (label == y).sum().item()
        taken[y, z.argmax()] += 1 / n
        means[y] += f / n
    shift = [sum(taken[c, k] * means[k] for k in range(classes)) - means[c] for c in range(classes)]
    return taken, np.stack(shift)


@pytest.mark.parametrize("head", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_risda_picture_by_picture(seed, head):
    g, classes, network = generator(seed), 4, small(seed, classes=4)
    counts = [7, 1, 12, 3]
    label = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))[torch.randperm(23, generator=g)]
    method = entered("risda", network, label, 4, start=0.5, strength=0.6, shift=0.4, head=head, beta=0.99)
    scored = Output(*(torch.randn(23, width, generator=g, dtype=torch.float64) for width in (4, 4)))
    asked = []

    def scores(stream):
        asked.append(stream)
        return scored

    for epoch in range(10):
        method.begin_epoch(epoch, 10, scores)
        assert asked == ["train"] * (epoch >= 5)  # once, when plain cross entropy ends
        if epoch == 4:
            view = view_through(network, seed, 6, 0.4, classes)
            method.observe(view)
            assert method.terms(view) == Terms()
    taken, shift = risda_knowledge(scored.logits, scored.features, label)
    order = [2, 0, 3, 1]  # by pictures
    keeping = order[: max(1, round(head * 4))]
    mixing = np.stack([np.eye(4)[c] if c in keeping else taken[c] for c in range(4)])
    w = network.head.weight.detach().numpy()
    features, seen = torch.zeros(0, 4), torch.zeros(0, dtype=int)
    for batch, n in enumerate((9, 1, 4)):
        view = view_through(network, 10 * seed + batch, n, 0.7, classes)
        features, seen = torch.cat([features, view.features]), torch.cat([seen, view.label])
        method.observe(view)
        terms = method.terms(view)
        expected = torch.tensor(delta_by_hand(network.head.weight, features, seen, view.label, 0.6 * 0.7, mixing))
        for i, y in enumerate(view.label.tolist()):
            for j in range(4):
                expected[i, j] += 0.4 * 0.7 * (w[j] - w[y]) @ shift[y]
        torch.testing.assert_close(terms.delta.detach(), expected)
        weights = effective_weights(torch.tensor(counts), 0.99).double()
        torch.testing.assert_close(terms.weight, weights[view.label])
        assert terms.normaliser == "sum_w"


def test_the_largest_classes_do_not_hang_on_their_order():
    assert is_largest(torch.tensor([3.0, 50, 1, 50, 7]), 0.4).tolist() == [False, True, False, True, False]
    assert is_largest(torch.tensor([5.0, 5, 5, 5]), 0.5).tolist() == [True] * 4  # equal classes are treated alike
    assert is_largest(torch.tensor([4.0, 9, 4, 1]), 0.5).tolist() == [True, True, True, False]
    assert is_largest(torch.tensor([5.0, 9]), 0.2).tolist() == [False, True]  # one at least


def test_risda_without_confusion_is_balanced_isda():
    """A classifier that is right about every picture gives K = 1 and D = 0."""
    network = small(0)
    risda, plain = (entered(name, network, strength=0.5) for name in ("risda", "isda"))
    right = Output(torch.randn(12, 4, dtype=torch.float64), F.one_hot(TWELVE, 3).double())
    risda.begin_epoch(8, 10, lambda _: right)
    for seed in range(3):
        view = view_through(network, seed, 6, 0.9)
        for method in (risda, plain):
            method.observe(view)
        torch.testing.assert_close(risda.terms(view).delta, plain.terms(view).delta)


def test_risda_refuses():
    assert_refuses_empty_classes("risda")
    assert_refused("risda", "shift = -0.5: expected a number >= 0", shift=-0.5)
    assert_refused("risda", "head = 1.2: expected a number from 0 to 1", head=1.2)
    assert_refused("risda", "start = -1.0: expected a number from 0 to 1", start=-1.0)
    assert_refused("risda", "beta = 1.0: expected a number >= 0 and < 1", beta=1.0)
