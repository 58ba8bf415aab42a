"""Data sets made in Python: arrays, torch data sets, and what somebody else's code returns."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.datasets.array_pictures import as_rgb
from clp_aug.datasets.arrays import as_dataset, from_arrays, from_torch
from clp_aug.datasets.demo import Demo

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (12, 6, 8, 3), np.uint8)
LABELS = np.arange(12) % 3
SPLITS = ["train"] * 8 + ["val"] * 2 + ["test"] * 2


class Mine(torch.utils.data.Dataset):
    """A user's own: PIL pictures with groups beside them."""

    classes = ("cat", "dog", "eel")

    def __init__(self, rows=range(12), **beside):
        self.rows = list(rows)
        vars(self).update(beside)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, k):
        return Image.fromarray(PICTURES[self.rows[k]]), int(LABELS[self.rows[k]])


class Random(Mine):
    def __getitem__(self, k):
        return torch.rand(3, 6, 8), 0


class Broken(Mine):
    def __getitem__(self, k):
        raise OSError("no\ndisk")


def same_pictures(dataset, rows=range(12)):
    return all(np.array_equal(dataset.image(i), PICTURES[row]) for i, row in enumerate(rows))


def test_arrays_with_all_that_may_lie_beside():
    boxes = np.full((12, 4), np.nan)
    boxes[0], boxes[1] = (1, 1, 4.5, 5), (2, 2, 2, 4)
    masks = [None, np.ones((6, 8), np.uint8)] + [None] * 10
    dataset = from_arrays(
        PICTURES, LABELS, groups=2 * LABELS, splits=SPLITS, boxes=boxes, masks=masks, class_names=Mine.classes,
        group_names=list("abcde"), sample_ids=np.arange(12) + 7, name="mine",
    )  # fmt: skip
    assert (dataset.name, dataset.class_names, dataset.group_names) == ("mine", Mine.classes, tuple("abcde"))
    assert dataset.samples.split.tolist() == [0] * 8 + [1] * 2 + [2] * 2
    assert dataset.samples.sample_id.tolist() == list(range(7, 19))
    assert dataset.samples.group.tolist() == (2 * LABELS).tolist()
    assert [dataset.box(row) for row in range(3)] == [(1, 1, 5, 5), None, None]
    assert dataset.box(0, 3) == (0, 0, 2, 3)
    assert dataset.alpha(1).min() == 1
    assert dataset.alpha(0) is None
    assert dataset.alpha(1, 4).shape == (4, 4)
    assert dataset.annotated
    assert same_pictures(dataset)
    assert dataset.image(2, 4, "stretch").shape == (4, 4, 3)
    assert dataset.source_size(3) == (8, 6)


FORMS = {
    "PIL": [Image.fromarray(picture) for picture in PICTURES],
    "tensors": torch.from_numpy(PICTURES).permute(0, 3, 1, 2),
    "tensors with channels last": torch.from_numpy(PICTURES),
    "floats": torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float() / 255,
    "doubles": PICTURES / 255,
    "whole numbers": PICTURES.astype(np.int64),
    "arrays with channels first": PICTURES.transpose(0, 3, 1, 2),
    "a list of arrays": list(PICTURES),
}


@pytest.mark.parametrize("pictures", FORMS.values(), ids=FORMS)
def test_pictures_in_many_forms_are_the_same_set(pictures):
    dataset, plain = from_arrays(pictures, LABELS), from_arrays(PICTURES, LABELS)
    assert same_pictures(dataset)
    assert dataset.fingerprint() == plain.fingerprint()
    rows = np.array([3, 1])
    assert dataset.digest(rows) == plain.digest(rows)


def test_grey_pictures_and_black_and_white_ones():
    grey = PICTURES[..., 0]
    for picture in (grey[0], grey[0][..., None], torch.from_numpy(grey[0]), torch.from_numpy(grey[:1])):
        np.testing.assert_array_equal(as_rgb(picture, "it"), np.repeat(grey[0][..., None], 3, 2))
    assert as_rgb(np.eye(3, dtype=bool), "it")[..., 0].tolist() == (np.eye(3) * 255).tolist()
    assert as_rgb(grey[0][:1], "it").shape == (1, 8, 3), "one line of grey is no channel"
    assert as_rgb(Image.fromarray(grey[0]), "it").shape == (6, 8, 3)


