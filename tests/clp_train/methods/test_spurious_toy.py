"""A toy of four groups: a strong spurious axis, a weak true one. Methods that know groups must look past the first."""

from __future__ import annotations

import math

import pytest

from clp_train.algorithm.step import train_step
from clp_train.evaluating.outputs import score
from clp_train.methods import METHODS
from clp_train.running.checkpoint import Position
from clp_train.running.epoch_steps import epoch_steps
from clp_train.running.part import Part
from tests.clp_train.builders import config_of, method_of, optimiser_of, stored, table_of
from tests.clp_train.methods.toy_cases import COUNTS, toy, vectors, worst_accuracy

ORACLES = ()
EPOCHS = 20
OPTIONS = {"group-dro": {"eta": 0.1}, "pde": {"decay": 0.1, "interval": 2}}
GAIN = 0.05


def trained(name, stream, options, epochs=EPOCHS, batch_size=40, seed=0):
    """Train as a run does; return the network, the losses of all steps, and the groups of each step's batch."""
    table = table_of(stream.label, stream.group, 2, 4)
    settings = {"epochs": epochs, "batch_size": batch_size}
    config = config_of(name, options=options, lr=0.1, schedule="constant", seed=seed, **settings)
    method = method_of(name, table, options, **settings)
    assembly, at, losses, groups, observe = toy(config, method), Position(), [], [], method.observe
    network = assembly.network
    method.observe = lambda view: groups.append(view.group) or observe(view)
    for number, (stage, part) in enumerate(assembly.stages):
        method.begin_stage(number, lambda _: score(network, stream))
        method.enter(number, network)
        optimiser = optimiser_of(network, config, stage.rate)
        for epoch in part:
            learning = Part(stage, network, None, stored(stream), None)
            assert list(epoch_steps(learning, epoch, assembly, optimiser, at, train_step))[-1]
            losses += at.losses
            at.losses = []
    return network, [step.train for step in losses], groups


def worst_group(name, seed=0):
    """Return the accuracy of the worst group on fresh vectors."""
    network, _, _ = trained(name, vectors(COUNTS, seed), OPTIONS.get(name), seed=seed)
    return worst_accuracy(network, seed)


@pytest.fixture(scope="module")
def plain():
    return worst_group("erm")


@pytest.mark.parametrize("name", ["uw", "uw-sample", "group-dro", "coral", "lisa", "pde"])
def test_the_worst_group_is_better_than_without_knowing_groups(name, plain):
    assert worst_group(name) > plain + GAIN


ENVIRONMENTS = ("irm", "ib-irm", "v-rex", "coral")  # methods whose batches would have every place


@pytest.mark.parametrize("name", [n for n, e in METHODS.items() if "groups" in e.needs and "meta" not in e.needs])
def test_a_group_of_one_and_batches_without_a_group_or_a_place(name):
    """One waterbird on land, batches of four: some lack a group or a place, and every step is finite all the same."""
    options = {"batches": "natural"} if name in ENVIRONMENTS else None
    network, losses, groups = trained(name, vectors((30, 7, 1, 12), 0), options, epochs=6, batch_size=4)
    assert len(losses) == len(groups) > 6
    assert all(math.isfinite(loss) for loss in losses)
    assert all(w.isfinite().all() for w in network.parameters())
    assert any(2 in own for own in groups), "the lone picture was learnt from"
    if name != "lisa":  # its batches have every group
        assert any(len(own.unique()) < 4 for own in groups)
    if name in ENVIRONMENTS:
        assert any(len((own % 2).unique()) == 1 for own in groups), "no batch lacked a place"
