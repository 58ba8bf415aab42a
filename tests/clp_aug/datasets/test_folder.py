import os
import sys

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets import folder
from clp_aug.datasets.base import TEST, TRAIN, VAL
from tests.clp_aug.datasets.tiny_sets import make_folder, save_mask


def test_class_folders_in_the_order_of_their_paths(tmp_path):
    make_folder(tmp_path, ["dog/b.png", "dog/a.JPG", "cat/10.jpg", "cat/9.jpeg"])
    dataset = folder.load(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.samples.name == ["cat/10.jpg", "cat/9.jpeg", "dog/a.JPG", "dog/b.png"]
    np.testing.assert_array_equal(dataset.samples.label, [0, 0, 1, 1])
    np.testing.assert_array_equal(dataset.samples.split, TRAIN)  # too few to hold out any
    np.testing.assert_array_equal(dataset.samples.sample_id, [0, 1, 2, 3])
    assert not dataset.annotated
    assert dataset.alpha(0) is None


def test_without_a_train_folder_a_share_of_each_class_is_held_out(tmp_path):
    make_folder(tmp_path, [f"{c}/{i}.jpg" for c, n in (("cat", 40), ("dog", 19), ("eel", 4)) for i in range(n)])
    dataset, same = folder.load(tmp_path), folder.load(tmp_path)
    assert dataset.fingerprint() == same.fingerprint()
    label, split = dataset.samples.label, dataset.samples.split
    found = [np.bincount(split[label == c], minlength=3).tolist() for c in range(3)]
    assert found == [[28, 4, 8], [15, 1, 3], [4, 0, 0]]  # train, val, test
    cats = np.flatnonzero((split == TEST) & (label == 0)).tolist()
    assert cats not in ([*range(8)], [*range(32, 40)]), "neither the first nor the last names"
    assert dataset.remarks[0].startswith("no train/ folder: val and test were held out of each class by file name")
    whole = folder.load(tmp_path, hold_out=False)
    assert set(whole.samples.split) == {TRAIN}
    assert whole.remarks == ()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_held_out_follows_the_names_and_not_their_order(seed):
    rng = np.random.default_rng(seed)
    names = [f"{c}/{i}.png" for c in range(3) for i in range(int(rng.integers(1, 60)))]
    label = [int(name[0]) for name in names]
    split = dict(zip(names, folder.hold_out_rows(label, names), strict=True))
    order = rng.permutation(len(names))
    moved = folder.hold_out_rows([label[row] for row in order], [names[row] for row in order])
    assert {names[row]: which for row, which in zip(order, moved, strict=True)} == split
    for c in range(3):
        n = label.count(c)
        shares = [sum(split[name] == which for name in names if name[0] == str(c)) for which in (VAL, TEST)]
        assert shares == [n // 10, n // 5]


def test_split_folders(tmp_path):
    make_folder(tmp_path, ["test/cat/1.jpg", "val/dog/1.jpg", "train/dog/1.jpg", "train/cat/1.jpg"])
    dataset = folder.load(tmp_path)
    assert dataset.samples.name == ["train/cat/1.jpg", "train/dog/1.jpg", "val/dog/1.jpg", "test/cat/1.jpg"]
    np.testing.assert_array_equal(dataset.samples.split, [0, 0, 1, 2])
    np.testing.assert_array_equal(dataset.samples.label, [0, 1, 1, 0])


def test_hidden_and_foreign_files_are_counted_and_passed_over(tmp_path):
    make_folder(tmp_path, ["train/cat/1.jpg", "train/cat/.cache/2.jpg"])
    for name in ("README", "train/notes.txt", "train/cat/.hidden.jpg", "train/cat/Thumbs.db"):
        (tmp_path / name).write_text("x")
    dataset = folder.load(tmp_path)
    assert dataset.samples.name == ["train/cat/1.jpg"]
    assert dataset.ignored == 4
    assert dataset.remarks[0] == (
        "files ignored, hidden or without the suffix of a picture: 4"
        " (README, train/notes.txt, train/cat/Thumbs.db, ...)"
    )

    flat = folder.load(tmp_path / "train")
    assert (flat.samples.name, flat.ignored) == (["cat/1.jpg"], 3)


@pytest.mark.parametrize(("prefix", "masks"), [("", "masks/cat"), ("train/", "masks/train/cat")])
def test_masks_and_boxes_of_the_root_are_found(tmp_path, prefix, masks):
    make_folder(tmp_path, [f"{prefix}cat/1.jpg", f"{prefix}cat/2.jpg"])
    save_mask(tmp_path / masks / "2.png", 128)
    (tmp_path / "boxes.csv").write_text(f"file,x0,y0,x1,y1\n{prefix}cat/1.jpg,1,2,5,6\n")
    dataset = folder.load(tmp_path)
    assert dataset.class_names == ("cat",)
    assert dataset.ignored == 0
    assert dataset.alpha(0) is None
    np.testing.assert_allclose(dataset.alpha(1), 128 / 255)
    assert (dataset.box(0), dataset.box(1)) == ((1, 2, 5, 6), None)
    assert dataset.box(0, 12) == (0, 4, 8, 12)  # 8 x 6 pixels lose one column a side, then double


WRONG = {
    "no class folder": ([], r"no class folder; expected .*cat/1.jpg or .*train/cat/1.jpg"),
    "picture in the root": (["1.jpg", "cat/1.jpg"], r"/1.jpg: a picture outside a class folder; move it into one"),
    "picture in train": (["train/1.jpg", "train/cat/1.jpg"], r"train/1.jpg: a picture outside a class folder"),
    "nested": (["cat/1.jpg", "cat/old/2.jpg"], r"cat/old: a folder inside a class folder; if it is a"),
    "no train": (["test/cat/1.jpg"], r"there is test/ but no train/; expected train/<class>/"),
    "strange split": (
        ["train/cat/1.jpg", "valid/cat/1.jpg"],
        r"beside train/ there is valid/; expected only train, val",
    ),
    "class only in test": (["train/cat/1.jpg", "test/dog/1.jpg"], r"test/dog: train/ has no class 'dog'; rename"),
}


@pytest.mark.parametrize(("files", "message"), WRONG.values(), ids=WRONG)
def test_layouts_that_fit_nothing(tmp_path, files, message):
    make_folder(tmp_path, files)
    with pytest.raises(InputError, match=message):
        folder.load(tmp_path)


def test_empty_class_folder_and_missing_root(tmp_path):
    make_folder(tmp_path, ["cat/1.jpg"])
    (tmp_path / "dog").mkdir()
    with pytest.raises(InputError, match=r"dog: a class folder without pictures \(.jpg, .*\); fill or remove it"):
        folder.load(tmp_path)
    with pytest.raises(InputError, match=r"cannot list .*nowhere \(No such file or directory\)"):
        folder.load(tmp_path / "nowhere")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such file names themselves")
def test_file_name_that_is_not_utf8(tmp_path):
    make_folder(tmp_path, ["cat/1.jpg"])
    os.rename(tmp_path / "cat/1.jpg", os.path.join(os.fsencode(tmp_path), b"cat", b"\xff.jpg"))
    with pytest.raises(InputError, match=r"the file name '.*' is not UTF-8; rename it"):
        folder.load(tmp_path)


@pytest.mark.parametrize(
    ("size", "fits"), [((8, 6), True), ((16, 12), True), ((3, 2), True), ((8, 8), False), ((6, 8), False)]
)
def test_a_mask_of_another_shape_is_refused(tmp_path, size, fits):
    """A smaller or larger one is resized; one that was squared or turned would say another place."""
    make_folder(tmp_path, ["cat/1.jpg"])
    save_mask(tmp_path / "masks" / "cat" / "1.png", 255, size)
    dataset = folder.load(tmp_path)
    if fits:
        assert dataset.alpha(0, 12).shape == (12, 12)
        return
    message = rf"mask .*1.png: {size[0]} x {size[1]} pixels, picture cat/1.jpg: 8 x 6; expected the same shape$"
    with pytest.raises(InputError, match=message):
        dataset.alpha(0, 12)
