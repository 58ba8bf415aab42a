"""A toy of four groups: a strong spurious axis, a weak true one. Methods that know groups must look past the first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clp_train import loop
from clp_train.checkpoint import Position
from clp_train.data import BoxedPictures
from clp_train.methods.base import TrainTable
from clp_train.models.parts import Output
from clp_train.optimiser import build_optimiser
from clp_train.scoring import score
from clp_train.stages import plan
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


def worst_group(name, seed=0):
    """Train as a run does, and return the accuracy of the worst group on fresh vectors."""
    stream, fresh = pictures(COUNTS, seed), pictures((500,) * 4, seed + 1000)
    table = TrainTable(stream.label, stream.group, 2, 4)
    config = config_of(name, OPTIONS.get(name), epochs=EPOCHS, batch_size=40, lr=0.1, schedule="constant", seed=seed)
    method = method_of(name, table, config.options, epochs=EPOCHS, batch_size=40)
    network, at = Net(), Position()
    for number, (stage, epochs) in enumerate(plan(method.stages, EPOCHS, "all")):
        method.enter(number, network)
        optimiser = build_optimiser(network, config, stage.rate)
        for epoch in epochs:
            for _ in loop.epoch_steps(
                loop.Part(stage, network, None, stream, None), epoch, method, optimiser, config, at
            ):
                pass
            at.losses = []
    right = score(network, fresh).logits.argmax(1) == fresh.label
    return min(right[fresh.group == g].double().mean().item() for g in range(4))


@pytest.fixture(scope="module")
def plain():
    return worst_group("erm")


@pytest.mark.parametrize("name", ["uw", "uw-sample", "group-dro", "coral", "lisa", "pde"])
def test_the_worst_group_is_better_than_without_knowing_groups(name, plain):
    assert worst_group(name) > plain + GAIN
