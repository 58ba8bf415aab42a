"""LOAD, features and training steps: what a picture costs, and what a step asks of a device."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from clp_aug.common.memory import keep_freed_memory
from clp_aug.common.progress import unwatched
from clp_train.algorithm.method import Context
from clp_train.algorithm.step import train_step
from clp_train.algorithm.table import TrainTable
from clp_train.config import make_config
from clp_train.evaluating.outputs import outputs
from clp_train.loading.data import Reader
from clp_train.loading.features import Probe
from clp_train.methods import build_method
from clp_train.models import build_model
from clp_train.models.parts import Classifier
from clp_train.pictures.keys import generator_for
from clp_train.pictures.types import Batch
from clp_train.running.assembly import step_rule
from experiments.scale.asking import asked
from experiments.scale.made import make_folder, thumbnails
from experiments.scale.timing import ROUNDS, cost, cost_of

SEVERAL = 64  # pictures that are decoded
CLASSES, FEATURES = 10, 1280
HEAD = "a head on 1,280 features"
NO_SALIENCY = {"saliency_lambda": 0.0}
ROWS: dict[str, dict[str, Any]] = {
    "plain": {"method": "erm"},
    "CLP exact": {"method": "clp"},
    "CLP exact, no saliency": {"method": "clp", **NO_SALIENCY},
    "CLP lagged": {"method": "clp", "meta_step": "lagged"},
    "CLP lagged, no saliency": {"method": "clp", "meta_step": "lagged", **NO_SALIENCY},
}
"""What is measured -> settings of the run; a meta batch is as large as a training batch."""


class Net(NamedTuple):
    """A network that is measured. size: of its pictures; batch: pictures a step; steps: in a round."""

    model: str
    size: int
    batch: int
    steps: int


NETS = {
    HEAD: Net("", 1, 200, 20),
    "resnet32": Net("resnet32", 32, 100, 1),
    "efficientnet-lite0": Net("efficientnet-lite0-scratch", 224, 4, 1),  # as fast with the weights as without
    "resnet50": Net("torchvision:resnet50", 224, 4, 1),
}


def measure_load(place: Path, size: int) -> dict[str, Any]:
    """Return what LOAD costs a picture with one worker. place: an empty folder."""
    dataset = make_folder(place, SEVERAL) if size > 32 else thumbnails()
    reader = Reader(dataset, size, "crop", unwatched, None)
    return {"size": size, "LOAD": cost(lambda: reader(np.arange(SEVERAL), "train"), SEVERAL)}


def measure_training(name: str) -> dict[str, Any]:
    """Return what one picture costs of features and of each kind of step of a network, and what a device is asked."""
    keep_freed_memory()  # as clp-train does
    net = NETS[name]
    found: dict[str, Any] = {"size": net.size, "batch": net.batch}
    if name != HEAD:
        network, generator = network_of(net), torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (net.batch, 3, net.size, net.size), dtype=torch.uint8, generator=generator)
        found["features"] = cost(lambda: list(outputs(network, [images] * net.steps)), net.steps * net.batch)
        found["asked, features"] = asked(lambda: list(outputs(network, [images])), net.batch)
        found["parameters"] = sum(weights.numel() for weights in network.parameters())
    rows = {
        row: Row(net, settings) for row, settings in ROWS.items() if name != HEAD or "no s" in row or row == "plain"
    }
    found["asked"] = {row: asked(one.step, net.batch) for row, one in rows.items()}  # warms up
    found["steps"] = interleaved(rows, net)
    return found


def network_of(net: Net) -> Classifier:
    """Return a network before its first step; a bare head where it has no name."""
    generator = generator_for(0, 0, "network")
    if not net.model:
        return Probe(torch.nn.Linear(FEATURES, CLASSES))
    network = build_model(net.model, CLASSES, [0.5] * 3, [0.25] * 3, generator)
    return network.to(memory_format=torch.channels_last)


def batch_of(net: Net, seed: int, kinds: int = 1) -> Batch:
    """Return random pictures with a centred box, kinds in turn; of a bare head random features."""
    generator, n = torch.Generator().manual_seed(seed), net.batch
    inside = torch.zeros(n, net.size, net.size, dtype=torch.bool)
    inside[:, net.size // 4 : -net.size // 4, net.size // 4 : -net.size // 4] = True
    label = torch.randint(CLASSES, (n,), generator=generator)
    kind = (torch.arange(n) % kinds).to(torch.uint8)
    shape = (n, 3, net.size, net.size) if net.model else (n, FEATURES)
    images = torch.rand(shape, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last) if net.model else images
    return Batch(images, inside, label, label, kind, torch.arange(n))


class Row:
    """One way to step, with its own network and method."""

    def __init__(self, net: Net, settings: dict[str, Any]) -> None:
        model = {"model": net.model} if net.model else {"trainable": "head"}
        config = make_config({"meta": "none", **model, **settings})
        self.network = network_of(net).train()
        self.train, self.meta = batch_of(net, 0), batch_of(net, 1, 3)
        table = TrainTable(self.train.label, self.train.label, CLASSES, CLASSES)
        context = Context(
            config.method, table, generator_for(0, 0, "method"), sgd=config.sgd, meta_step=config.meta_step,
            saliency=config.saliency,
        )  # fmt: skip
        self.method, self.rule = build_method(config.options, context), step_rule(config)
        self.optimiser = torch.optim.SGD(self.network.parameters(), 0.01, 0.9, weight_decay=5e-4)
        self.steps = 0

    def step(self) -> None:
        """Do one step."""
        meta = self.meta if self.method.learned else None
        train_step(self.network, self.method, self.optimiser, self.train, meta, self.rule, self.steps)
        self.steps += 1


def interleaved(rows: dict[str, Row], net: Net) -> dict[str, Any]:
    """Return what a picture costs of each kind of step; they take turns, round by round."""
    made: dict[str, list[float]] = {name: [] for name in rows}
    walls: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, row in rows.items():
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(net.steps):
                row.step()
            made[name].append(1000 * (time.process_time() - cpu) / net.steps / net.batch)
            walls[name].append(1000 * (time.perf_counter() - wall) / net.steps / net.batch)
    return {name: cost_of(made[name], walls[name]) for name in rows}
