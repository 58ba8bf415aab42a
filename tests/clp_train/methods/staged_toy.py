"""A toy of four groups with a weak true axis, learnt in the stages of a method: networks start again, heads learn."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean

import torch

from clp_train.algorithm.step import train_step
from clp_train.evaluating.outputs import score
from clp_train.loading.features import Probe
from clp_train.running.checkpoint import Position
from clp_train.running.epoch_steps import epoch_steps
from clp_train.running.loop import restart
from clp_train.running.part import Part
from tests.clp_train.builders import config_of, generator, method_of, optimiser_of, stored, table_of
from tests.clp_train.methods.toy_cases import toy, vectors

COUNTS, EPOCHS, SEEDS = (570, 30, 30, 570), 4, 3


def weak_vectors(counts, seed):
    """Return vectors of which the label moves one number a little, and the place the other one a lot."""
    stream = vectors(counts, seed)
    signs = torch.stack([stream.group // 2, stream.group % 2], 1) * 2.0 - 1
    noise = torch.tensor([0.15, 0.25]) * torch.randn(len(signs), 2, generator=generator(seed + 100))
    return replace(stream, images=signs * torch.tensor([0.3, 1.0]) + noise)


def trained(name, options, seed):
    """Train as a run does; return the network."""
    stream, settings = weak_vectors(COUNTS, seed), {"epochs": EPOCHS, "batch_size": 40}
    config = config_of(name, options=options, lr=0.1, schedule="constant", seed=seed, **settings)
    method = method_of(name, table_of(stream.label, stream.group, 2, 4), options, seed, **settings)
    assembly, at = toy(config, method), Position()
    network = assembly.network
    for number, (stage, part) in enumerate(assembly.stages):
        method.begin_stage(number, lambda _: score(network, stream))
        restart(number, stage, assembly)
        method.enter(number, network)
        learner, pictures = network, stream
        if stage.trainable == "head":
            learner, pictures = Probe(network.head), replace(stream, images=score(network, stream).features)
        optimiser, learns = (
            optimiser_of(learner, config, stage.rate),
            Part(stage, learner, None, stored(pictures), None),
        )
        for epoch in part:
            assert list(epoch_steps(learns, epoch, assembly, optimiser, at, train_step))[-1]
            at.losses = []
    return network


def worst_group(name, options=None):
    """Return the accuracy of the worst group on fresh vectors, the mean over a few seeds."""
    return mean(worst_of(trained(name, options, seed), seed) for seed in range(SEEDS))


def worst_of(network, seed):
    """Return the accuracy of the worst group on fresh vectors."""
    fresh = weak_vectors((500,) * 4, seed + 1000)
    right = score(network, fresh).logits.argmax(1) == fresh.label
    return min(right[fresh.group == g].double().mean().item() for g in range(4))
