"""clp-augment with its networks on the accelerator: the same boxes and infills but for rounding."""

import numpy as np
import pytest

from clp_aug import pipeline
from clp_aug.config import AugmentConfig
from clp_aug.contract.shards import ShardReader
from tests.accelerator.beside_cpu import its_kernels

DEMO = {"dataset": "demo", "meta": "2/group", "limit": 12, "size": 64, "matte": "hatt"}
FILLS = [(("cagan",), ("random",)), (("tile",), ("mix-rand",))]


def overlap(a, b):
    """Return the intersection over the union of boxes (n, 4), row by row."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clip(0).prod(1)
    return both / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both)


def shard_on(device, path, cf, f):
    config = AugmentConfig(**DEMO, cf=cf, f=f, device=device, out=path)
    with its_kernels("none" if path.stem == "cpu" else device):
        return ShardReader(pipeline.augment(config).path)


@pytest.mark.parametrize(("cf", "f"), FILLS, ids=["networks fill", "a network finds boxes"])
def test_boxes_and_infills(cf, f, device, tmp_path):
    cpu, there = shard_on("cpu", tmp_path / "cpu.h5", cf, f), shard_on(device, tmp_path / "there.h5", cf, f)
    for name in ("train/box", "meta/box"):
        assert overlap(cpu.tables[name], there.tables[name]).min() > 0.9
        assert np.median(overlap(cpu.tables[name], there.tables[name])) == 1
    for name in ("meta/label", "meta/kind", "meta/fill", "meta/sample_id", "train/sample_id"):
        assert (cpu.tables[name] == there.tables[name]).all()
    same = np.flatnonzero((cpu.tables["meta/box"] == there.tables["meta/box"]).all(1))
    assert len(same) > 0.9 * len(cpu)
    apart = [np.abs(cpu.image(i).astype(int) - there.image(i)).max() for i in same]
    assert max(apart) <= 2
