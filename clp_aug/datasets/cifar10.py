"""READ CIFAR-10: ROOT or ROOT/cifar-10-batches-py with the published batches, or class folders. Ten classes."""

from __future__ import annotations

from pathlib import Path

from clp_aug.datasets import cifar
from clp_aug.datasets.base import Dataset

LAYOUT = cifar.Layout(
    name="cifar10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test=("test_batch",),
    meta="batches.meta",
    names_key="label_names",
    label_key="labels",
    classes=10,
)


def load(root: Path) -> Dataset:
    """Return CIFAR-10: 50,000 training and 10,000 test pictures of 32 x 32 when complete; see `cifar.load`."""
    return cifar.load(LAYOUT, root)
