"""When eq. (6) is due: by its weight, the batch it is asked for, and the step."""

import pytest
import torch

from clp_train.algorithm.saliency import SaliencyTerm
from clp_train.algorithm.settings import SaliencySettings
from tests.clp_train.builders import batch_of, network_of

SPLITS = ("train", "meta")


@pytest.mark.parametrize("weight", [0.0, 0.2])
@pytest.mark.parametrize("interval", [1, 2, 5])
@pytest.mark.parametrize("on", ["both", "train", "meta"])
def test_due_over_steps_and_splits(on, interval, weight):
    term = SaliencyTerm(SaliencySettings(saliency_on=on, saliency_interval=interval), weight)
    for split in SPLITS:
        found = [step for step in range(11) if term.due(split, step)]
        acts = weight > 0 and on in ("both", split)
        assert found == (list(range(0, 11, interval)) if acts else [])


def test_the_methods_weight_counts_and_not_the_settings():
    """A method without the term has weight 0, whatever the settings of the run say."""
    assert not SaliencyTerm(SaliencySettings(saliency_lambda=0.7), 0.0).due("train", 0)
    assert SaliencyTerm(SaliencySettings(saliency_lambda=0.0), 0.7).due("train", 0)


@pytest.mark.parametrize("split", SPLITS)
def test_where_it_is_not_due_the_pass_is_the_plain_one(split):
    """No pass of its own, no gradients of pictures, no term."""
    network, batch, seen = network_of(), batch_of(), []
    term = SaliencyTerm(SaliencySettings(saliency_interval=2), 0.2)

    def forward(images):
        seen.append(images)
        return network(images)

    weights = dict(network.named_parameters())
    out, found = term.forward(forward, network, weights, batch, split, 1)
    assert found is None
    assert len(seen) == 1
    assert seen[0] is batch.images
    assert not seen[0].requires_grad
    torch.testing.assert_close(out.logits, network(batch.images).logits)
    out, found = term.forward(forward, network, weights, batch, split, 2)
    assert found.item() > 0
    assert seen[-1].requires_grad
    assert not batch.images.requires_grad
