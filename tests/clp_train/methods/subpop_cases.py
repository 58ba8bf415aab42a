"""What the tests of the subpopulation methods share: random tables of groups (label, place) and random batches."""

from __future__ import annotations

from dataclasses import replace

import torch

from clp_train.algorithm.characteristics import View
from clp_train.models.parts import Output
from clp_train.pictures.types import Batch, Pictures
from tests.clp_train.builders import generator, load, table_of
from tests.clp_train.methods.shared_cases import counted_label


def small_run(config):
    """Return what a run reads, with few pictures to measure on."""
    run = load(config)
    few = {name: Pictures(*(v[::50] for v in vars(part).values())) for name, part in run.evaluation.items()}
    return replace(run, evaluation=few)


def of_groups(counts, places=2):
    """Return the table of so many pictures in each group; group = label * places + place."""
    group = counted_label(counts)
    return table_of(group // places, group, -(-len(counts) // places), len(counts))


def random_table(seed):
    """Return a table of 2 to 4 classes in 2 or 3 places, its pictures in no order, one group with a single one."""
    g = generator(seed)
    places, classes = 2 + seed % 2, int(torch.randint(2, 5, (), generator=g))
    counts = torch.randint(1, 20, (places * classes,), generator=g)
    counts[int(torch.randint(len(counts), (), generator=g))] = 1
    table = of_groups(counts, places)
    order = torch.randperm(len(table.label), generator=g)
    return table._replace(label=table.label[order], group=table.group[order]), places


def seen(table, seed, n=None, width=5, group=None):
    """Return output, batch and view of some pictures; float64, with graphs to logits and features.

    group: of each picture; random ones of the table when None.
    """
    g = generator(seed + 1)
    n = n or (int(torch.randint(1, 14, (), generator=g)) if group is None else len(group))
    rows = torch.randint(len(table.label), (n,), generator=g)
    if group is not None:
        rows = torch.tensor([int((table.group == own).nonzero()[0]) for own in group])
    features = torch.randn(n, width, generator=g, dtype=torch.float64).requires_grad_()
    head = torch.randn(table.classes, width, generator=g, dtype=torch.float64)
    logits = (2 * torch.randn(n, table.classes, generator=g, dtype=torch.float64)).requires_grad_()
    label, own = table.label[rows], table.group[rows]
    images = torch.rand(n, 3, 4, 4, generator=g, dtype=torch.float64)
    inside, kind = torch.zeros(n, 4, 4, dtype=torch.bool), torch.zeros(n, dtype=torch.uint8)
    batch = Batch(images, inside, label, own, kind, rows, rows)
    return Output(features, logits), batch, View(logits.detach(), features.detach(), head, label, own, rows)
