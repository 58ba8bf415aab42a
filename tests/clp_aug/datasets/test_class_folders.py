"""What the folders of a root are told as: nothing disappears without a word, and no advice merges classes."""

import os
import random
import re
import shlex
import sys

import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets import folder
from clp_aug.datasets.annotations import with_annotations
from clp_aug.datasets.base import TEST, TRAIN, VAL
from clp_aug.datasets.class_folders import OTHER_SPELLINGS
from tests.clp_aug.datasets.tiny_sets import make_folder, save_mask

RESERVED = ("train", "val", "test", "images", "boxes", "boxes.csv", "recipe.json")


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize("others", [["cat"], ["cat", "dog"], ["zebra"]], ids=" ".join)
def test_a_class_may_have_any_name_where_pictures_lie_in_it(tmp_path, name, others):
    make_folder(tmp_path, [f"{each}/{i}.jpg" for each in (name, *others) for i in range(2)])
    dataset = folder.load(tmp_path)
    assert dataset.class_names == tuple(sorted([name, *others]))
    assert len(dataset.samples.name) == 2 * len(dataset.class_names)
    said = f"{name}/ holds pictures, no class folders: it is read as a class, not as a split"
    assert (said in dataset.remarks) == (name in ("train", "val", "test"))


@pytest.mark.parametrize("name", [*RESERVED, "masks"])
def test_in_a_split_a_class_may_have_any_name(tmp_path, name):
    files = [f"{part}/{each}/1.jpg" for part in ("train", "test") for each in ("cat", name)]
    dataset = folder.load(make_folder(tmp_path, files))
    assert dataset.class_names == tuple(sorted(["cat", name]))
    assert sorted(dataset.samples.name) == sorted(files)


def test_all_three_splits_may_be_classes_beside_another_one(tmp_path):
    dataset = folder.load(make_folder(tmp_path, [f"{name}/1.jpg" for name in ("train", "val", "test", "plane")]))
    assert dataset.class_names == ("plane", "test", "train", "val")


SPLIT = r"is a split by name, so expected {0}/<class>/: sort its pictures, remove it, or rename it if it is a class"
WRONG = {
    "flat train": (["train/1.jpg"], SPLIT.format("train")),
    "flat splits": (["train/1.jpg", "test/1.jpg", "val/1.jpg"], SPLIT.format("test")),
    "flat test": (["train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg"], rf"test/1.jpg: .*test/ {SPLIT.format('test')}"),
    "flat train, whole test": (["train/1.jpg", "test/cat/1.jpg"], rf"train/1.jpg: .*; train/ {SPLIT.format('train')}"),
    "flat, spelt otherwise": (["train/1.jpg", "valid/1.jpg"], rf"train/1.jpg: .*; train/ {SPLIT.format('train')}"),
    "spelt otherwise": (
        ["train/cat/1.jpg", "valid/cat/1.jpg"],
        r"beside train/ there is valid/; expected only train, val, test and masks; rename it to val/$",
    ),
    "something beside": (
        ["train/cat/1.jpg", "extra/1.jpg"],
        r"beside train/ there is extra/; .*; move it elsewhere, or rename train/ if it is a class$",
    ),
    "capitals": (
        ["Train/cat/1.jpg", "Test/cat/1.jpg"],
        r"Test/cat: a folder inside .*; if Test/ is a split, rename it to test/$",
    ),
    "other words": (
        ["training/cat/1.jpg", "validation/cat/1.jpg"],
        r"training/cat: .*; if training/ is a split, rename it to train/$",
    ),
    "masks of a split": (
        ["train/cat/1.jpg", "train/masks/cat/1.jpg"],
        r"train/masks/cat: .*; if these are masks, move them to .*/masks/train$",
    ),
    "masks by another name": (
        ["cat/1.jpg", "dog/1.jpg", "Masks/cat/1.png", "Masks/dog/1.png"],
        r"Masks/ holds folders with names of classes, cat/, dog/: if these are masks, rename it to .*/masks$",
    ),
    "classes of classes": (
        ["cat/siam/1.jpg", "cat/manx/1.jpg", "dog/pug/1.jpg"],
        r"cat/manx: a folder inside a class folder; cat/ holds manx/, siam/: if these are classes, move them beside"
        r" cat/, or give --root .*/cat; if all are of class cat, put their pictures into cat/$",
    ),
    "classes in a split too deep": (
        ["train/Pets/cat/1.jpg", "train/Pets/dog/1.jpg"],
        r"train/Pets/cat: .*; Pets/ holds cat/, dog/: if these are classes, move them beside Pets/; if all are of",
    ),
    "a folder beside pictures": (
        ["cat/1.jpg", "cat/old/2.jpg"],
        r"cat/old: a folder inside a class folder; if it is a class of its own, move it beside cat/; pictures of class"
        r" cat belong directly in .*/cat$",
    ),
    "no pictures": (
        ["cat/1.jpg", "dog/1.txt"],
        r"dog: a class folder without pictures \(.jpg, .*\), but with 1.txt; fill or remove it$",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "message"), WRONG.values(), ids=WRONG)
