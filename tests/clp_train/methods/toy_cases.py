"""A toy of four groups: a strong spurious axis, a weak true one; a classifier of it; its steps as a run takes them."""

from __future__ import annotations

import torch
from torch import nn

from clp_train.algorithm.stages import plan
from clp_train.evaluating.outputs import score
from clp_train.models.parts import Output
from clp_train.pictures.types import BoxedPictures
from clp_train.running.assembly import Assembly, step_rule
from tests.clp_train.builders import generator

COUNTS = (285, 15, 15, 285)  # group = 2 label + place


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


def vectors(counts, seed):
    """Return vectors in place of pictures: (label, weakly, and place, strongly) with noise."""
    g = generator(seed)
    group = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    signs = torch.stack([group // 2, group % 2], 1) * 2.0 - 1
    x, n = signs + torch.tensor([0.6, 0.25]) * torch.randn(len(group), 2, generator=g), len(group)
    return BoxedPictures(
        x, group // 2, group, torch.arange(n), torch.zeros(n, 4, dtype=torch.int64), torch.zeros(n, dtype=torch.uint8)
    )


def toy(config, method):
    """Return what a run on such vectors takes, with the classifier; it is measured on nothing."""
    stages = plan(method.stages, config.run.epochs, "all")
    return Assembly(config, None, method, Net(), Net, stages, step_rule(config), None)


def worst_accuracy(network, seed):
    """Return the accuracy of the worst group on fresh vectors."""
    fresh = vectors((500,) * 4, seed + 1000)
    right = score(network, fresh).logits.argmax(1) == fresh.label
    return min(right[fresh.group == g].double().mean().item() for g in range(4))
