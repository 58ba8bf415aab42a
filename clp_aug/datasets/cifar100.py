"""READ CIFAR-100, fine labels: ROOT or ROOT/cifar-100-python with the published files, or class folders."""

from __future__ import annotations

from pathlib import Path

from clp_aug.datasets import cifar
from clp_aug.datasets.base import Dataset

LAYOUT = cifar.Layout(
    name="cifar100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    train=("train",),
    test=("test",),
    meta="meta",
    names_key="fine_label_names",
    label_key="fine_labels",
    classes=100,
)


def load(root: Path) -> Dataset:
    """Return CIFAR-100: 50,000 training and 10,000 test pictures of 32 x 32 when complete; see `cifar.load`."""
    return cifar.load(LAYOUT, root)
