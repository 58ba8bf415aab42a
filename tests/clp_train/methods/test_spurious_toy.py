"""A toy of four groups: a strong spurious axis, a weak true one. Methods that know groups must look past the first."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from clp_train.algorithm.optimiser import build_optimiser
from clp_train.algorithm.stages import plan
from clp_train.algorithm.table import TrainTable
from clp_train.evaluating.outputs import score
from clp_train.methods import METHODS
from clp_train.models.parts import Output
from clp_train.pictures.types import BoxedPictures
from clp_train.running import loop
from clp_train.running.checkpoint import Position
from tests.clp_train.methods.subpop_cases import config_of, method_of

ORACLES = ()
COUNTS = (285, 15, 15, 285)  # group = 2 label + place
EPOCHS = 20
OPTIONS = {"group-dro": {"eta": 0.1}, "pde": {"decay": 0.1, "interval": 2}}
GAIN = 0.05


class Net(nn.Module):
    """Two numbers -> 16 features -> two logits."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body, self.head = nn.Sequential(nn.Linear(2, 16), nn.ReLU()), nn.Linear(16, 2)

    def forward(self, x):
        features = self.body(x)
        return Output(features, self.head(features))


def pictures(counts, seed):
    """Return vectors in place of pictures: (label, weakly, and place, strongly) with noise."""
    g = torch.Generator().manual_seed(seed)
    group = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    signs = torch.stack([group // 2, group % 2], 1) * 2.0 - 1
    x, n = signs + torch.tensor([0.6, 0.25]) * torch.randn(len(group), 2, generator=g), len(group)
    return BoxedPictures(
        x, group // 2, group, torch.arange(n), torch.zeros(n, 4, dtype=torch.int64), torch.zeros(n, dtype=torch.uint8)
    )


def trained(name, stream, options, epochs=EPOCHS, batch_size=40, seed=0):
    """Train as a run does; return the network, the losses of all steps, and the groups of each step's batch."""
    table = TrainTable(stream.label, stream.group, 2, 4)
    settings = {"epochs": epochs, "batch_size": batch_size}
    config = config_of(name, options, lr=0.1, schedule="constant", seed=seed, **settings)
    method = method_of(name, table, options, **settings)
    network, at, losses, groups, observe = Net(), Position(), [], [], method.observe
    method.observe = lambda view: groups.append(view.group) or observe(view)
    for number, (stage, part) in enumerate(plan(method.stages, epochs, "all")):
        method.begin_stage(number, lambda _: score(network, stream))
        method.enter(number, network)
        optimiser = build_optimiser(network, config, stage.rate)
        for epoch in part:
            losses += loop.epoch_steps(
                loop.Part(stage, network, None, stream, None), epoch, method, optimiser, config, at
            )
            at.losses = []
    return network, [step.train for step in losses], groups


def worst_group(name, seed=0):
    """Return the accuracy of the worst group on fresh vectors."""
    fresh = pictures((500,) * 4, seed + 1000)
    network, _, _ = trained(name, pictures(COUNTS, seed), OPTIONS.get(name), seed=seed)
    right = score(network, fresh).logits.argmax(1) == fresh.label
    return min(right[fresh.group == g].double().mean().item() for g in range(4))


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
    network, losses, groups = trained(name, pictures((30, 7, 1, 12), 0), options, epochs=6, batch_size=4)
    assert len(losses) == len(groups) > 6
    assert all(math.isfinite(loss) for loss in losses)
    assert all(w.isfinite().all() for w in network.parameters())
    assert any(2 in own for own in groups), "the lone picture was learnt from"
    if name != "lisa":  # its batches have every group
        assert any(len(own.unique()) < 4 for own in groups)
    if name in ENVIRONMENTS:
        assert any(len((own % 2).unique()) == 1 for own in groups), "no batch lacked a place"
