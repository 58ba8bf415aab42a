"""A toy of four groups: what the background says lies in delta, and the meta step finds how much of it must."""

from __future__ import annotations

from dataclasses import replace

import torch

from clp_aug.contract.schema import COUNTERFACTUAL, ORIGINAL
from clp_train.algorithm.step import train_step
from clp_train.running.checkpoint import Position
from clp_train.running.epoch_steps import epoch_steps
from clp_train.running.meta_batches import MetaStream
from clp_train.running.part import Part
from tests.clp_train.builders import config_of, method_of, optimiser_of, stored, table_of
from tests.clp_train.methods.toy_cases import COUNTS, toy, vectors, worst_accuracy

ORACLES = ()
EPOCHS = 40
OPTIONS = {"background_share": 0.0, "background_step": 0.05}


def counterfactuals(originals):
    """The same vectors without what makes the label: the place alone."""
    hidden = originals.images * torch.tensor([0.0, 1.0])
    return replace(originals, images=hidden, kind=torch.full_like(originals.kind, COUNTERFACTUAL))


def trained(options, meta, seed=0):
    """Train CLP for which the background is the place; return the network and the share."""
    stream = vectors(COUNTS, seed)
    settings = {"epochs": EPOCHS, "batch_size": 40, "omega_start": "background", "saliency_lambda": 0.0}
    settings |= {"omega_lr": 1e-4, "lr": 0.1, "schedule": "constant", "momentum": 0.0, "weight_decay": 0.0}
    config = config_of("clp", options=options, seed=seed, **settings)
    method = method_of("clp", table_of(stream.label, stream.group, 2, 4), options, **settings)
    place = stream.group % 2
    share_of_own = torch.tensor([[0.95, 0.05], [0.05, 0.95]])
    method.prior = share_of_own[place].log()
    assembly, at = toy(config, method), Position()
    ((stage, epochs),), network = assembly.stages, assembly.network
    optimiser = optimiser_of(network, config)
    meta_stream = MetaStream(stored(meta), config.meta_batches, config.batches, seed)
    part = Part(stage, network, None, stored(stream), meta_stream)
    for epoch in epochs:
        list(epoch_steps(part, epoch, assembly, optimiser, at, train_step))
        at.losses = []
    return network, method.share.item()


def meta_of(counts, seed):
    """Originals of so many a group, and the counterfactual of each."""
    originals = vectors(counts, seed + 500)
    return originals.followed_by(counterfactuals(originals))


def test_the_meta_step_finds_how_much_of_the_background_must_be_taken_out():
    meta = meta_of((10,) * 4, 0)
    without, share = trained({"background_share": 0.0}, meta)
    assert share == 0
    found, share = trained(OPTIONS, meta)
    assert share > 0.7
    assert worst_accuracy(found, 0) > worst_accuracy(without, 0) + 0.1


def test_counterfactuals_find_it_where_the_originals_are_as_confounded_as_the_training_set():
    both = meta_of((19, 1, 1, 19), 1)
    originals = both.take((both.kind == ORIGINAL).nonzero().flatten())
    assert trained(OPTIONS, both, 1)[1] > trained(OPTIONS, originals, 1)[1] + 0.3
