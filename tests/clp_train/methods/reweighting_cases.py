"""What the tests of L2RW, GLC, MentorNet and MFRW-MES share: a small table, scores, views, a step by hand."""

import copy

import torch
from torch.nn import functional as F

from clp_train.algorithm.characteristics import View
from clp_train.models.parts import Output
from tests.clp_train.builders import table_of


def with_meta(meta_label=(0, 1, 2)):
    """Return the table of twelve pictures of three classes, with such labels of clean ones."""
    return table_of(torch.arange(12) % 3, names=("cat", "fox", "owl"), meta_label=torch.tensor(meta_label))


def meta_loss_after(network, moves, meta):
    """Return the meta loss once each weight has moved; the network stays as it is."""
    stepped = copy.deepcopy(network)
    with torch.no_grad():
        for w, move in zip(stepped.parameters(), moves, strict=True):
            w += move
        return F.cross_entropy(stepped(meta.images).logits, meta.label).item()


def meta_scores(logits):
    """What `begin_stage` is given: the logits of a stream, as they are."""
    return lambda stream: Output(torch.zeros(len(logits), 4), {"meta": logits}[stream])


def logits_view(logits, label, row=None, progress=0.0):
    """Return a view of such logits, with nothing else in it."""
    classes = logits.shape[1]
    return View(logits, torch.zeros(len(label), 4), torch.zeros(classes, 4), label, label, row, progress)