def test_a_fingerprint_is_of_the_content():
    changed = PICTURES.copy()
    changed[11, 5, 7, 2] ^= 1
    first, second = from_arrays(PICTURES, LABELS), from_arrays(changed, LABELS)
    assert first.fingerprint() != second.fingerprint()
    assert first.digest(np.array([0])) == second.digest(np.array([0]))
    assert first.digest(np.array([11])) != second.digest(np.array([11]))
    boxed = from_arrays(PICTURES, LABELS, boxes=[None] * 11 + [(0, 0, 3, 3)])
    assert boxed.annotations_digest() != first.annotations_digest() == ""
    assert boxed.digest(np.array([11])) != first.digest(np.array([11]))


def test_without_splits_some_of_each_class_are_held_out():
    dataset = from_arrays(np.repeat(PICTURES, 5, axis=0), np.repeat(LABELS, 5))
    counts = np.bincount(3 * dataset.samples.split.astype(int) + dataset.samples.label).reshape(3, 3)
    assert counts.tolist() == [[14, 14, 14], [2, 2, 2], [4, 4, 4]]
    assert dataset.remarks == ("no splits: val and test were held out of each class",)


TORCH = {
    "entries": Mine(),
    "tensors": TensorDataset(torch.from_numpy(PICTURES).permute(0, 3, 1, 2), torch.from_numpy(LABELS)),
    "targets": Mine(targets=LABELS.tolist()),
    "a part": Subset(Mine(targets=torch.from_numpy(LABELS)), list(range(12))),
    "mappings": [{"image": Image.fromarray(p), "label": int(y)} for p, y in zip(PICTURES, LABELS, strict=True)],
}


@pytest.mark.parametrize("data", TORCH.values(), ids=TORCH)
def test_torch_data_sets(data):
    dataset = from_torch(data, splits=SPLITS, name="mine")
    assert same_pictures(dataset)
    assert dataset.samples.label.tolist() == LABELS.tolist()
    assert dataset.class_names == (Mine.classes if isinstance(data, Mine) else ("0", "1", "2"))


def test_torch_data_sets_by_split():
    dataset = from_torch({"test": Mine([9, 3]), "train": Mine([0, 5, 1])}, groups=[0, 1, 0, 1, 1], name="mine")
    assert same_pictures(dataset, [0, 5, 1, 9, 3])
    assert dataset.samples.split.tolist() == [0, 0, 0, 2, 2]
    assert dataset.samples.label.tolist() == LABELS[[0, 5, 1, 9, 3]].tolist()
    assert dataset.samples.group.tolist() == [0, 1, 0, 1, 1]


def test_what_somebody_made_becomes_a_data_set():
    demo = Demo()
    assert as_dataset(demo, "mine") is demo
    groups, boxes = (2 * LABELS).tolist(), [(0, 0, 4, 4)] * 12
    dataset = as_dataset(Mine(groups=groups, splits=SPLITS, boxes=boxes, group_names=list("abcde")), "mine")
    assert (dataset.name, dataset.class_names, dataset.group_names) == ("mine", Mine.classes, tuple("abcde"))
    assert dataset.box(3) == (0, 0, 4, 4)
    assert dataset.samples.split[-1] == 2
    assert as_dataset({"train": Mine(), "val": Mine([2])}, "mine").samples.split.tolist() == [0] * 12 + [1]


def test_workers_get_a_copy():
    dataset = from_torch(Mine(), splits=SPLITS, boxes=[(0, 0, 4, 4)] * 12)
    copied = pickle.loads(pickle.dumps(dataset))
    assert copied.fingerprint() == dataset.fingerprint()
    assert same_pictures(copied)
    assert copied.box(0) == (0, 0, 4, 4)


@pytest.mark.parametrize("value", [None, 3, "a.csv", {"a": 1}, {}, iter([]), {"train": 5}])
def test_other_objects_are_refused(value):
    with pytest.raises(
        UsageError, match=r"^data set mine: it is a \w+; expected a clp_aug Dataset, or a torch Dataset w"
    ):
        as_dataset(value, "mine")


def arrays(pictures=PICTURES, labels=LABELS, **beside):
    return lambda: from_arrays(pictures, labels, **beside)


