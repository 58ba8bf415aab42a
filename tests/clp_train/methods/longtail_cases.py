"""What the tests of the long-tail methods share: random batches and tables, classes renamed, the check of refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.objective import objective, sample_losses
from clp_train.algorithm.table import TrainTable
from clp_train.models.heads import make_head
from tests.clp_train.builders import build, config_of


def config_of(name, **options):
    return config_of(meta=Path("x.h5"), method=name, options=options)


def method_of(name, counts, names=(), **options):
    """Return a method for training pictures of so many a class."""
    label = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    table = TrainTable(label, label, len(counts), len(counts), names)
    return build(config_of(name, **options), table, torch.Generator().manual_seed(0))


def counts_of(seed, classes=None):
    """Return pictures of each class, as in a long tail, in no order; one class at least has a single one."""
    g = torch.Generator().manual_seed(seed)
    classes = classes or int(torch.randint(2, 9, (), generator=g))
    counts = (500 ** torch.rand(classes, generator=g, dtype=torch.float64)).long().tolist()
    counts[seed % classes] = 1
    return counts


def view_of(seed, classes, n=None, head="linear", progress=0.0, dtype=torch.float64):
    """Return a random batch that lacks some class, as a network with such a head shows it."""
    g = torch.Generator().manual_seed(seed + 1)
    n = n or int(torch.randint(1, 12, (), generator=g))
    features = torch.randn(n, 6, generator=g, dtype=dtype)
    last = make_head(head, 6, classes, g).to(dtype)
    label = torch.randint(max(1, classes - 1), (n,), generator=g)
    with torch.no_grad():
        logits = last(features)
    rows = torch.arange(n)
    return View(logits, features, last.weight.detach(), label, label, rows, progress)


def losses_of(method, view):
    """Return the objective's parts, (n,), after the method has seen the batch, and the objective."""
    method.observe(view)
    terms = method.terms(view)
    return sample_losses(view.logits, view.label, terms), objective(view.logits, view.label, terms)


def assert_names_of_classes_do_not_matter(name, seed, head="linear", progress=0.0, **options):
    """Class c is called order[c] instead: every picture's loss stays what it was. Of twelve, "10" sorts before "2"."""
    counts = counts_of(seed, 12 if seed % 2 else None)
    order = torch.randperm(len(counts), generator=torch.Generator().manual_seed(seed))
    view = view_of(seed, len(counts), head=head, progress=progress)
    place = order.argsort()  # new name -> old name
    other = view._replace(
        logits=view.logits[:, place], head=view.head[place], label=order[view.label], group=order[view.label]
    )
    renamed = [counts[c] for c in place.tolist()]
    first, second = (
        losses_of(method_of(name, counts, **options), view),
        losses_of(method_of(name, renamed, **options), other),
    )
    torch.testing.assert_close(second[0], first[0])
    torch.testing.assert_close(second[1], first[1])


def assert_refuses_empty_classes(name):
    with pytest.raises(UsageError) as error:
        method_of(name, [3, 0, 2], ("cat", "fox", "owl"))
    assert str(error.value) == (
        f"--method {name}: no training picture of class fox; expected one of each class at least; raise --limit, or"
        " leave the class out of the data set"
    )


def assert_refused(name, message, **options):
    with pytest.raises(UsageError) as error:
        config_of(name, **options)
    assert str(error.value) == message
