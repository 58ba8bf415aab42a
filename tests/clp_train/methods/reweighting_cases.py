"""What the tests of L2RW, GLC, MentorNet and MFRW-MES share: settings, small tables, batches, a step by hand."""

import copy
from pathlib import Path

import torch
from torch.nn import functional as F

from clp_train.algorithm.characteristics import View
from clp_train.algorithm.table import TrainTable
from clp_train.models import build_model
from clp_train.models.parts import Output
from clp_train.pictures.types import Batch
from tests.clp_train.builders import build, config_of


def config_of(name, options=None, **settings):
    return config_of(meta=Path("x.h5"), method=name, options=options or {}, **settings)


def table_of(meta_label=(0, 1, 2), **known):
    label = torch.arange(12) % 3
    return TrainTable(label, label, 3, 3, ("cat", "fox", "owl"), torch.tensor(meta_label), **known)


def method_of(name, options=None, table=None, **settings):
    return build(config_of(name, options, **settings), table or table_of(), torch.Generator().manual_seed(0))


def network_of(seed=0):
    return build_model("resnet8", 3, [0.5] * 3, [0.25] * 3, torch.Generator().manual_seed(seed)).double().train()


def batch_of(n=7, seed=0):
    g = torch.Generator().manual_seed(seed)
    images, label = torch.rand(n, 3, 8, 8, dtype=torch.float64, generator=g), torch.randint(3, (n,), generator=g)
    inside, none = torch.zeros(n, 8, 8, dtype=torch.bool), torch.zeros(n, dtype=torch.uint8)
    return Batch(images, inside, label, label, none, torch.arange(n), torch.arange(n))


def meta_loss_after(network, moves, meta):
    """Return the meta loss once each weight has moved; the network stays as it is."""
    stepped = copy.deepcopy(network)
    with torch.no_grad():
        for w, move in zip(stepped.parameters(), moves, strict=True):
            w += move
        return F.cross_entropy(stepped(meta.images).logits, meta.label).item()


def scores_of(logits):
    """What `begin_stage` is given: the logits of a stream, as they are."""
    return lambda stream: Output(torch.zeros(len(logits), 4), {"meta": logits}[stream])


def view_of(logits, label, row, progress=0.0):
    return View(logits, torch.zeros(len(label), 4), torch.zeros(3, 4), label, label, row, progress)
