"""Every data set may be read by several threads at once: the pictures are those that one thread reads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clp_aug.datasets import DATASETS, load_dataset
from tests.clp_aug.datasets.tar_builders import make_wds
from tests.clp_aug.datasets.tiny_sets import (
    make_cifar10,
    make_cifar100,
    make_folder,
    make_glt,
    make_lists,
    make_table,
    make_waterbirds,
)

FILES = [f"train/{label}/{i}{suffix}" for label in "ab" for i, suffix in enumerate((".png", ".jpg", ".bmp", ".gif"))]
MAKERS = {
    "demo": lambda root: root,
    "folder": lambda root: make_folder(root, FILES),
    "waterbirds": make_waterbirds,
    "cifar10": make_cifar10,
    "cifar100": make_cifar100,
    "table": make_table,
    "wds": make_wds,
    **dict.fromkeys(("imagenet-lt", "places-lt", "inaturalist18"), make_lists),
}


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("size", [None, 16])
def test_threads_read_what_one_thread_reads(tmp_path, name, size):
    dataset = load_dataset(name, MAKERS.get(name, make_glt)(tmp_path))
    rows = list(range(min(40, len(dataset.samples.name)))) * 3
    expected = [dataset.image(row, size) for row in rows]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: dataset.image(row, size), rows))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
