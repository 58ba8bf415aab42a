"""What the tests of the long-tail methods share: random batches and tables, classes renamed."""

from __future__ import annotations

import math

import torch

from clp_train.algorithm.characteristics import View
from clp_train.algorithm.objective import objective, sample_losses
from clp_train.models.heads import make_head
from tests.clp_train.builders import generator, method_of, table_of
from tests.clp_train.methods.shared_cases import counted_label


def of_counts(name, counts, names=(), **options):
    """Return a method for training pictures of so many a class."""
    return method_of(name, table_of(counted_label(counts), classes=len(counts), names=names), options)


def counts_of(seed, classes=None):
    """Return pictures of each class, as in a long tail, in no order; one class at least has a single one."""
    g = generator(seed)
    classes = classes or int(torch.randint(2, 9, (), generator=g))
    counts = (500 ** torch.rand(classes, generator=g, dtype=torch.float64)).long().tolist()
    counts[seed % classes] = 1
    return counts


def lacking_view(seed, classes, n=None, head="linear", progress=0.0, dtype=torch.float64):
    """Return a random batch that lacks some class, as a network with such a head shows it."""
    g = generator(seed + 1)
    n = n or int(torch.randint(1, 12, (), generator=g))
    features = torch.randn(n, 6, generator=g, dtype=dtype)
    last = make_head(head, 6, classes, g).to(dtype)
    label = torch.randint(max(1, classes - 1), (n,), generator=g)
    with torch.no_grad():
        logits = last(features)
    rows = torch.arange(n)
    return View(logits, features, last.weight.detach(), label, label, rows, progress)


def weights_by_hand(counts, beta):
    """(1 - beta) / (1 - beta^n) as 1 / (1 + beta + ... + beta^(n-1)), scaled to a sum of C."""
    raw = [1 / math.fsum(beta**k for k in range(n)) for n in counts]
    return [w * len(raw) / math.fsum(raw) for w in raw]


def losses_of(method, view):
    """Return the objective's parts, (n,), after the method has seen the batch, and the objective."""
    method.observe(view)
    terms = method.terms(view)
    return sample_losses(view.logits, view.label, terms), objective(view.logits, view.label, terms)


def assert_names_of_classes_do_not_matter(name, seed, head="linear", progress=0.0, **options):
    """Class c is called order[c] instead: every picture's loss stays what it was. Of twelve, "10" sorts before "2"."""
    counts = counts_of(seed, 12 if seed % 2 else None)
    order = torch.randperm(len(counts), generator=generator(seed))
    view = lacking_view(seed, len(counts), head=head, progress=progress)
    place = order.argsort()  # new name -> old name
    other = view._replace(
        logits=view.logits[:, place], head=view.head[place], label=order[view.label], group=order[view.label]
    )
    renamed = [counts[c] for c in place.tolist()]
    first, second = (
        losses_of(of_counts(name, counts, **options), view),
        losses_of(of_counts(name, renamed, **options), other),
    )
    torch.testing.assert_close(second[0], first[0])
    torch.testing.assert_close(second[1], first[1])