WRONG = {
    "labels of others": (arrays(labels=[0, 1]), r"labels of shape \(2,\); expected \(12,\), one per picture$"),
    "words": (arrays(labels=list("abcdefghijkl")), r"labels are <U1, 'a' first; expected whole numbers from 0$"),
    "fractions": (arrays(labels=LABELS + 0.5), r"labels are float64, '0.5' first; expected whole numbers from 0$"),
    "negative": (arrays(labels=LABELS - 1), r"labels from -1; expected whole numbers from 0$"),
    "groups": (arrays(groups=[[0]] * 12), r"groups of shape \(12, 1\); expected \(12,\)"),
    "names": (arrays(class_names=["a"]), r"1 class names, but a class 2; expected 3$"),
    "group names alone": (arrays(group_names=["a"]), r"group_names without groups; give both or neither$"),
    "split": (arrays(splits=["trian"] * 12), r"a split 'trian'; expected train, val, test or 0, 1, 2, one per picture"),
    "split number": (arrays(splits=[3] * 12), r"a split 3; expected train, val, test or 0, 1, 2"),
    "splits": (arrays(splits=["train"]), r"splits of shape \(1,\); expected train"),
    "boxes": (arrays(boxes=[(0, 0, 1)] * 12), r"boxes are not of shape \(12, 4\); expected x0, y0, x1, y1 per picture"),
    "ragged boxes": (arrays(boxes=[(0, 0, 1)] * 11 + [(1, 2)]), r"boxes are not of shape \(12, 4\)"),
    "a wrong box": (arrays(boxes=[(5, 0, 1, 4)] * 12), r"a box has invalid corners; expected 0 <= x0 < x1 and 0 <= y0"),
    "an infinite box": (arrays(boxes=[(0, 0, np.inf, 4)] * 12), r"a box has invalid corners; expected 0 <= x0 < x1"),
    "masks": (arrays(masks=[None]), r"masks of 1 pictures; expected 12$"),
    "ids twice": (arrays(sample_ids=[1] * 12), r"id 1 occurs twice; ids must differ$"),
    "nothing": (arrays(pictures=[]), r"no picture in it; expected at least one$"),
    "no entries": (arrays(pictures=5), r"pictures are a int; expected entries and a length$"),
    "normalised": (arrays(pictures=PICTURES / 255 - 0.5), r"picture 0 has values -0.\d+ to 0.\d+ of float64"),
    "levels as floats": (arrays(pictures=PICTURES.astype(float)), r"of float64; expected uint8, or floats in"),
    "five channels": (arrays(pictures=np.zeros((12, 5, 6, 7), np.uint8)), r"picture 0 is of shape .*; expected 1"),
    "numbers": (arrays(pictures=list(range(12))), r"picture 0 is a int; expected height x width x 3, or 3 x"),
    "not a number": (arrays(pictures=np.full((12, 4, 4, 3), np.nan)), r"holds float64 values, or values that are not "),
    "random": (lambda: from_torch(Random(), LABELS), r"picture 0 differs when it is read again; leave"),
    "broken": (lambda: from_torch(Broken(), LABELS), r"picture 0 cannot be read \(OSError: no disk\); repair the data"),
    "broken labels": (lambda: from_torch(Broken()), r"no label of entry 0 \(OSError: no disk\); expected"),
    "no labels": (lambda: from_torch(list(PICTURES)), r"entry 0 is a ndarray; expected \(picture, label\)$"),
    "a split's name": (lambda: from_torch({"tset": Mine()}), r"'tset' is no split; expected some of train, val, test$"),
    "splits twice": (lambda: from_torch({"test": Mine()}, splits=SPLITS), r"its parts are splits; leave out splits=$"),
    "a stream": (lambda: from_torch(iter([])), r"a list_iterator; expected a clp_aug Dataset, or a torch Dataset"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_one_line(make, message):
    with pytest.raises(InputError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("data set ")


def test_a_box_outside_its_picture_and_a_mask_of_another_shape():
    dataset = from_arrays(PICTURES, LABELS, boxes=[(0, 0, 9, 4)] * 12, masks=[np.zeros((4, 4))] * 12)
    with pytest.raises(
        InputError, match=r"box \(0.0, 0.0, 9.0, 4.0\) of picture 0 is not inside its 8 x 6 pixels; expected"
    ):
        dataset.box(0)
    with pytest.raises(InputError, match=r"mask 0 is \(4, 4\); expected \(6, 8\)$"):
        dataset.alpha(0)
