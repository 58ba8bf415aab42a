"""A small shard of the built-in data set, made without clp-augment: boxes from the masks, two simple fills."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clp_aug.contract import schema
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets import load_dataset
from clp_train import data
from clp_train.config import TrainConfig
from tests.clp_aug.builders import write_shard

FILLS = ("none", "strip", "random")


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


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def demo_shard(tmp_path_factory):
    """80 training pictures and 24 meta pictures at 16 px."""
    return make_demo_shard(tmp_path_factory.mktemp("shard") / "demo.h5", size=16, per_group=2, train=80)


@pytest.fixture(scope="session")
def loaded(demo_shard):
    """That shard and its data set, read for a run; no test changes it."""
    return data.load(TrainConfig(meta=demo_shard))