def test_what_fits_no_layout_is_told_with_the_remedy(tmp_path, files, message):
    for file in files:
        if file.endswith(".txt"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("x")
    make_folder(tmp_path, [file for file in files if not file.endswith(".txt")])
    with pytest.raises(InputError, match=message) as raised:
        folder.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_words_for_splits_are_none_of_the_splits():
    assert set(OTHER_SPELLINGS.values()) == {"train", "val", "test"}
    assert not set(OTHER_SPELLINGS) & {"train", "val", "test"}


TOO_HIGH = {
    "classes": (["PetImages/Cat/1.jpg", "PetImages/Dog/1.jpg"], "--root {root}/PetImages"),
    "splits": (["pets/train/cat/1.jpg", "pets/test/cat/1.jpg"], "--root {root}/pets"),
    "two up": (["a/b/cat/1.jpg", "a/b/dog/1.jpg"], "--root {root}/a/b"),
    "one class": (["a/b/cat/1.jpg"], "--root {root}/a/b"),
    "masks beside": (["images/cat/1.jpg", "masks/cat/1.png"], "--root {root}/images --masks {root}/masks"),
    "masks mirrored": (
        ["images/cat/1.jpg", "masks/images/cat/1.png"],
        "--root {root}/images --masks {root}/masks/images",
    ),
    "boxes beside": (["images/cat/1.jpg", "boxes.csv"], "--root {root}/images --boxes {root}/boxes.csv"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "options"), TOO_HIGH.values(), ids=TOO_HIGH)
def test_a_root_that_is_too_high_is_told_the_right_one(tmp_path, files, options):
    for file in files:
        if file.startswith("masks"):
            save_mask(tmp_path / file)
    if "boxes.csv" in files:
        (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\ncat/1.jpg,0,0,4,4\n")
    pictures = [file for file in files if file.endswith(".jpg")]
    make_folder(tmp_path, pictures)
    with pytest.raises(
        InputError, match=rf"are these the classes\? give {re.escape(options.format(root=tmp_path))}$"
    ) as e:
        folder.load(tmp_path)
    given = shlex.split(str(e.value).partition("give ")[2])
    options_given = dict(zip(given[::2], given[1::2], strict=True))
    dataset = folder.load(options_given["--root"])
    assert len(dataset.samples.name) == len(pictures)
    annotated = with_annotations(dataset, options_given.get("--masks"), options_given.get("--boxes"))
    assert annotated.annotated == (len(options_given) > 1)


def test_a_root_that_is_too_low_is_told_the_right_one(tmp_path):
    make_folder(tmp_path, ["pictures/cat/1.jpg", "pictures/dog/1.jpg"])
    message = rf"cat/1.jpg: .*; if cat is one class, give the folder of all classes with --root {tmp_path}/pictures$"
    with pytest.raises(InputError, match=message):
        folder.load(tmp_path / "pictures" / "cat")
    make_folder(tmp_path, ["alone/1.jpg"])
    with pytest.raises(InputError, match=r"alone/1.jpg: a picture outside a class folder; move it into one$"):
        folder.load(tmp_path / "alone")


AS_CLASS = r"if masks is a class, rename its folder, or put all classes under train/$"
MEANT_AS_CLASS = {
    "photographs as JPEG": (
        ["masks/1.jpg", "masks/2.jpg"],
        rf"masks: no PNG file that fits, but 1.jpg, 2.jpg: save .*; {AS_CLASS}",
    ),
    "other stems": (["masks/m1.png"], rf"none of 1 PNG files fits a picture; expected e.g. cat/1.png .*; {AS_CLASS}"),
    "photographs as PNG": (["masks/1.png"], rf"1.png is a colour photograph; expected 255 where .*; {AS_CLASS}"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "message"), MEANT_AS_CLASS.values(), ids=MEANT_AS_CLASS)
def test_a_class_called_masks_is_told_how_to_be_one(tmp_path, files, message):
    make_folder(tmp_path, ["cat/1.jpg", "dog/d.jpg", *files])
    with pytest.raises(InputError, match=message):
        folder.load(tmp_path)


def test_one_class_beside_masks_or_masks_alone(tmp_path):
    save_mask(tmp_path / "masks/1.png")
    with pytest.raises(InputError, match=rf"no class folder; expected .*; {AS_CLASS}"):
        folder.load(tmp_path)
    make_folder(tmp_path, ["cat/1.jpg"])
    with pytest.raises(InputError, match=rf"one class, cat/, beside masks/; {AS_CLASS}"):
        folder.load(tmp_path)


def test_masks_that_lie_directly_in_their_folder_are_read_with_a_word(tmp_path):
    make_folder(tmp_path, ["cat/1.jpg", "dog/2.jpg"])
    save_mask(tmp_path / "masks/1.png")
    dataset = folder.load(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert list(dataset.annotations.masks) == [0]
    assert re.match(rf"masks/ is read as the masks of 1 pictures, not as a class; {AS_CLASS}", dataset.remarks[-1])
    make_folder(tmp_path / "splits", ["train/cat/1.jpg", "train/dog/2.jpg"])
    save_mask(tmp_path / "splits/masks/1.png")
    assert not any("not as a class" in remark for remark in folder.load(tmp_path / "splits").remarks)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_what_is_not_chosen_is_held_out(tmp_path, prefix):
    make_folder(tmp_path, [f"{prefix}{c}/{i}.jpg" for c, n in (("cat", 20), ("dog", 10), ("eel", 4)) for i in range(n)])
    dataset = folder.load(tmp_path)
    split, label = dataset.samples.split, dataset.samples.label
    for c, expected in enumerate(((14, 2, 4), (7, 1, 2), (4, 0, 0))):
        assert tuple((split[label == c] == which).sum() for which in (TRAIN, VAL, TEST)) == expected
    there, where = ("train/ alone", "val/ and test/") if prefix else ("no train/ folder", "train/, val/ and test/")
    assert dataset.remarks == (
        f"{there}: val and test were held out of each class by file name; to choose them, put pictures under {where}",
        "classes with fewer than 5 pictures, so without a test picture: eel",
    )
    assert set(folder.load(tmp_path, hold_out=False).samples.split) == {TRAIN}


@pytest.mark.parametrize("chosen", ["val", "test"])
def test_nothing_is_held_out_where_something_is_chosen(tmp_path, chosen):
    make_folder(tmp_path, [f"train/cat/{i}.jpg" for i in range(10)] + [f"{chosen}/cat/1.jpg"])
    dataset = folder.load(tmp_path)
    assert (dataset.samples.split == TRAIN).sum() == 10
    assert dataset.remarks == ()
    (tmp_path / chosen / "cat" / "1.jpg").unlink()
    (tmp_path / chosen / "cat").rmdir()
    assert (folder.load(tmp_path).samples.split == TEST).sum() == 2, "an empty folder chooses nothing"


def test_fewer_pictures_than_can_be_held_out_are_told(tmp_path):
    make_folder(tmp_path, [f"{c}/{i}.jpg" for c in "ab" for i in range(4)])
    assert folder.load(tmp_path).remarks == (
        "every class has fewer than 5 pictures, so no pictures were held out as val and test",
    )


def test_what_was_passed_over_is_named_hidden_ones_last(tmp_path):
    make_folder(tmp_path, ["cat/1.jpg", "cat/.2.jpg"])
    for name in ("cat/boxes.csv", "cat/a.psd", "cat/b\x1b[31m.heic", "notes", ".git/x", "boxes.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("file,x0,y0,x1,y1\ncat/1.jpg,0,0,4,4\n")
    dataset = folder.load(tmp_path)
    assert dataset.ignored == 5
    assert dataset.remarks[0] == (
        "files ignored, hidden or without the suffix of a picture: 6 (notes, cat/a.psd,"
        " cat/b\N{REPLACEMENT CHARACTER}[31m.heic, ...)"
    )
    assert dataset.box(0) == (0, 0, 4, 4), "boxes.csv of the root is read, that of a class is not"


def grow(rng, folder, depth):
    """Make a random tree of folders with telling names and empty files, pictures by their names."""
    for name in rng.sample(["cat", "dog", "eel", "train", "val", "test", "masks", "images", ".git"], 3):
        (folder / name).mkdir(parents=True)
        if depth and rng.random() < (0.9 if name in ("train", "val", "test", "masks") else 0.1):
            grow(rng, folder / name, depth - 1)
            continue
        for file in rng.sample(["1.jpg", "2.png", "3.JPEG", "4.txt", ".5.jpg", "6"], rng.choice([1, 2, 3, 4])):
            (folder / name / file).touch()


@pytest.mark.parametrize("seed", range(60))
def test_every_picture_is_read_or_told_of(tmp_path, seed):
    rng = random.Random(seed)
    grow(rng, tmp_path, rng.choice([0, 0, 1]))
    try:
        dataset = folder.load(tmp_path)
    except InputError:
        return
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    masks = {path.relative_to(tmp_path).as_posix() for path in dataset.annotations.masks.values()}
    unread = files - set(dataset.samples.name) - masks
    passed_over = {file for file in unread if not file.startswith("masks/")}
    assert not any(file.lower().endswith((".jpg", ".png", ".jpeg")) and "/." not in f"/{file}" for file in passed_over)
    said = " ".join(dataset.remarks)
    assert bool(passed_over) == ("files ignored" in said)
    assert bool(unread - passed_over) == ("files fit none or are no PNG" in said)


linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such file names themselves")


@linux
@pytest.mark.parametrize("below", ["", "train/"])
@pytest.mark.parametrize("name", [b"caf\xe9", b"\xed\xa0\x80"], ids=["Latin 1", "half a surrogate"])
def test_a_class_folder_that_is_not_utf8(tmp_path, below, name):
    make_folder(tmp_path, [f"{below}cat/1.jpg", f"{below}dog/1.jpg"])
    os.rename(tmp_path / below / "dog", os.path.join(os.fsencode(tmp_path / below), name))
    with pytest.raises(InputError, match=r"the folder name '.*\\udc.*' is not UTF-8; rename it$"):
        folder.load(tmp_path)


@linux
def test_a_pipe_called_a_picture_is_passed_over(tmp_path):
    make_folder(tmp_path, ["cat/1.jpg"])
    os.mkfifo(tmp_path / "cat" / "2.jpg")
    dataset = folder.load(tmp_path)
    assert (dataset.samples.name, dataset.ignored) == (["cat/1.jpg"], 1)


@linux
def test_a_link_to_nowhere_is_a_picture_that_is_missing(tmp_path):
    make_folder(tmp_path, ["cat/1.jpg"])
    os.symlink(tmp_path / "nowhere", tmp_path / "cat" / "2.jpg")
    with pytest.raises(InputError, match=r"cannot read .*cat/2.jpg \(No such file or directory\)"):
        folder.load(tmp_path).image(1)
