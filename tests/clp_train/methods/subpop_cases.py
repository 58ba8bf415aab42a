"""What the tests of the subpopulation methods share: random tables of groups (label, place) and random batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.table import TrainTable
from clp_train.models.parts import Output
from clp_train.pictures.types import Batch, Pictures
from tests.clp_train.builders import build, config_of, load


def config_of(name, options=None, **settings):
    return config_of(meta=Path("x.h5"), method=name, options=options or {}, **settings)


def small_run(config):
    """Return what a run reads, with few pictures to measure on."""
    run = load(config)
    few = {name: Pictures(*(v[::50] for v in vars(part).values())) for name, part in run.evaluation.items()}
    return replace(run, evaluation=few)


def table_of(counts, places=2):
    """Return the table of so many pictures in each group; group = label * places + place."""
    group = torch.repeat_interleave(torch.arange(len(counts)), torch.as_tensor(counts))
    return TrainTable(group // places, group, -(-len(counts) // places), len(counts))


def random_table(seed):
    """Return a table of 2 to 4 classes in 2 or 3 places, its pictures in no order, one group with a single one."""
    g = torch.Generator().manual_seed(seed)
    places, classes = 2 + seed % 2, int(torch.randint(2, 5, (), generator=g))
    counts = torch.randint(1, 20, (places * classes,), generator=g)
    counts[int(torch.randint(len(counts), (), generator=g))] = 1
    table = table_of(counts, places)
    order = torch.randperm(len(table.label), generator=g)
    return table._replace(label=table.label[order], group=table.group[order]), places


def method_of(name, table, options=None, **settings):
    return build(config_of(name, options, **settings), table, torch.Generator().manual_seed(0))


def seen(table, seed, n=None, width=5, group=None):
    """Return output, batch and view of some pictures; float64, with graphs to logits and features.

    group: of each picture; random ones of the table when None.
    """
    g = torch.Generator().manual_seed(seed + 1)
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


def assert_refused(name, message, **options):
    with pytest.raises(UsageError) as error:
        config_of(name, options)
    assert str(error.value) == message


def assert_needs_groups(name):
    label = torch.tensor([0, 0, 1, 1])
    with pytest.raises(UsageError) as error:
        method_of(name, TrainTable(label, label, 2, 2))
    assert str(error.value) == (
        f"--method {name}: its groups are the 2 classes; expected a data set that knows groups within classes, such as"
        " waterbirds; take a method without groups (clp-train --list-methods)"
    )
