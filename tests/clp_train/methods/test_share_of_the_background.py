"""A toy of four groups: what the background says lies in delta, and the meta step finds how much of it must."""

from __future__ import annotations

from dataclasses import replace

import torch

from clp_aug.contract.schema import COUNTERFACTUAL, ORIGINAL
from clp_train.algorithm.optimiser import build_optimiser
from clp_train.algorithm.stages import plan
from clp_train.algorithm.table import TrainTable
from clp_train.evaluating.outputs import score
from clp_train.running import loop
from clp_train.running.checkpoint import Position
from tests.clp_train.methods.subpop_cases import config_of, method_of
from tests.clp_train.methods.test_spurious_toy import COUNTS, Net, pictures

ORACLES = ()
EPOCHS = 40
OPTIONS = {"background_share": 0.0, "background_step": 0.05}


def counterfactuals(originals):
    """The same vectors without what makes the label: the place alone."""
    hidden = originals.images * torch.tensor([0.0, 1.0])
    return replace(originals, images=hidden, kind=torch.full_like(originals.kind, COUNTERFACTUAL))


def trained(options, meta, seed=0):
    """Train CLP for which the background is the place; return the network and the share."""
    stream = pictures(COUNTS, seed)
    table = TrainTable(stream.label, stream.group, 2, 4)
    settings = {"epochs": EPOCHS, "batch_size": 40, "omega_start": "background", "saliency_lambda": 0.0}
    settings |= {"omega_lr": 1e-4, "lr": 0.1, "schedule": "constant", "momentum": 0.0, "weight_decay": 0.0}
    config, method = config_of("clp", options, seed=seed, **settings), method_of("clp", table, options, **settings)
    place = stream.group % 2
    share_of_own = torch.tensor([[0.95, 0.05], [0.05, 0.95]])
    method.prior = share_of_own[place].log()
    network, at = Net(), Position()
    ((stage, epochs),) = plan(method.stages, EPOCHS, "all")
    optimiser = build_optimiser(network, config)
    for epoch in epochs:
        list(loop.epoch_steps(loop.Part(stage, network, None, stream, meta), epoch, method, optimiser, config, at))
        at.losses = []
    return network, method.share.item()


def worst_group(network, seed=0):
    """Return the accuracy of the worst group on fresh vectors."""
    fresh = pictures((500,) * 4, seed + 1000)
    right = score(network, fresh).logits.argmax(1) == fresh.label
    return min(right[fresh.group == g].double().mean().item() for g in range(4))


def meta_of(counts, seed):
    """Originals of so many a group, and the counterfactual of each."""
    originals = pictures(counts, seed + 500)
    return originals.followed_by(counterfactuals(originals))


def test_the_meta_step_finds_how_much_of_the_background_must_be_taken_out():
    meta = meta_of((10,) * 4, 0)
    without, share = trained({"background_share": 0.0}, meta)
    assert share == 0
    found, share = trained(OPTIONS, meta)
    assert share > 0.7
    assert worst_group(found) > worst_group(without) + 0.1


def test_counterfactuals_find_it_where_the_originals_are_as_confounded_as_the_training_set():
    both = meta_of((19, 1, 1, 19), 1)
    originals = both.take((both.kind == ORIGINAL).nonzero().flatten())
    assert trained(OPTIONS, both, 1)[1] > trained(OPTIONS, originals, 1)[1] + 0.3
