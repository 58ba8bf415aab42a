"""What tests of the trainer build: configurations, tables, views, batches, methods, small runs and shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clp_aug.common.progress import unwatched
from clp_aug.contract import schema
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context
from clp_train.algorithm.optimiser import build_optimiser
from clp_train.algorithm.step import train_step
from clp_train.algorithm.table import TrainTable
from clp_train.config import make_config
from clp_train.loading import data
from clp_train.methods import build_method
from clp_train.models import build_model
from clp_train.models.parts import heads
from clp_train.pictures.store import place
from clp_train.pictures.types import Batch
from clp_train.running import loop
from clp_train.running.assembly import assemble, assemble_with, step_rule
from tests.clp_aug.builders import write_shard

LABELS = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
FILLS = ("none", "strip", "random")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def config_of(method="clp", meta=Path("x.h5"), options=None, **settings):
    """Return a configuration; settings that the method does not use are left out, as those of a preset are."""
    return make_config({"meta": Path(meta), "method": method}, preset=settings, of_method=options)


def table_of(label, group=None, classes=None, groups=None, names=(), meta_label=None, wrong=0.0):
    """Return the table of pictures; groups are the classes unless they are given."""
    label = torch.as_tensor(label)
    classes = classes or int(label.max()) + 1
    group = label if group is None else torch.as_tensor(group)
    return TrainTable(label, group, classes, groups or classes, names, meta_label, wrong)


def context_of(config, table, seed=0):
    """Return the context of a method; seed: a number, or a generator, of its start values."""
    drawn = seed if isinstance(seed, torch.Generator) else generator(seed)
    return Context(
        config.method, table, drawn, config.run.seed, config.run.epochs, config.batches.batch_size,
        config.run.trainable, config.sgd, config.meta_step, config.saliency,
    )  # fmt: skip


def build(config, table, seed=0):
    """Return the method of a configuration; seed as in `context_of`."""
    return build_method(config.options, context_of(config, table, seed))


def method_of(name, table, options=None, seed=0, **settings):
    """Return a method of that name."""
    return build(config_of(name, options=options, **settings), table, seed)


def view_of(n=6, classes=3, width=4, groups=2, seed=0, dtype=torch.float32, row=None, progress=0.0):
    """Return what a random classifier shows of a batch; labels and groups in turn."""
    g, pictures = generator(seed), torch.arange(n)
    logits, features = (torch.randn(n, k, generator=g, dtype=dtype) for k in (classes, width))
    head = torch.randn(classes, width, generator=g, dtype=dtype)
    return View(logits, features, head, pictures % classes, pictures % groups, row, progress)


def batch_of(seed=0, n=6, kind=(0,), classes=3, side=8, dtype=torch.float64, rows=False):
    """Return a random batch with centred boxes, labels in turn and kinds in turn; rows: of the training stream, too."""
    g = generator(seed)
    inside = torch.zeros(n, side, side, dtype=torch.bool)
    inside[:, side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = True
    images = torch.rand(n, 3, side, side, dtype=dtype, generator=g)
    label, kinds = torch.arange(n) % classes, torch.tensor(kind, dtype=torch.uint8).repeat(n)[:n]
    return Batch(images, inside, label, label, kinds, torch.arange(n), torch.arange(n) if rows else None)


def network_of(classes=3, seed=0, model="resnet8"):
    """Return a classifier in float64, in training mode."""
    return build_model(model, classes, [0.5] * 3, [0.25] * 3, generator(seed)).double().train()


def optimiser_of(network, config, rate=1.0):
    """Return the optimiser of a network as a run of the configuration has it."""
    return build_optimiser(network, heads(network), config.sgd, rate)


def parts(method, **settings):
    """Return configuration, float64 network, method and optimiser; Omega is not zero."""
    config = config_of(method, **settings)
    network = network_of()
    filled = build(config, table_of(LABELS), 1)
    if filled.learned:
        filled.network.double()
        filled.classes = type(filled.classes)(*(v.double() for v in filled.classes))
        torch.nn.init.normal_(filled.network.last.weight, generator=generator(2))
    return config, network, filled, optimiser_of(network, config)


def stored(pictures):
    """Return the store of a stream on the CPU."""
    return place(pictures, "memory", torch.device("cpu"))


def step(network, method, optimiser, batch, meta, config, number=0, progress=0.0):
    """Do one step as a run of the configuration does it."""
    return train_step(network, method, optimiser, batch, meta, step_rule(config), number, progress)


def load(config, watch=unwatched):
    """Return what a run of a configuration reads."""
    return data.load(ShardReader(config.data.meta), config.data, config.run.seed, watch)


def train(
    config, run, on_step=lambda _: None, on_epoch=lambda _: None, checkpoint=None, resume=False, watch=unwatched,
    method=None, train_step=train_step, backgrounds=None,
):  # fmt: skip
    """Train a configuration on what was read. method: one that is made already, in place of the configuration's.

    backgrounds: what gives the scores of learnt backgrounds, in place of the configuration's.
    """
    assembly = assemble(config, run) if method is None else assemble_with(method, config, run)
    if backgrounds is not None:
        assembly = replace(assembly, backgrounds=backgrounds)
    return loop.train(assembly, loop.Hooks(on_step, on_epoch, watch, train_step), checkpoint, resume)


def box_of(alpha):
    ys, xs = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def strip_counterfactual(image, box):
    """Fill the box by repeating the widest strip of background to its left or right."""
    x0, y0, x1, y1 = box
    strip = image[y0:y1, :x0] if x0 >= image.shape[1] - x1 else image[y0:y1, x1:]
    out = image.copy()
    out[y0:y1, x0:x1] = np.tile(strip, (1, -(-(x1 - x0) // strip.shape[1]), 1))[:, : x1 - x0]
    return out


def random_factual(image, box, rng):
    """Fill everything but the box with one colour and noise."""
    x0, y0, x1, y1 = box
    out = np.clip(rng.uniform(size=3) + rng.normal(0, 0.2, image.shape), 0, 1) * 255
    out[y0:y1, x0:x1] = image[y0:y1, x0:x1]
    return out.astype(np.uint8)


def make_demo_shard(path, size=64, per_group=10, train=None, seed=0, split=0, noisy=False, settings=None, header=None):
    """Write a shard: `per_group` originals a group out of one split, a counterfactual and a factual of each.

    train: how many training pictures to list, the same from each group; None for all the others. noisy: every label
    is trained on as the other class, with "half" every other one.
    """
    dataset = load_dataset("demo")
    samples = dataset.samples
    rng = rng_for(seed, 0, "test shard")

    def pool(which):
        return [rng.permutation(np.flatnonzero((samples.split == which) & (samples.group == g))) for g in range(4)]

    meta = np.concatenate([rows[:per_group] for rows in pool(split)])
    rest = [np.setdiff1d(rows, meta) for rows in pool(0)]
    trained = np.sort(np.concatenate(rest if train is None else [rows[: train // 4] for rows in rest]))
    images, kind, fill, box = [], [], [], []
    for row in meta:
        original, where = dataset.image(row, size), box_of(dataset.alpha(row, size))
        images += [original, strip_counterfactual(original, where), random_factual(original, where, rng)]
        kind += [schema.ORIGINAL, schema.COUNTERFACTUAL, schema.FACTUAL]
        fill += [0, 1, 2]
        box += [where] * 3
    ids = np.repeat(samples.sample_id[meta], 3)
    zeros = {"meta/box_source": 3 * len(meta), "meta/outcome": 3 * len(meta)}
    zeros |= {"train/box_source": len(trained), "train/outcome": len(trained)}
    tables = {
        "meta/label": np.repeat(samples.label[meta], 3),
        "meta/kind": kind,
        "meta/fill": fill,
        "meta/box": box,
        "meta/sample_id": ids,
        "meta/parent_id": ids,
        "meta/group": np.repeat(samples.group[meta], 3),
        "train/sample_id": samples.sample_id[trained],
        "train/box": np.array([box_of(dataset.alpha(row, size)) for row in trained]).reshape(-1, 4),
    } | {name: np.zeros(n) for name, n in zeros.items()}
    if noisy:
        wrong = np.arange(len(trained)) % 2 == 0 if noisy == "half" else True
        tables["train/label"] = np.where(wrong, 1 - samples.label[trained], samples.label[trained])
    values = {
        "dataset": "demo",
        "class_names": dataset.class_names,
        "group_names": dataset.group_names,
        "fills": FILLS,
        "box_sources": ("given",),
        "settings": {"size": size, "fit": "crop"} | (settings or {}),
        "matte": {"name": "given", "sha256": "", "licence": ""},
        "fingerprint": dataset.fingerprint(),
        "seed": seed,
        "tool_version": "test",
    } | (header or {})
    write_shard(path, schema.Header(**values), tables, {"meta/images": [np.stack(images)]})
    return path
