"""Batch norm: frozen statistics, and a meta loss that is measured as in evaluation."""

import copy

import pytest
import torch

from clp_train.algorithm.losses import meta_losses
from clp_train.algorithm.saliency import saliency
from clp_train.algorithm.step import MetaObjective
from clp_train.loading.data import channel_statistics
from clp_train.models import build_model
from clp_train.pictures.keys import generator_for
from clp_train.running.assembly import step_rule
from tests.clp_train.builders import batch_of, config_of, parts, train


@pytest.mark.parametrize("lambda_", [0.0, 0.3])
def test_the_meta_loss_may_be_measured_as_in_evaluation(lambda_):
    """With running statistics each meta picture counts for itself; the training pass keeps those of its batch."""
    config, network, method, _ = parts("clp", meta_batch_norm="running", saliency_lambda=lambda_)
    plain, *_ = parts("clp", meta_batch_norm="batch", saliency_lambda=lambda_)
    meta, weights = batch_of(9, 6, [0, 1, 2] * 2), {n: w + 0.01 for n, w in network.named_parameters()}
    other = copy.deepcopy(network).eval()
    other.load_state_dict({n: w.detach() for n, w in weights.items()}, strict=False)
    before = {n: b.clone() for n, b in network.named_buffers()}
    found = MetaObjective(network, method, meta, step_rule(config), 0)(weights).item()
    alone = []
    for k in range(6):
        one = batch_of(9, 6, [0, 1, 2] * 2)
        image, inside, label, kind = (getattr(one, name)[k : k + 1] for name in ("images", "inside", "label", "kind"))
        image.requires_grad_()
        logits = other(image).logits
        alone.append(meta_losses(logits, label, kind) + lambda_ * saliency(image, logits, inside, label, "probability"))
    assert found == pytest.approx(torch.cat(alone).mean().item(), rel=1e-10)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(b, before[n]) for n, b in network.named_buffers())
    by_batch = MetaObjective(network, method, meta, step_rule(plain), 0)(weights).item()
    assert by_batch != pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize("method", ["erm", "clp"])
def test_frozen_batch_norm_keeps_its_statistics(loaded, demo_shard, method):
    start = build_model("resnet8", 2, *channel_statistics(loaded.train.images), generator_for(0, 0, "network"))
    config = config_of(meta=demo_shard, method=method, epochs=1, batch_size=40, freeze_batch_norm=True, lr=0.01)
    frozen = train(config, loaded).last.state
    moved = train(config_of(meta=demo_shard, method=method, epochs=1, batch_size=40, lr=0.01), loaded).last.state
    names = [name for name, _ in start.named_buffers()]
    assert any("running_mean" in name for name in names)
    assert all(torch.equal(frozen[name], start.get_buffer(name)) for name in names)
    assert not torch.equal(moved["bn.running_mean"], start.bn.running_mean)
    assert all(not torch.equal(frozen[name], w) for name, w in start.named_parameters() if "bn" in name)
