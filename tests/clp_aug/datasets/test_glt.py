"""The generalised long tail: the published files on a tiny made set, their protocols, and what is wrong with a file."""

import json

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets import glt, load_dataset
from clp_aug.datasets.base import Dataset, Samples
from clp_aug.protocol.settings import ProtocolSettings
from clp_aug.protocol.split import make_split
from tests.clp_aug.datasets.tiny_sets import CBL_COUNTS, GLT_COUNTS, glt_content, make_glt, save_mask, save_picture

ORDER = {
    "glt": ("train", "val", "test_bl", "test_bbl", "test_lt"),
    "cbl": ("train", "val", "test_bbl", "test_bl", "test_lt"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_glt(tmp_path_factory.mktemp("glt"))


@pytest.mark.parametrize("family", ["imagenet", "mscoco", "generated"])
@pytest.mark.parametrize(("kind", "counts"), [("glt", GLT_COUNTS), ("cbl", CBL_COUNTS)])
def test_every_picture_has_the_split_label_and_strata_of_the_file(root, family, kind, counts):
    dataset = load_dataset(f"{family}-{kind}", root)
    expected = [
        (which, c, k % 3, which + str(c) + str(k))
        for which in ORDER[kind]
        for c, n in enumerate(counts[which])
        for k in range(n)
    ]
    found = zip(dataset.samples.split, dataset.samples.label, dataset.strata["attribute"][1], dataset.samples.name,
                strict=True)  # fmt: skip
    assert [(dataset.splits[s], y, a, name.split("/")[-1].split(".")[0]) for s, y, a, name in found] == expected
    np.testing.assert_array_equal(dataset.strata["frequency"][1], dataset.samples.label)
    assert dataset.class_names == ("n0", "n1", "n2")
    assert dataset.protocols == ({"test_bl": "CLT", "test_bbl": "GLT"} if kind == "glt" else {"test_bbl": "ALT"})
    # attributes are not for training: neither groups nor anything in the table
    assert dataset.group_names == ()
    assert set(dataset.samples.group) == {-1}


def test_clt_and_glt_share_a_training_set_and_alt_has_its_own(root):
    lt, bl = load_dataset("imagenet-glt", root), load_dataset("imagenet-cbl", root)
    assert make_split(lt, ProtocolSettings(meta="1/class", meta_from="val")).report["train_per_class"] == [9, 6, 3]
    split = make_split(bl, ProtocolSettings(meta="1/class", meta_from="val"))
    assert (split.report["train_per_class"], split.report["test"]) == ([3, 3, 3], 18)
    assert lt.fingerprint() != bl.fingerprint()


def write(root, content, file="generated_glt.json"):
    root.mkdir(exist_ok=True)
    (root / file).write_text(content if isinstance(content, str) else json.dumps(content))
    return root


def content_of(root):
    content, paths = glt_content(GLT_COUNTS, "/far/away", False, True)
    for seed, path in enumerate(paths):
        save_picture(root / path.removeprefix("/far/away/"), seed)
    return content


@pytest.mark.parametrize("below", ["", "away", "far/away"])
def test_paths_of_another_machine_are_found_wherever_the_pictures_lie(tmp_path, below):
    content = content_of(tmp_path / below)
    dataset = load_dataset("generated-glt", write(tmp_path, content))
    assert dataset.samples.name[0] == f"{below}/train/n0/train00.JPEG".lstrip("/")
    assert dataset.image(0).shape == (6, 8, 3)


@pytest.mark.parametrize("name", ["mscoco-glt", "mscoco-cbl"])
@pytest.mark.parametrize("file", ["annotations/annotation.json", "annotation.json"])
def test_mscoco_lies_where_the_configuration_of_its_authors_has_it(tmp_path, name, file):
    """coco_lt/annotations/annotation.json with coco_lt/images/, and paths of the scripts that wrote coco_glt/."""
    written, configured = {"mscoco-glt": ("coco_glt", "coco_lt"), "mscoco-cbl": ("coco_cbl", "coco_bl")}[name]
    counts = GLT_COUNTS if name == "mscoco-glt" else CBL_COUNTS
    content, paths = glt_content(counts, f"/data4/{written}", True, False)
    for seed, path in enumerate(paths):
        save_picture(tmp_path / configured / path.removeprefix(f"/data4/{written}/"), seed)
    (tmp_path / configured / file).parent.mkdir(exist_ok=True)
    write(tmp_path, content, f"{configured}/{file}")
    dataset = load_dataset(name, tmp_path)
    assert dataset.samples.name[0] == f"{configured}/images/train00.jpg"
    assert dataset.image(0).shape == (6, 8, 3)


def test_a_picture_directly_in_the_root_and_one_that_is_missing(tmp_path):
    content, paths = glt_content(GLT_COUNTS, "/far/away", True, False)
    for path in paths[1:]:
        save_picture(tmp_path / path.split("/")[-1])
    with pytest.raises(InputError, match=r"glt.json: 1 of 48 pictures are missing, first .*/train00.jpg; restore"):
        load_dataset("generated-glt", write(tmp_path, content))
    save_picture(tmp_path / "train00.jpg")
    assert load_dataset("generated-glt", tmp_path).samples.name[0] == "train00.jpg"


def test_masks_and_boxes_of_more_pictures_lie_beside(tmp_path):
    content = content_of(tmp_path)
    save_mask(tmp_path / "masks/train/n0/train01.png")
    save_mask(tmp_path / "masks/train/n0/elsewhere.png")
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\nother.jpg,0,0,1,1\ntrain/n0/train00.JPEG,1,1,4,5\n")
    dataset = load_dataset("generated-glt", write(tmp_path, content))
    assert dataset.annotations.boxes == {0: (1, 1, 4, 5)}
    assert list(dataset.annotations.masks) == [1]


@pytest.mark.parametrize("of", ["", "/", "//", "/far/away/", "//far/away/", "C:\\\\data\\\\"])
def test_no_picture_is_read_from_outside_the_root(tmp_path, of):
    """Each path but the first is absolute, and leads to a picture that is there."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    content, _ = glt_content(GLT_COUNTS, "x", True, False)
    save_picture(root / "first.jpg")
    for part in content.values():
        for key in part.get("path", ()):
            save_picture(outside / f"{key}.jpg")
            part["path"][key] = f"{outside}/{key}.jpg"
    content["train"]["path"]["train00"] = f"{of}first.jpg"
    with pytest.raises(InputError, match=r"47 of 48 pictures are missing, first .*outside/train01.jpg; restore them"):
        load_dataset("generated-glt", write(root, content))
    content["train"]["path"]["train00"] = f"/{outside}/train00.jpg"
    with pytest.raises(
        InputError, match=r"none of its pictures is below .*root, looked for .*/outside/train00.jpg and every"
    ):
        load_dataset("generated-glt", write(root, content))


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a\0b.jpg", "d/" * 2000 + "a.jpg"], ids=["long", "null", "deep"])
def test_paths_that_no_disk_has_are_missing_pictures(tmp_path, name):
    content, paths = glt_content(GLT_COUNTS, "/far", True, False)
    for path in paths:
        save_picture(tmp_path / path.removeprefix("/far/"))
    content["train"]["path"]["train01"] = name
    with pytest.raises(InputError, match=r"1 of 48 pictures are missing, first .*; restore them or take them out"):
        load_dataset("generated-glt", write(tmp_path, content))


def put(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def drop(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def paths(value):
    def change(content):
        content["train"]["path"] = dict.fromkeys(content["train"]["label"], value)

    return change


FIRST = "/far/away/train/n0/train00.JPEG"
TWICE = "/far/away/train/n0/../n0/train00.JPEG"
WRONG = {
    "classes": (drop("id2cat", "1"), r'no "id2cat" with a name for each of "0", "1", ...; download it again'),
    "no split": (drop("test_bl"), r'no split "test_bl" with "label"; expected train, val, test_bl, test_bbl, test_lt'),
    "no label": (drop("val", "label"), r'no split "val" with "label"; expected train, val'),
    "no column": (drop("train", "attribute"), r'split "train" has no "attribute" by picture; download it again'),
    "lacks one": (drop("train", "frequency", FIRST), r'frequency of .*train00.JPEG in "train" is None; expected 0..2'),
    "label": (put("train", "label", FIRST, value="3"), r"label of .*train00.JPEG in \"train\" is '3'; expected 0..2"),
    "truth": (put("train", "label", FIRST, value=True), r'label of .* in "train" is True; expected 0..2'),
    "fraction": (put("train", "label", FIRST, value=1.0), r'label of .* in "train" is 1.0; expected 0..2'),
    "deep": (put("train", "label", FIRST, value=[[[]]]), r'label of .* in "train" is a list; expected 0..2'),
    "not a number": (put("train", "label", FIRST, value=float("nan")), r'label of .* in "train" is nan; expected 0..2'),
    "huge": (put("train", "label", FIRST, value=10**4000), r'label of .* in "train" is 10{79}\.\.\.; expected 0..2'),
    "long text": (put("train", "label", FIRST, value="1" * 999), r"label of .* is '1{79}\.\.\.; expected 0..2"),
    "other digits": (put("train", "label", FIRST, value="\u0661"), r"label of .* is '\u0661'; expected 0..2"),
    "no class name": (put("id2cat", "1", value=None), r'None is a name in "id2cat"; expected text'),
    "classes as lists": (put("id2cat", "1", value=["n1"]), r'a list is a name in "id2cat"; expected text'),
    "half a class name": (put("id2cat", "1", value="\ud800"), r"the class name '\\ud800' is not UTF-8; rename it"),
    "long class name": (put("id2cat", "1", value="n" * 256), r"a class name of 256 bytes, 'n{79}\.\.\.; expected at"),
    "half a path": (paths("\udcff"), r"the picture name '\\udcff' is not UTF-8; rename"),
    "half a key": (put("train", "label", "\ud800", value="0"), r"the picture name '\\ud800' is not UTF-8; rename it"),
    "long path": (paths("a/" * 3000), r"a picture name of 6,000 bytes, 'a/.*; expected at"),
    "paths as numbers": (paths(3), r'split "train" has a "path" that lacks some'),
    "negative": (put("val", "attribute", "/far/away/train/n0/val00.JPEG", value=-1), r'"val" is -1; expected 0..2'),
    "no paths": (put("train", "path", value={}), r'split "train" has a "path" that lacks some of its pictures'),
    "empty": (put("train", value={"label": {}, "frequency": {}, "attribute": {}}), r'split "train" has no picture'),
    "other set": (
        put("test_lt", value={"label": {}, "frequency": {}, "attribute": {}}),
        r"no test_lt, so this is Train-CBL; expected Train-GLT: put the other file there, or choose the other data set",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_files(tmp_path, change, message):
    content = content_of(tmp_path)
    change(content)
    with pytest.raises(InputError, match=message) as raised:
        load_dataset("generated-glt", write(tmp_path, content))
    assert "generated_glt.json" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_picture_twice_and_a_path_that_leads_out(tmp_path):
    content = content_of(tmp_path)
    for column, value in (("label", "0"), ("frequency", 0), ("attribute", 0)):
        content["val"][column][FIRST] = value
    with pytest.raises(InputError, match=r"picture train/n0/train00.JPEG occurs twice; no picture may be in two"):
        load_dataset("generated-glt", write(tmp_path, content))
    for column in ("label", "frequency", "attribute"):
        content["val"][column][TWICE] = content["val"][column].pop(FIRST)
    with pytest.raises(InputError, match=r"1 of 49 pictures are missing, first .*\.\."):
        load_dataset("generated-glt", write(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"glt.json: not JSON \(Expecting"),
        ("[]", r"glt.json: a list at the top; expected an object with train"),
        ("[" * 100_000, r"glt.json: nested too deep; expected an object with train, val and tests$"),
        ('{"train": ' * 3000 + "1" + "}" * 3000, r"glt.json: nested too deep; expected an object with train"),
        ("1" * 5000, r"glt.json: not JSON \(Exceeds the limit .*\); download it again$"),
        ("NaN", r"glt.json: a float at the top; expected an object"),
        ("\x00", r"glt.json: not JSON \(Expecting value"),
    ],
    ids=["cut", "list", "deep", "deep objects", "huge", "NaN", "null character"],
)
def test_what_is_no_such_file(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_dataset("generated-glt", write(tmp_path, text))


def test_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no coco_glt/annotation.json and no coco_lt/annotation.json and no .* in"):
        load_dataset("mscoco-glt", tmp_path)
    with pytest.raises(InputError, match=r"no generated_cbl.json in .*; .*, or make one with clp-data glt$"):
        load_dataset("generated-cbl", tmp_path)
    content, _ = glt_content(GLT_COUNTS, "/far/away", False, True)
    with pytest.raises(
        InputError, match=r"none of its pictures is below .*, looked for /far/away/train/n0/train00.JPEG and"
    ):
        load_dataset("generated-glt", write(tmp_path, content))


def test_a_split_that_the_set_does_not_name_is_refused():
    samples = Samples.of([0, 0], [0, 3], ["a", "b"])
    with pytest.raises(InputError, match=r"^data set plain: a split is outside 0..2$"):
        Dataset("plain", ["only"], samples)

    class Wider(Dataset):
        splits = ("train", "val", "test_bl", "test_bbl")

    wide, other = Wider("wide", ["only"], samples), Wider("wide", ["only"], samples)
    other.splits = ("train", "val", "test_bbl", "test_bl")
    assert wide.fingerprint() != other.fingerprint(), "the same pictures under other names are another set"


def test_layouts_are_registered_under_their_names():
    assert all(name == layout.name and layout.files for name, layout in glt.LAYOUTS.items())
    assert {layout.training for layout in glt.LAYOUTS.values()} == set(glt.SPLITS) == set(glt.PROTOCOLS)
    for training, protocols in glt.PROTOCOLS.items():
        assert next(iter(protocols)) == glt.SPLITS[training][2], "the first test split is that of the first protocol"
