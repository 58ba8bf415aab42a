import pickle

import numpy as np
import pytest

from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_aug.contract.schema import FITS
from clp_aug.datasets import (
    DATASETS,
    DEFAULT_META,
    META_FROM_VAL,
    SHARED_ROOTS,
    WITH_ATTRIBUTES,
    find_root,
    load_dataset,
    usual_meta,
)
from clp_aug.protocol.specs import parse_meta
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


def _folder(root):
    return make_folder(root, ["train/cat/1.jpg", "train/dog/1.png", "val/cat/2.JPG", "test/dog/3.bmp"])


# name, maker, pictures by split (train, val, test), classes, groups, size of the first picture
ROWS = [
    ("demo", None, (3000, 200, 400), 2, 4, (64, 64)),
    ("folder", _folder, (2, 1, 1), 2, 0, (8, 6)),
    ("waterbirds", make_waterbirds, (12, 12, 12), 2, 4, (8, 6)),
    ("cifar10", make_cifar10, (10, 0, 2), 10, 0, (32, 32)),
    ("cifar100", make_cifar100, (100, 0, 2), 100, 0, (32, 32)),
    ("table", make_table, (27, 18, 9), 3, 9, (8, 6)),
    ("wds", make_wds, (6, 2, 2), 2, 0, (8, 6)),
    ("imagenet-lt", make_lists, (9, 6, 6), 3, 0, (8, 6)),
    ("places-lt", make_lists, (9, 6, 6), 3, 0, (8, 6)),
    ("inaturalist18", make_lists, (9, 0, 6), 3, 0, (8, 6)),
    # of the generalised long tail: train, val, then the tests, that of the first protocol first
    ("imagenet-glt", make_glt, (18, 6, 9, 9, 6), 3, 0, (8, 6)),
    ("imagenet-cbl", make_glt, (9, 6, 9, 9), 3, 0, (8, 6)),
    ("mscoco-glt", make_glt, (18, 6, 9, 9, 6), 3, 0, (8, 6)),
    ("mscoco-cbl", make_glt, (9, 6, 9, 9), 3, 0, (8, 6)),
    ("generated-glt", make_glt, (18, 6, 9, 9, 6), 3, 0, (8, 6)),
    ("generated-cbl", make_glt, (9, 6, 9, 9), 3, 0, (8, 6)),
]


def test_every_registered_data_set_has_a_row_and_a_default_meta_set():
    assert {row[0] for row in ROWS} == set(DATASETS) == set(DEFAULT_META) | set(WITH_ATTRIBUTES)
    assert set(META_FROM_VAL) < set(DATASETS)
    assert SHARED_ROOTS.items() < {(a, b) for a in DATASETS for b in DATASETS}


@pytest.mark.parametrize(("name", "make", "splits", "classes", "groups", "size"), ROWS, ids=[row[0] for row in ROWS])
def test_data_set(tmp_path, name, make, splits, classes, groups, size):
    if make:
        make(tmp_path)
    dataset = load_dataset(name, tmp_path)

    assert dataset.name == name
    assert tuple(np.bincount(dataset.samples.split, minlength=3)) == splits
    assert (len(dataset.class_names), len(dataset.group_names)) == (classes, groups)
    assert set(dataset.samples.label) == set(range(classes))
    assert dataset.source_size(0) == size
    picture = dataset.image(0)
    assert (picture.shape, picture.dtype) == ((size[1], size[0], 3), np.uint8)
    for fit in FITS:
        assert dataset.image(len(dataset.samples.label) - 1, 16, fit).shape == (16, 16, 3)

    copied = pickle.loads(pickle.dumps(dataset))  # what a spawned worker gets
    np.testing.assert_array_equal(copied.image(0), picture)
    assert copied.fingerprint() == dataset.fingerprint() == load_dataset(name, tmp_path).fingerprint()
    parse_meta(usual_meta(dataset))
    assert usual_meta(dataset).endswith("group") == bool(groups)


@pytest.mark.parametrize("root", ["x" * 300, "a\0b", "/".join("d" * 4000)], ids=["long", "null", "deep"])
def test_a_root_that_no_disk_has_is_a_missing_one(tmp_path, monkeypatch, root):
    with pytest.raises(InputError, match=r"^data set folder: no folder at .*; give it with --root DIR$"):
        load_dataset("folder", tmp_path / root)
    monkeypatch.setenv("CLP_DATA", "x" * 300)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^data set folder: no folder at x{300}/folder or data/folder; give it with"):
        load_dataset("folder")


def test_attributes_of_a_set_that_has_none_are_refused(tmp_path):
    with pytest.raises(SettingError, match=r"set folder has no columns to choose groups by; it is for table, wds$"):
        load_dataset("folder", tmp_path, ["place"])


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UsageError,
        match=r"unknown data set 'cifar': did you mean cifar10\? choose one of cifar10, cifar100, demo, folder",
    ):
        load_dataset("cifar")


def test_missing_root_lists_the_places(tmp_path, monkeypatch):
    monkeypatch.setenv("CLP_DATA", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no folder at .*store/waterbirds or data/waterbirds; give it with --root"):
        find_root("waterbirds", None)
    (tmp_path / "data/waterbirds").mkdir(parents=True)
    assert find_root("waterbirds", None).as_posix() == "data/waterbirds"
    (tmp_path / "store/waterbirds").mkdir(parents=True)
    assert find_root("waterbirds", None) == tmp_path / "store/waterbirds"
    (tmp_path / "store/imagenet-glt").mkdir()
    assert find_root("imagenet-cbl", None) == find_root("imagenet-glt", None) == tmp_path / "store/imagenet-glt"
