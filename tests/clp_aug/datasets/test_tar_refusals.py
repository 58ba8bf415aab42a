import json

import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets import load_dataset
from tests.clp_aug.datasets.tar_builders import make_wds, mask, picture, samples, write_tar

ONE = {"a.jpg": picture(), "a.cls": b"0"}


def box(text):
    return ONE | {"a.json": b'{"box": ' + text + b"}"}


REFUSED = {
    "two-pictures": (ONE | {"a.png": b""}, r"sample a has two pictures, the second is a\.png; give samples"),
    "two-masks": (ONE | {"a.mask.png": b"", "a.seg.png": b""}, r"sample a has two masks, the second is a\.seg\.png"),
    "two-labels": (ONE | {"a.class": b"0"}, "sample a has two labels"),
    "twice": ([*ONE.items(), *ONE.items()], r"sample a has two pictures, the second is a\.jpg"),
    "no-picture": (ONE | {"b.cls": b"0"}, r"sample b has no picture; expected b\.jpg, or another of \.jpg, \.jpeg"),
    "lone-mask": (ONE | {"b.mask.png": mask()}, "sample b has no picture"),
    "no-label": (ONE | {"x/b.jpg": picture(), "x/c.jpg": picture()}, r"2 of 3 samples have no label, first x/b\.jpg in "
                 r".*train\.tar; expected x/b\.cls with a number, x/b\.json with a key label, or pictures in folders"),
    "no-folder": ({"train/b.jpg": picture()}, r"1 of 1 samples have no label, first train/b\.jpg"),
    "empty-label": (ONE | {"a.cls": b" "}, r"a\.cls: ''; expected a label, for example 7"),
    "two-lines": (ONE | {"a.cls": b"1\n2"}, r"a\.cls: '1\\n2'; expected a label"),
    "long-label": (ONE | {"a.cls": b"1" * 300}, r"a\.cls: 300 bytes, expected at most 257; remove it"),
    "binary-label": (ONE | {"a.cls": b"\xff\xfe"}, r"a\.cls: it is not UTF-8; write it again"),
    "json": (ONE | {"a.json": b"{"}, r"a\.json: not JSON \(.*\); write it again"),
    "deep-json": (ONE | {"a.json": b"[" * 100_000}, r"a\.json: not JSON \(nested too deeply\); write it again"),
    "json-list": (ONE | {"a.json": b"[1]"}, r"a\.json: a list; expected an object, e\.g\. with a key label"),
    "long-json": (ONE | {"a.json": b" " * (1 << 21)}, r"a\.json: 2,097,152 bytes, expected at most 1,048,576; r"),
    "keys": (ONE | {"a.json": json.dumps(dict.fromkeys(map(str, range(1001)))).encode()}, "1,001 keys, expected a"),
    "box-of-three": (box(b"[1, 2, 3]"), r"a\.json: the box is a list; expected box: \[x0, y0, x1, y1\] in pixels"),
    "box-of-text": (box(b'["a", 2, 3, 4]'), r"a\.json: x0 is 'a'; expected a number of pixels"),
    "box-infinite": (box(b"[0, 0, 1e999, 4]"), r"a\.json: x1 is inf; expected a number of pixels"),
    "box-turned": (box(b"[5, 0, 1, 4]"), r"a\.json: box \(5\.0, 0\.0, 1\.0, 4\.0\); expected box: \[x0"),
    "two-boxes": (box(b"[0, 0, 1, 4]") | {"a.box.json": b"[0, 0, 2, 4]"}, r"a\.box\.json: box .*, but .* in another"),
    "val-alone": (ONE | {"a.json": b'{"split": "val"}'}, r"class '0' of val has no training picture; add some, or l"),
}  # fmt: skip


@pytest.mark.parametrize(("members", "message"), REFUSED.values(), ids=REFUSED)
def test_samples_that_are_none_are_refused_in_one_line(tmp_path, members, message):
    name = "t.tar" if "val has no" in message else "train.tar"
    write_tar(tmp_path / name, members)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset("wds", tmp_path)
    assert "\n" not in str(caught.value)


def test_captions_are_no_labels(tmp_path):
    write_tar(
        tmp_path / "train.tar", {f"{k}.{s}": d for k in range(30) for s, d in (("jpg", picture()), ("txt", b"c%d" % k))}
    )
    with pytest.raises(
        InputError, match=r"30 different labels in 30 samples, 30 from \.txt files; these seem to be captions"
    ):
        load_dataset("wds", tmp_path)


def test_tars_without_samples(tmp_path):
    write_tar(tmp_path / "train.tar", {})
    with pytest.raises(InputError, match=r"no sample in train\.tar; expected pictures with their labels, for example"):
        load_dataset("wds", tmp_path)
    make_wds(tmp_path)
    assert len(load_dataset("wds", tmp_path).samples.name) == 10


def test_a_class_that_is_tested_alone_is_refused(tmp_path):
    make_wds(tmp_path)
    write_tar(tmp_path / "test-0.tar", samples(3, classes=3))
    with pytest.raises(InputError, match=r"class '2' of test has no training picture"):
        load_dataset("wds", tmp_path)


def test_what_is_passed_over_is_counted(tmp_path):
    more = {
        "README": b"",
        "._000000.jpg": b"",
        "__meta__.json": b"{}",
        "info.json": b"{}",
        "000000.npy": b"x",
        "a/.x": b"",
    }
    write_tar(tmp_path / "train.tar", samples(2) | more)
    dataset = load_dataset("wds", tmp_path)
    assert len(dataset.samples.name) == 2
    (remark,) = (remark for remark in dataset.remarks if "ignored" in remark)
    assert remark.startswith("files in the tars ignored: ")
    assert "2 hidden" in remark


def test_boxes_say_what_is_wrong_when_they_are_read(tmp_path):
    write_tar(tmp_path / "train.tar", box(b"[0, 0, 99, 4]"))
    dataset = load_dataset("wds", tmp_path)
    with pytest.raises(
        InputError, match=r"picture train\.tar/a\.jpg: box \(0\.0, 0\.0, 99\.0, 4\.0\) is not inside its 8 x"
    ):
        dataset.box(0)
    write_tar(tmp_path / "train.tar", box(b"[2, 2, 2, 4]") | {"b.jpg": picture(), "b.cls": b"1", "b.box.json": b"null"})
    assert not load_dataset("wds", tmp_path).annotated  # boxes without area, and null, say that there is none
