import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clp_aug.contract.errors import UsageError
from clp_aug.datasets.demo import Demo
from clp_aug.protocol.label_noise import noisy_labels
from clp_aug.protocol.long_tail import class_counts
from clp_aug.protocol.settings import ProtocolSettings
from clp_aug.protocol.split import Split, even_shares, make_split
from tests.clp_aug.datasets.tiny_sets import Table


def split_of(dataset, **settings) -> Split:
    return make_split(dataset, ProtocolSettings(**settings))


def parts(split):
    return {name: getattr(split, name) for name in ("train", "meta", "val", "test")}


SETTINGS = {
    "plain": {},
    "val": {"meta_from": "val"},
    "long tail": {"imbalance": 5},
    "noise": {"noise": "uniform:0.5"},
    "limit": {"limit": 17},
    "all": {"imbalance": 4, "noise": "flip:0.3", "limit": 30, "noise_seed": 9},
}


@pytest.mark.parametrize("groups", [False, True], ids=["classes", "groups"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_parts_are_disjoint_ordered_and_of_their_own_split(settings, groups):
    for seed in range(4):
        dataset = Table([40, 30, 50], val=12, test=7, groups=groups, seed=seed)
        split = split_of(dataset, meta="2/group" if groups else "5/class", seed=seed, **settings)
        rows = np.concatenate(list(parts(split).values()))
        assert len(set(rows)) == len(rows)
        for name, part in parts(split).items():
            assert part.dtype == np.int64
            assert (np.diff(dataset.samples.sample_id[part]) > 0).all()
            source = {"train": 0, "val": 1, "test": 2, "meta": 1 if settings.get("meta_from") else 0}[name]
            assert (dataset.samples.split[part] == source).all()
        assert (len(split.train_label), split.train_label.dtype) == (len(split.train), np.int64)
        assert len(split.val) + (len(split.meta) if settings.get("meta_from") else 0) == 36
        assert len(split.test) == 21
        if "noise" not in settings:
            np.testing.assert_array_equal(split.train_label, dataset.samples.label[split.train])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_equal_settings_give_equal_splits_and_seeds_differ(settings):
    dataset = Table([40, 30, 50], val=12, test=7)
    first, again, other = (split_of(dataset, meta="5/class", seed=seed, **settings) for seed in (1, 1, 2))
    for name in ("train", "meta", "val", "test", "train_label"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.report == again.report
    assert set(first.meta) != set(other.meta)


def test_rows_in_another_order_give_the_same_ids():
    dataset = Table([40, 30, 50], val=12, test=7)
    order = np.random.default_rng(1).permutation(len(dataset.samples.label))
    shuffled = Table([40, 30, 50], val=12, test=7)
    shuffled.samples = dataclasses.replace(
        dataset.samples,
        **{name: getattr(dataset.samples, name)[order] for name in ("sample_id", "label", "group", "split")},
    )
    a, b = (split_of(d, meta="5/class", imbalance=4, noise="flip:0.5", limit=40) for d in (dataset, shuffled))
    for name, part in parts(a).items():
        np.testing.assert_array_equal(dataset.samples.sample_id[part], shuffled.samples.sample_id[parts(b)[name]])
    np.testing.assert_array_equal(a.train_label, b.train_label)


CIFAR_LT = [  # classes, pictures a class, ratio, (first, last, total) without the meta set, and with all
    (10, 5000, 100, (4990, 49, 12380), (5000, 50, 12406)),
    (10, 5000, 10, (4990, 499, 20391), (5000, 500, 20431)),
    (100, 500, 100, (490, 4, 10626), (500, 5, 10847)),
    (100, 500, 10, (490, 49, 19183), (500, 50, 19573)),
]


def test_cifar_sized_long_tail():
    split = split_of(Table([5000] * 10, test=10), meta="10/class", imbalance=100)
    assert split.report == {
        "train": 12380,
        "meta": 100,
        "train_per_class": [4990, 2991, 1793, 1075, 644, 386, 231, 138, 83, 49],
        "meta_per_class": [10] * 10,
        "wrong_labels": 0,
        "val": 0,
        "test": 100,
    }


@pytest.mark.parametrize(("classes", "size", "ratio", "rest", "whole"), CIFAR_LT)
def test_both_conventions_of_cifar_lt(classes, size, ratio, rest, whole):
    dataset = Table([size] * classes)
    for img_max, (first, last, total) in (("rest", rest), ("all", whole)):
        split = split_of(dataset, meta="10/class", imbalance=ratio, img_max=img_max)
        counts = split.report["train_per_class"]
        assert (counts[0], counts[-1], sum(counts), split.report["train"]) == (first, last, total, total)
        assert split.report["meta_per_class"] == [10] * classes
        # the meta pictures are out of training but for those without which a class cannot have its count
        forced = sum(max(0, n - (size - 10)) for n in counts) if img_max == "all" else 0
        assert np.isin(split.meta, split.train).sum() == forced == split.report.get("meta_in_train", 0)
    assert first == size


def test_img_max_as_a_number_starts_the_tail_there_and_nests():
    dataset = Table([60, 60, 60])
    whole = split_of(dataset, meta="10/class", imbalance=4)
    short = split_of(dataset, meta="10/class", imbalance=4, img_max="20")
    large = split_of(dataset, meta="10/class", imbalance=4, img_max="999")
    assert np.bincount(dataset.samples.label[short.train]).tolist() == [20, 10, 5]
    assert set(short.train) < set(whole.train)
    assert np.array_equal(short.meta, whole.meta)
    assert np.array_equal(large.train, whole.train)


def test_img_max_all_keeps_the_meta_set_and_nests():
    dataset = Table([60, 60, 60])
    rest, whole, steeper = (
        split_of(dataset, meta="10/class", imbalance=r, img_max=m) for r, m in ((5, "rest"), (5, "all"), (9, "all"))
    )
    np.testing.assert_array_equal(rest.meta, whole.meta)
    assert whole.report["train_per_class"] == class_counts(60, 3, 5).tolist()
    assert set(steeper.train) < set(whole.train)
    val = split_of(Table([60, 60], val=10), meta="10/class", meta_from="val", imbalance=5, img_max="all")
    assert val.report["train_per_class"] == [60, 12]
    assert "meta_in_train" not in val.report
    assert len(val.val) == 0


def test_kept_meta_pictures_join_the_same_tail_with_clean_labels():
    dataset = Table([60, 60, 60])
    settings = {"meta": "10/class", "imbalance": 5, "noise": "uniform:0.9"}
    split, kept = split_of(dataset, **settings), split_of(dataset, keep_meta_in_train=True, **settings)
    np.testing.assert_array_equal(kept.meta, split.meta)
    assert set(kept.train) == set(split.train) | set(split.meta)
    labels = dict(zip(kept.train, kept.train_label, strict=True))
    assert [labels[row] for row in split.train] == split.train_label.tolist()
    assert [labels[row] for row in split.meta] == dataset.samples.label[split.meta].tolist()
    assert kept.report["train_per_class"] == (class_counts(50, 3, 5) + 10).tolist()


def test_a_whole_class_may_be_meta_when_it_is_kept():
    dataset = Table([5, 9])
    assert split_of(dataset, meta="5/class", keep_meta_in_train=True).report["train_per_class"] == [5, 9]
    with pytest.raises(
        UsageError, match=r"class 'class0' has 5 pictures to draw from, 6 are needed .* --keep-meta-in-train"
    ):
        split_of(dataset, meta="5/class")
    assert len(split_of(Table([5, 9], val=5), meta="5/class", meta_from="val").val) == 0


def test_noise_falls_on_training_labels_only_and_has_its_own_seed():
    dataset = Table([60, 60, 60])
    split = split_of(dataset, meta="10/class", noise="flip:0.5", noise_seed=4)
    np.testing.assert_array_equal(split.train_label, noisy_labels(dataset, split.train, "flip:0.5", 4))
    assert split.report["wrong_labels"] == (split.train_label != dataset.samples.label[split.train]).sum() > 40
    other = split_of(dataset, meta="10/class", noise="flip:0.5", noise_seed=5)
    np.testing.assert_array_equal(other.train, split.train)
    assert (other.train_label != split.train_label).any()
    # another split seed leaves the label of a picture that both train on as it was
    other = split_of(dataset, meta="10/class", noise="flip:0.5", noise_seed=4, seed=1)
    common = np.intersect1d(split.train, other.train)
    np.testing.assert_array_equal(
        split.train_label[np.isin(split.train, common)], other.train_label[np.isin(other.train, common)]
    )


def test_limit_spreads_over_groups_and_classes():
    demo = split_of(Demo(), meta="10/group", limit=300)
    assert demo.report["train_per_group"] == [85, 65, 65, 85]  # 65 is all that a rare group has left
    assert split_of(Table([5, 50, 50]), meta="1/class", limit=31).report["train_per_class"] == [4, 14, 13]
    assert split_of(Table([5, 5]), meta="1/class", limit=1000).report["train"] == 8
    with pytest.raises(UsageError, match=r"limit 3: fewer than one picture per group; use 4 or more"):
        split_of(Demo(), meta="10/group", limit=3)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8).filter(any), st.integers(0, 120))
def test_even_shares_are_dealt_out_one_at_a_time(sizes, total):
    expected = np.zeros(len(sizes), int)
    while expected.sum() < min(total, sum(sizes)):
        for cell, size in enumerate(sizes):
            if expected[cell] < size and expected.sum() < total:
                expected[cell] += 1
    np.testing.assert_array_equal(even_shares(np.array(sizes), total), expected)


WRONG = {
    "meta from": ({"meta_from": "test"}, r"meta_from = test: expected one of train, val"),
    "kept from val": (
        {"meta_from": "val", "keep_meta_in_train": True},
        r"keep_meta_in_train = True: the meta set comes from val; leave out one of the two",
    ),
    "img max": ({"imbalance": 2, "img_max": "most"}, r"img_max = most: choose one of rest, all, or a number of pict"),
    "img max zero": ({"imbalance": 2, "img_max": "0"}, r"img_max = 0: choose one of rest, all, or a number of pict"),
    "img max number without a tail": ({"img_max": "50"}, r"img_max = 50: it sets the start of a long tail, and there"),
    "img max without a tail": ({"img_max": "all"}, r"img_max = all: it sets .* is none; take imbalance = 100"),
    "img max and kept": (
        {"img_max": "all", "imbalance": 2, "keep_meta_in_train": True},
        r"img_max = all: its counts are those of .* without added meta pictures; leave out one of the two",
    ),
    "limit": ({"limit": 0}, r"limit = 0: expected a whole number >= 1"),
    "seed": ({"seed": -1}, r"seed = -1: expected a whole number from 0 to 9"),
    "huge seed": ({"seed": 10**400}, r"expected a whole number from 0 to 9"),
    "noise seed": ({"noise_seed": 2**32}, r"noise_seed = 4294967296: expected a whole number from 0 to 4.29497e\+09"),
    "noise": ({"noise": "flip"}, r"noise 'flip': expected one of uniform, flip, flip-similar"),
    "noise ratio": ({"noise": "flip:2"}, r"noise 'flip:2': expected one of"),
    "imbalance": ({"imbalance": 0}, r"imbalance = 0: expected a number from 1 to 1e\+06"),
    "meta": ({"meta": "ten"}, r"meta set 'ten': expected a count >= 1 and one of class, group, balanced, cluster"),
}


@pytest.mark.parametrize(("settings", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings_are_refused_without_a_data_set(settings, message):
    with pytest.raises(UsageError, match=message) as raised:
        ProtocolSettings(**{"meta": "2/class"} | settings)
    assert raised.value.exit_code == 2


def test_what_the_data_set_decides_unless_it_is_said():
    plain = ProtocolSettings()
    assert [plain.meta_of(name) for name in ("demo", "imagenet-glt", "mine")] == ["10/group", "10/cluster", None]
    assert [plain.meta_from_of(name) for name in ("demo", "imagenet-glt")] == ["train", "val"]
    assert ProtocolSettings(meta="3/class").meta_of("demo") == "3/class"
    with pytest.raises(UsageError, match=r"keep_meta_in_train = True: the meta set comes from val"):
        ProtocolSettings(keep_meta_in_train=True).meta_from_of("imagenet-glt")


def test_data_set_without_val_pictures():
    message = r"data set table has no val pictures to take the meta set from; use --meta-from train"
    with pytest.raises(UsageError, match=message):
        split_of(Table([9, 9]), meta="2/class", meta_from="val")


def test_data_set_without_training_pictures():
    with pytest.raises(UsageError, match=r"data set table has no training pictures; give it a train split"):
        split_of(Table([0, 0], val=3), meta="1/class", meta_from="val")
