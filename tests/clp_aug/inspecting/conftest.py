"""Shards to look at: a few pictures of the built-in set, and one with nothing optional and hostile names."""

import dataclasses

import numpy as np
import pytest

from clp_aug.contract import schema
from clp_aug.contract.schema import Header
from clp_aug.datasets import load_dataset
from tests.clp_aug.builders import write_shard

HOSTILE = "<script>document.title='owned'</script>\"'&{{ 7 * 7 }}"

HEADER = Header(
    dataset="demo",
    class_names=("ring", "cross"),
    group_names=("ring on temple", "ring on garden", "cross on temple", "cross on garden"),
    fills=(schema.NO_FILL, "grey", "tile", "random"),
    box_sources=("given", "centre"),
    settings={"cf": ["grey", "tile"], "f": ["random"], "size": 64, "matte": "given", "limit": None},
    matte={"name": "given", "sha256": None, "licence": None},
    fingerprint="ab" * 32,
    seed=0,
    tool_version="0.1",
)


@pytest.fixture(scope="session")
def demo_shard(tmp_path_factory):
    """12 originals of the built-in set, 3 a group; counterfactuals grey and tile in turn; every fourth a fallback."""
    data = load_dataset("demo")
    samples = data.samples
    rows = np.concatenate([np.flatnonzero((samples.group == g) & (samples.split == 0))[:3] for g in range(4)])
    pictures, mattes, table = [], [], []
    for k, row in enumerate(rows):
        picture, alpha = data.image(row), data.alpha(row)
        ys, xs = np.nonzero(alpha > 0.5)
        box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        inside = np.zeros((64, 64, 1), bool)
        inside[box[1] : box[3], box[0] : box[2]] = True
        noise = np.random.default_rng(k).integers(0, 256, picture.shape, np.uint8)
        flat = np.full_like(picture, 128 if k % 2 == 0 else 200)
        pictures += [picture, np.where(inside, flat, picture), np.where(inside, picture, noise)]
        mattes.append((alpha * 255).astype(np.uint8))
        outcome = schema.FALLBACK if k % 4 == 3 else schema.OK
        for kind, fill in ((0, 0), (1, 1 + k % 2), (2, 3)):
            table.append((samples.label[row], kind, fill, *box, row, samples.group[row], outcome))
    t = np.array(table)
    train = np.flatnonzero((samples.split == 0) & ~np.isin(np.arange(len(samples.label)), rows))[:3]
    path = tmp_path_factory.mktemp("shards") / "demo.h5"
    tables = {
        "meta/label": t[:, 0],
        "meta/kind": t[:, 1],
        "meta/fill": t[:, 2],
        "meta/box": t[:, 3:7],
        "meta/sample_id": t[:, 7],
        "meta/parent_id": t[:, 7],
        "meta/group": t[:, 8],
        "meta/outcome": t[:, 9],
        "meta/box_source": t[:, 9] == schema.FALLBACK,
        "train/sample_id": train,
        "train/box": np.array([(0, 0, 32, 32), (0, 0, 64, 32), (1, 1, 2, 2)]),
        "train/box_source": np.zeros(3),
        "train/outcome": np.array([0, 0, 1]),
        "look/sample_id": rows,
    }
    write_shard(path, HEADER, tables, {"meta/images": [np.stack(pictures)], "look/matte": [np.stack(mattes)]})
    return path


@pytest.fixture(scope="session")
def bare_shard(tmp_path_factory):
    """Two originals of 100 x 70 pixels without copies, mattes, groups or training boxes; names that attack a page."""
    images = np.random.default_rng(0).integers(0, 256, (2, 70, 100, 3), np.uint8)
    tables = {name: np.zeros(2) for name in schema.META if name != "meta/box"}
    tables |= {name: np.zeros(0) for name in schema.TRAIN if name not in ("train/box", "train/label")}
    tables["meta/box"], tables["train/box"] = np.array([(0, 0, 100, 70), (5, 6, 7, 8)]), np.zeros((0, 4))
    tables["meta/sample_id"] = tables["meta/parent_id"] = np.array([3, 4])
    tables["meta/group"] = np.full(2, schema.UNKNOWN_GROUP)
    header = dataclasses.replace(
        HEADER, dataset=HOSTILE, class_names=(HOSTILE,), group_names=(), settings={HOSTILE: HOSTILE}, matte={}
    )
    path = tmp_path_factory.mktemp("shards") / "bare.h5"
    write_shard(path, header, tables, {"meta/images": [images]})
    return path
