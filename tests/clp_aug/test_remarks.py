"""What is said of the data before any figure: what leaves little to train on, and nothing to measure on."""

import pytest

from clp_aug.config import AugmentConfig
from clp_aug.protocol.split import make_split
from clp_aug.remarks import remarks_of
from tests.clp_aug.datasets.tiny_sets import Table

NOTHING = "no val and no test pictures: clp-train can measure no accuracy"
LARGE = "the meta set takes {} of {} training pictures; a smaller --meta leaves more for training"


def remarks(dataset, **settings):
    config = AugmentConfig(dataset="folder", cf=("grey",), **settings)
    return remarks_of(dataset, make_split(dataset, config), config)


@pytest.mark.parametrize(
    ("val", "test", "meta_from", "expected"),
    [
        (0, 0, "train", (NOTHING,)), (2, 0, "train", ()), (0, 2, "train", ()), (2, 0, "val", (NOTHING,)),
        (2, 2, "val", ("no val pictures are left: no epoch can be selected, the last one is used",)),
    ],
)  # fmt: skip
def test_nothing_to_measure_on_is_known_before_training(val, test, meta_from, expected):
    assert remarks(Table([40, 40], val, test), meta="2/class", meta_from=meta_from) == expected


@pytest.mark.parametrize(
    ("meta", "more", "expected"),
    [
        ("4/class", {}, ()), ("5/class", {}, (LARGE.format(10, 40),)), ("38/balanced", {}, (LARGE.format(38, 40),)),
        ("5/class", {"keep_meta_in_train": True}, ()), ("5/class", {"meta_from": "val"}, ()),
        ("4/class", {"imbalance": 8.0}, ()), ("5/class", {"imbalance": 8.0, "img_max": "all"}, ()),
    ],
)  # fmt: skip
def test_a_meta_set_of_a_quarter_is_said_to_be_large(meta, more, expected):
    assert remarks(Table([20, 20], 9, 9), meta=meta, **more) == expected
