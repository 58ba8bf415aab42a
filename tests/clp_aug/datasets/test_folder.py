import os
import sys

import numpy as np
import pytest
from tiny_sets import make_folder, save_mask

from clp_aug.contract.errors import InputError
from clp_aug.datasets import folder


def test_class_folders_are_all_training_data_in_the_order_of_their_paths(tmp_path):
    make_folder(tmp_path, ["dog/b.png", "dog/a.JPG", "cat/10.jpg", "cat/9.jpeg"])
    dataset = folder.load(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.samples.name == ["cat/10.jpg", "cat/9.jpeg", "dog/a.JPG", "dog/b.png"]
    np.testing.assert_array_equal(dataset.samples.label, [0, 0, 1, 1])
    np.testing.assert_array_equal(dataset.samples.split, 0)
    np.testing.assert_array_equal(dataset.samples.sample_id, [0, 1, 2, 3])
    assert not dataset.annotated
    assert dataset.alpha(0) is None


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
    "nested": (["cat/1.jpg", "cat/old/2.jpg"], r"cat/old: a folder inside a class folder; put its pictures into"),
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
