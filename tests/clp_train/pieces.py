"""What tests of pieces of a run share: a small batch, a configuration with network, method and optimiser."""

from pathlib import Path

import torch

from clp_train.batches import Batch
from clp_train.config import TrainConfig
from clp_train.methods import build_method
from clp_train.methods.base import TrainTable
from clp_train.models import build_model
from clp_train.optimiser import build_optimiser

LABELS = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)


def a_batch(seed, n, kind=(0,)):
    generator = torch.Generator().manual_seed(seed)
    inside = torch.zeros(n, 8, 8, dtype=torch.bool)
    inside[:, 2:6, 2:6] = True
    images = torch.rand(n, 3, 8, 8, dtype=torch.float64, generator=generator)
    label, kind = torch.arange(n) % 3, torch.tensor(kind, dtype=torch.uint8).repeat(n)[:n]
    return Batch(images, inside, label, label, kind, torch.arange(n))


def parts(method, **settings):
    """Return configuration, float64 network, method and optimiser; Omega is not zero."""
    config = TrainConfig(meta=Path("x.h5"), method=method, **settings)
    network = build_model("resnet8", 3, [0.5] * 3, [0.25] * 3, torch.Generator().manual_seed(0)).double().train()
    filled = build_method(config, TrainTable(LABELS, LABELS, 3, 3), torch.Generator().manual_seed(1))
    if filled.learned:
        filled.network.double()
        filled.classes = type(filled.classes)(*(v.double() for v in filled.classes))
        torch.nn.init.normal_(filled.network.last.weight, generator=torch.Generator().manual_seed(2))
    return config, network, filled, build_optimiser(network, config)
