"""The saliency of a share of the batch, by hand."""

import copy

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from clp_train.algorithm.losses import meta_losses
from clp_train.algorithm.saliency import saliency
from clp_train.algorithm.step import MetaObjective
from clp_train.running.assembly import step_rule
from tests.clp_train.builders import batch_of, parts, step

LAMBDA = 40.0  # so that the term weighs as much as the cross entropy


def eq_6_of_first(net, weights, batch, k):
    """Return the mean of eq. (6) over the first k pictures, in a plain pass of theirs with statistics of their own."""
    images = batch.images[:k].detach().clone().requires_grad_()
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    logits = functional_call(net, {**weights, **buffers}, (images,)).logits
    return saliency(images, logits, batch.inside[:k], batch.label[:k], "probability").mean()


@pytest.mark.parametrize(("share", "k"), [(0.75, 6), (0.45, 4), (0.01, 2)])
def test_saliency_on_a_subset_is_by_hand(share, k):
    config, network, method, optimiser = parts("clp", saliency_lambda=LAMBDA, saliency_subset=share, weight_decay=0.0)
    net, batch = copy.deepcopy(network), batch_of(0, 8)
    seen, really = [], method.terms

    def terms(view):
        found = really(view)
        seen.append(found.delta.detach())
        return found

    method.terms = terms
    losses = step(network, method, optimiser, batch, None, config)
    weights = dict(net.named_parameters())
    term = LAMBDA * eq_6_of_first(net, weights, batch, k)
    ce = F.cross_entropy(net(batch.images).logits + seen[-1], batch.label)
    gradients = torch.autograd.grad(ce + term, weights.values())
    assert losses.saliency == pytest.approx(term.item(), rel=1e-10)
    assert losses.saliency > 0.01 * losses.train
    for w, expected in zip(network.parameters(), gradients, strict=True):
        torch.testing.assert_close(w.grad, expected, rtol=1e-9, atol=1e-12)
    for name, buffer in net.named_buffers():  # moved by the pass of the whole batch alone
        torch.testing.assert_close(network.get_buffer(name), buffer)


@pytest.mark.parametrize(("share", "k"), [(0.5, 3), (0.01, 2)])
def test_saliency_on_a_subset_of_the_metbatch_of(share, k):
    config, network, method, _ = parts("clp", saliency_lambda=LAMBDA, saliency_subset=share)
    meta, weights = batch_of(1, 6, (0, 1, 2)), dict(network.named_parameters())
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    logits = functional_call(network, {**weights, **buffers}, (meta.images,)).logits
    expected = meta_losses(logits, meta.label, meta.kind).mean() + LAMBDA * eq_6_of_first(network, weights, meta, k)
    found = MetaObjective(network, method, meta, step_rule(config), 0)(weights)
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)
    pairs = (torch.autograd.grad(value, tuple(weights.values())) for value in (found, expected))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
