"""ImageNet-LT, Places-LT and iNaturalist 2018 as they are published: lists of paths and labels, and their strata."""

import numpy as np
import pytest

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.datasets import load_dataset, usual_meta
from clp_aug.datasets.strata import SHOTS, shot_strata, shots_of
from clp_aug.protocol.settings import ProtocolSettings
from clp_aug.protocol.split import make_split
from tests.clp_aug.datasets.tiny_sets import LISTS, make_lists, save_mask, save_picture

NAMES = {"imagenet-lt": "ImageNet_LT/ImageNet_LT", "places-lt": "Places_LT/Places_LT",
         "inaturalist18": "iNaturalist18/iNaturalist18"}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_lists(tmp_path_factory.mktemp("lists"))


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_has_the_split_and_label_of_its_line(root, name):
    dataset = load_dataset(name, root)
    place = {"train": 0, "val": 1, "test": 2} | ({"val": 2} if name == "inaturalist18" else {})
    expected = [
        (*line.split(), place[split])
        for split in LISTS[NAMES[name]]
        for line in (root / f"{NAMES[name]}_{split}.txt").read_text().splitlines()
    ]
    samples = dataset.samples
    found = zip(samples.name, map(str, samples.label), samples.split, strict=True)
    assert [tuple(row) for row in found] == expected
    assert dataset.class_names == ("0", "1", "2")
    assert list(dataset.strata) == ["shots"]


@pytest.mark.parametrize("name", NAMES)
def test_the_meta_set_that_is_taken_when_none_is_asked_for(root, name):
    """The validation set, but of iNaturalist, whose classes may have two training pictures."""
    dataset = load_dataset(name, root)
    if name == "inaturalist18":
        settings = ProtocolSettings(seed=1)
        with pytest.raises(UsageError, match=r"class '2' has 1 pictures to draw from, 2 are needed"):
            make_split(dataset, settings)
    else:
        assert usual_meta(dataset) == "10/class"
        split = make_split(dataset, ProtocolSettings(meta="1/class"))
        assert set(dataset.samples.split[split.meta]) == {1}


@pytest.mark.parametrize(
    ("count", "stratum"), [(0, 2), (1, 2), (19, 2), (20, 1), (21, 1), (100, 1), (101, 0), (1280, 0)]
)
def test_strata_at_their_borders(count, stratum):
    assert shots_of([count]).tolist() == [stratum]


def test_strata_count_training_pictures_alone(tmp_path):
    label = np.repeat(np.arange(4), (101, 100, 20, 19))
    more = np.concatenate([label, np.repeat(np.arange(4), 50)])
    split = np.concatenate([np.zeros(len(label), int), np.tile([1, 2], 100)])
    names, index = shot_strata(more, split, 4)["shots"]
    assert names == SHOTS
    assert index.tolist() == np.array([0, 1, 1, 2])[more].tolist()
    assert np.bincount(index[split == 0]).tolist() == [101, 120, 19]


@pytest.mark.parametrize("folder", ["", "ImageNet_LT", "data_txt/ImageNet_LT"])
def test_lists_beside_the_pictures_and_paths_of_another_machine(tmp_path, folder):
    for split in ("train", "val", "test"):
        lines = "".join(f"/data/imagenet/{split}/n{c}/a b {c}.JPEG {c}\n" for c in range(2)) + "\n"
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / f"ImageNet_LT_{split}.txt").write_text(lines)
        for c in range(2):
            save_picture(tmp_path / f"{split}/n{c}/a b {c}.JPEG", c)
    (tmp_path / folder / "classnames.txt").write_text("tench\ngoldfish\n")
    save_mask(tmp_path / "masks/train/n1/a b 1.png")
    dataset = load_dataset("imagenet-lt", tmp_path)
    assert dataset.samples.name[:2] == ["train/n0/a b 0.JPEG", "train/n1/a b 1.JPEG"]
    assert dataset.class_names == ("tench", "goldfish")
    assert list(dataset.annotations.masks) == [1]


def line(file, text):
    def change(root):
        path = root / f"ImageNet_LT/ImageNet_LT_{file}.txt"
        path.write_text(text + path.read_text())

    return change


def names(text):
    return lambda root: (root / "names.txt").write_text(text)


WRONG = {
    "no list": (lambda root: (root / "ImageNet_LT/ImageNet_LT_train.txt").unlink(),
                r"data set imagenet-lt: no ImageNet_LT_train.txt in .* or ImageNet_LT, data_txt/ImageNet_LT below"),
    "no val": (lambda root: (root / "ImageNet_LT/ImageNet_LT_val.txt").unlink(), r"no ImageNet_LT_val.txt in .*; put"),
    "empty": (lambda root: (root / "ImageNet_LT/ImageNet_LT_val.txt").write_text("\n"), r"val.txt: the list is empty"),
    "commas": (line("val", "a.jpg,3\n"), r"val.txt line 1: 'a.jpg,3'; expected a path, a blank and a label 0, 1, ...$"),
    "a word": (line("val", "\na.jpg cat\n"), r"val.txt line 2: 'a.jpg cat'; expected a path, a blank and a label 0"),
    "negative": (line("val", "a.jpg -1\n"), r"val.txt line 1: 'a.jpg -1'; expected a path, a blank and a label 0, 1"),
    "huge": (line("train", "a.jpg 100000\n"), r"train.txt line 1: label 100000; expected less than 100,000$"),
    "twice": (line("train", "train/n01440/n01440_0.JPEG 0\n"), r"train.txt: picture .* occurs twice"),
    "missing": (line("test", "val/none.JPEG 1\n"), r"test.txt: 1 of 7 pictures are missing, first .*none.JPEG"),
    "in two": (line("val", "train/n01440/n01440_0.JPEG 0\n"), r"val.txt line 1: .* is in .*train.txt line 1 already"),
    "outside": (line("val", "../a.jpg 1\n"), r"1 of 7 pictures are missing, first .*/\.\./a.jpg; restore"),
    "names": (names("one\ntwo\n"), r"names.txt: 2 names of 3 classes; expected one per line, by label$"),
    "long name": (names("one\ntwo\n" + "c" * 300), r"names.txt: a class name of 300 bytes"),
    "no text": (lambda root: (root / "ImageNet_LT/ImageNet_LT_val.txt").write_bytes(b"\xff\x00\x01"), r"not a CSV|UTF"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_lists(tmp_path, change, message):
    change(make_lists(tmp_path))
    with pytest.raises(InputError, match=message) as raised:
        load_dataset("imagenet-lt", tmp_path)
    assert "\n" not in str(raised.value)


def test_labels_without_training_pictures(tmp_path):
    make_lists(tmp_path)
    path = tmp_path / "ImageNet_LT/ImageNet_LT_train.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(text for text in lines if not text.endswith(" 2")))
    with pytest.raises(InputError, match=r"val.txt line 5: no training picture has label 2; expected 0..1$"):
        load_dataset("imagenet-lt", tmp_path)
    path.write_text("\n".join(text for text in lines if not text.endswith(" 1")))
    with pytest.raises(InputError, match=r"train.txt: no picture of label 1; expected all of 0..2$"):
        load_dataset("imagenet-lt", tmp_path)
