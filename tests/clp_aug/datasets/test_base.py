"""Data sets of files: what their pictures hold, as a digest, and files that the disk or their size makes none."""

import importlib.util
import os

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets import base, demo, folder, load_dataset
from clp_aug.datasets.base import Annotations, FileDataset, Samples
from tests.clp_aug.datasets.tiny_sets import (
    cifar_pixels,
    make_cifar10,
    make_folder,
    make_glt,
    make_lists,
    make_table,
    make_waterbirds,
    python2_batch,
    save_mask,
    save_picture,
)

FILES = ["train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png"]


@pytest.fixture
def root(tmp_path):
    """Four pictures, of which the first has a mask and the second a box."""
    make_folder(tmp_path, FILES)
    save_mask(tmp_path / "masks" / FILES[0])
    (tmp_path / "boxes.csv").write_text(f"file,x0,y0,x1,y1\n{FILES[1]},0,0,4,4\n")
    return tmp_path


def digest(root, rows=(0, 1, 2, 3)):
    return folder.load(root).digest(np.array(rows))


def test_a_digest_is_of_what_lies_there_whatever_its_time(root):
    before = digest(root)
    (root / FILES[2]).write_bytes((root / FILES[2]).read_bytes())
    os.utime(root / FILES[3], (1, 1))
    assert digest(root) == before
    assert digest(root, [0, 1]) != before != digest(root, [1, 0, 2, 3]), "rows and their order count"
    assert len(before) == 64


def replaced_in_place(path):
    """Write another picture of as many bytes, with the same times."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: replaced_in_place(root / FILES[2]),
        lambda root: save_picture(root / FILES[3], 99),
        lambda root: replaced_in_place(root / "masks" / FILES[0]),
        lambda root: (root / "masks" / FILES[0]).rename(root / "masks" / FILES[1]),
        lambda root: (root / "boxes.csv").write_text(f"file,x0,y0,x1,y1\n{FILES[1]},0,0,4,5\n"),
        lambda root: (root / "boxes.csv").unlink(),
    ],
    ids=["a picture, size and time kept", "a picture", "a mask", "whose mask it is", "a box", "no box"],
)
def test_a_digest_changes_with_a_picture_a_mask_and_a_box(root, change):
    before, of_others = digest(root), digest(root, [])
    change(root)
    assert digest(root) != before
    assert digest(root, []) == of_others


def test_what_belongs_to_other_rows_does_not_count(root):
    before = digest(root, [1, 3])
    for path in (root / FILES[0], root / FILES[2], root / "masks" / FILES[0]):
        replaced_in_place(path)
    assert digest(root, [1, 3]) == before


@pytest.mark.parametrize(
    ("name", "make"),
    [("waterbirds", make_waterbirds), ("generated-glt", make_glt), ("table", make_table), ("imagenet-lt", make_lists)],
)
def test_every_data_set_of_files_has_a_digest_of_its_files(tmp_path, name, make):
    make(tmp_path)
    dataset, rows = load_dataset(name, tmp_path), np.array([0, 5])
    before = dataset.digest(rows)
    replaced_in_place(tmp_path / dataset.samples.name[5])
    assert load_dataset(name, tmp_path).digest(rows) != before
    (tmp_path / dataset.samples.name[5]).unlink()
    with pytest.raises(InputError, match=rf"^data set {name}: cannot read .*, listed as sample .*; restore it or take"):
        dataset.digest(rows)


def test_a_digest_of_batches_is_of_their_pixels(tmp_path):
    make_cifar10(tmp_path)
    dataset, rows = load_dataset("cifar10", tmp_path), np.array([11, 0, 1, 2])
    before = dataset.digest(rows)
    pixels, labels = cifar_pixels(2, 0), [0, 1]
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(python2_batch(pixels, labels, fortran=True))
    assert load_dataset("cifar10", tmp_path).digest(rows) == before, "the same pixels, laid out otherwise"
    pixels[1, 3000] ^= 1
    path.write_bytes(python2_batch(pixels, labels))
    assert load_dataset("cifar10", tmp_path).digest(rows) != before
    assert load_dataset("cifar10", tmp_path).digest(rows[[0, 1, 3]]) == dataset.digest(rows[[0, 1, 3]])


def test_a_digest_of_the_demo_is_of_what_it_is_made_of(monkeypatch):
    rows = np.arange(5)
    before = demo.Demo().digest(rows)
    assert demo.Demo().digest(rows) == before != demo.Demo(seed=1).digest(rows)
    monkeypatch.setattr(demo, "photographs_digest", lambda: b"others")
    assert demo.Demo().digest(rows) != before


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, r"^cannot read .*china\.jpg \(No such file or directory\); install scikit-learn again$"),
     (b"", r"^picture .*china\.jpg: the file is empty")],
    ids=["gone", "empty"],
)  # fmt: skip
def test_a_photograph_that_cannot_be_read_is_told(tmp_path, monkeypatch, content, reason):
    (tmp_path / "datasets" / "images").mkdir(parents=True)
    if content is not None:
        (tmp_path / "datasets" / "images" / "china.jpg").write_bytes(content)
    spec = importlib.util.spec_from_file_location("sklearn", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(InputError, match=reason):
        demo.photograph.__wrapped__(0)


def test_a_data_set_of_ones_own_has_a_digest_of_what_it_gives():
    class Own(base.Dataset):
        level = 0

        def image(self, row, size=None, fit="crop"):
            return np.full((2, 3, 3), self.level + row, np.uint8)

    dataset = Own("own", ["a"], Samples.of([0, 0], [0, 0], ["x", "y"]))
    before = dataset.digest(np.arange(2))
    assert dataset.digest(np.arange(2)) == before
    dataset.level = 1
    assert dataset.digest(np.arange(2)) != before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.jpg", "No such file or directory"),
        ("a" * 256 + ".jpg", "File name too long"),
        ("nul\0.jpg", "embedded null"),
        ("half a \ud800.jpg", "surrogates not allowed"),
        ("file/below.jpg", "Not a directory"),
        ("pipe.jpg", "it is no file"),
        ("folder.jpg", "it is no file"),
    ],
)
@pytest.mark.parametrize("read", ["image", "source_size", "digest", "check_picture"])
def test_names_that_no_file_has_are_told_in_one_line(tmp_path, name, reason, read):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    dataset = FileDataset("mine", tmp_path, ["a"], Samples.of([0], [0], [name], [7]))
    with pytest.raises(InputError, match=r"^data set mine: cannot read ") as raised:
        getattr(dataset, read)(np.array([0]) if read == "digest" else 0)
    assert reason in str(raised.value)
    assert str(raised.value).endswith(", listed as sample 7; restore it or take it out of the list")


def test_a_file_that_no_picture_fills_is_not_read(tmp_path, monkeypatch):
    save_picture(tmp_path / "1.png")
    monkeypatch.setattr(base, "MAX_BYTES", 100)
    dataset = FileDataset("mine", tmp_path, ["a"], Samples.of([0], [0], ["1.png"]), annotations=Annotations())
    with pytest.raises(
        InputError, match=r"1\.png \(\d+ bytes, more than any picture needs\), listed as sample 0; restore"
    ):
        dataset.image(0)
