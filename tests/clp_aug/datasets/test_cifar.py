import pickle
import shutil

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets import cifar10, cifar100
from clp_aug.datasets.inert_pickle import Inert, Span, parse
from tests.clp_aug.datasets.tiny_sets import (
    cifar_pixels,
    make_cifar10,
    make_cifar100,
    make_folder,
    python2_array,
    python2_batch,
    python2_dict,
    python2_list,
    python2_text,
)


def as_picture(pixels: np.ndarray) -> np.ndarray:
    """Oracle: the picture of 3072 values, value by value."""
    picture = np.zeros((32, 32, 3), np.uint8)
    for channel in range(3):
        for y in range(32):
            for x in range(32):
                picture[y, x, channel] = pixels[channel * 1024 + y * 32 + x]
    return picture


@pytest.mark.parametrize("nested", [True, False], ids=["archive folder", "files in the root"])
def test_cifar10_from_published_batches(tmp_path, nested):
    root = make_cifar10(tmp_path)
    dataset = cifar10.load(root if nested else root / "cifar-10-batches-py")
    assert dataset.class_names == tuple(f"class{i}" for i in range(10))
    np.testing.assert_array_equal(dataset.samples.label, [*range(10), 0, 9])
    np.testing.assert_array_equal(dataset.samples.split, [0] * 10 + [2] * 2)
    np.testing.assert_array_equal(dataset.samples.sample_id, range(12))
    assert dataset.samples.name[9:11] == ["data_batch_5:1", "test_batch:0"]
    for row in range(12):
        np.testing.assert_array_equal(dataset.image(row), as_picture(cifar_pixels(2, row // 2)[row % 2]))
    assert dataset.alpha(0) is None
    assert len(pickle.dumps(dataset)) < 4000  # twelve pictures alone would be 36,864 bytes


def test_cifar100_takes_the_fine_labels(tmp_path):
    dataset = cifar100.load(make_cifar100(tmp_path))
    assert dataset.class_names == tuple(f"fine{i}" for i in range(100))
    np.testing.assert_array_equal(dataset.samples.label, [*range(100), 99, 0])
    np.testing.assert_array_equal(dataset.image(77), as_picture(cifar_pixels(100)[77]))
    np.testing.assert_array_equal(dataset.image(101), as_picture(cifar_pixels(2, 1)[1]))


def test_array_in_fortran_order(tmp_path):
    root = make_cifar10(tmp_path)
    batch = python2_batch(cifar_pixels(2, 3), [6, 7], fortran=True)
    (root / "cifar-10-batches-py/data_batch_4").write_bytes(batch)
    np.testing.assert_array_equal(cifar10.load(root).image(7), as_picture(cifar_pixels(2, 3)[1]))


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("key_type", [str, str.encode], ids=["text keys", "byte keys"])
def test_batches_saved_again_by_python3(tmp_path, protocol, key_type):
    root = make_cifar10(tmp_path)
    entries = {"filenames": ["labels", "data"], "labels": [4, 5], "data": cifar_pixels(2, 2)}
    batch = pickle.dumps({key_type(key): value for key, value in entries.items()}, protocol=protocol)
    (root / "cifar-10-batches-py/data_batch_3").write_bytes(batch)
    dataset = cifar10.load(root)
    np.testing.assert_array_equal(dataset.samples.label[4:6], [4, 5])
    np.testing.assert_array_equal(dataset.image(5), as_picture(cifar_pixels(2, 2)[1]))


@pytest.mark.parametrize("protocol", range(6))
def test_parse_rebuilds_plain_values_of_every_protocol(tmp_path, protocol):
    shared = ["x", "y"]
    value = {"a": [1, 255, 256, 70000, -5, 1 << 40], "b": (), "c": (1,), "d": (1, 2), "e": (1, 2, 3), "f": (1, 2, 3, 4)}
    value |= {
        "g": shared,
        "h": shared,
        "i": [True, False, None],
        "j": [[]],
        "k": {},
        "l": list(range(2500)),
        "m": ["é"],
    }
    (tmp_path / "p").write_bytes(pickle.dumps(value, protocol=protocol))
    assert parse(tmp_path / "p") == value


def test_parse_notes_calls_and_leaves_long_bytes_in_the_file(tmp_path):
    stream = python2_dict({"data": python2_array(cifar_pixels(1))})
    (tmp_path / "p").write_bytes(stream)
    found = parse(tmp_path / "p")["data"]
    assert isinstance(found, Inert)
    span = found.state[4]
    assert isinstance(span, Span)
    assert stream[span.offset : span.offset + span.length] == cifar_pixels(1).tobytes()


class Malicious:
    """Its pickle asks to make a folder as soon as it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("where", ["whole file", "data", "labels", "beside"])
def test_a_malicious_stream_executes_nothing(tmp_path, monkeypatch, protocol, where):
    trace = tmp_path / "executed"
    evil = Malicious(str(trace))
    entries = {"labels": [4, 5], "data": cifar_pixels(2, 2)}
    content = evil if where == "whole file" else {"x": evil} | entries if where == "beside" else entries | {where: evil}
    stream = pickle.dumps(content, protocol=protocol)
    pickle.loads(stream)
    assert trace.is_dir()  # the stream does what it says when it is loaded
    trace.rmdir()

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.delattr(pickle, name)
    root = make_cifar10(tmp_path / "root")
    (root / "cifar-10-batches-py/data_batch_3").write_bytes(stream)
    if where == "beside" and protocol >= 3:
        np.testing.assert_array_equal(cifar10.load(root).image(4), as_picture(cifar_pixels(2, 2)[0]))
    else:
        with pytest.raises(
            InputError, match=r"data_batch_3: (no list 'labels' of int|no array 'data'|not a published)"
        ):
            cifar10.load(root)
    assert not trace.exists()


PIXELS = cifar_pixels(2)
WRONG_BATCHES = {
    "empty": (b"", r"not a published batch file \(cannot mmap an empty file\); download it again"),
    "text": (b"hello", r"not a published batch file"),
    "html": (b"<!DOCTYPE html>", r"not a published batch file"),
    "cut": (python2_batch(PIXELS, [1, 2])[:5000], r"not a published batch file \(.*\); download it again"),
    "no end": (python2_batch(PIXELS, [1, 2])[:-1], r"not a published batch file"),
    "absurd length": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"x.", r"not a published batch file"),
    "no mark": (b"\x80\x02e.", r"not a published batch file"),
    "unknown memo": (b"\x80\x02h\x09.", r"not a published batch file"),
    "persistent id": (b"\x80\x02U\x01xQ.", r"not a published batch file \(opcode BINPERSID\); download"),
    "list": (b"\x80\x02].", r"no list 'labels' of int values; expected a published batch file"),
    "too few labels": (python2_batch(PIXELS, [1]), r"6,144 bytes of pixels for 1 labels; expected 3,072 per label"),
    "too many labels": (
        python2_batch(PIXELS, [1, 2, 3]),
        r"6,144 bytes of pixels for 3 labels; expected 3,072 per label",
    ),
    "no pictures": (python2_batch(PIXELS, []), r"6,144 bytes of pixels for 0 labels; expected 3,072 per label"),
    "label 10": (python2_batch(PIXELS, [1, 10]), r"label 10; expected 0..9"),
    "fine labels": (python2_batch(PIXELS, [1, 2], "fine_labels"), r"no list 'labels' of int values"),
    "no pixels": (python2_dict({"labels": python2_list([b"K\x01"])}), r"no array 'data'; expected a published batch"),
    "huge label": (
        python2_dict({"labels": python2_list([b"\x8a\xff" + b"\x7f" * 255]), "data": python2_array(PIXELS[:1])}),
        r"label \d{80}\.\.\.; expected 0..9",
    ),
    "label of thousands of digits": (
        python2_dict(
            {"labels": python2_list([b"\x8b\xd0\x07\0\0" + b"\x7f" * 2000]), "data": python2_array(PIXELS[:1])}
        ),
        r"label a number of thousands of digits; expected 0..9",
    ),
    "text as pixels": (
        python2_dict({"labels": python2_list([b"K\x01"]), "data": python2_text("x")}),
        r"no array 'data'; expected a published batch",
    ),
}


@pytest.mark.parametrize(("stream", "message"), WRONG_BATCHES.values(), ids=WRONG_BATCHES)
def test_wrong_batches(tmp_path, stream, message):
    path = make_cifar10(tmp_path) / "cifar-10-batches-py/data_batch_2"
    path.write_bytes(stream)
    with pytest.raises(InputError, match=message) as raised:
        cifar10.load(tmp_path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_flipped_and_cut_bytes_never_give_another_error(tmp_path):
    good = python2_batch(cifar_pixels(1), [3])
    rng = np.random.default_rng(0)
    outside_pixels = np.r_[0:150, len(good) - 120 : len(good)]
    for trial in range(300):
        bad = bytearray(good)
        bad[rng.choice(outside_pixels)] = rng.integers(256)
        (tmp_path / "p").write_bytes(bytes(bad[: rng.integers(1, len(bad))]) if trial % 3 == 0 else bytes(bad))
        try:
            parse(tmp_path / "p")
        except InputError as error:
            assert "not a published batch file" in str(error)  # noqa: PT017


def test_missing_files(tmp_path):
    root = make_cifar10(tmp_path)
    (root / "cifar-10-batches-py/data_batch_3").unlink()
    (root / "cifar-10-batches-py/batches.meta").unlink()
    message = (
        r"data set cifar10: .*batches-py lacks data_batch_3, batches.meta; expected the files of cifar-10-batches-py"
    )
    with pytest.raises(InputError, match=message):
        cifar10.load(root)
    shutil.rmtree(root / "cifar-10-batches-py")
    with pytest.raises(
        InputError, match=r"has neither the files of .* \(unpack cifar-10-python.tar.gz\), or train/<class>/"
    ):
        cifar10.load(root)


def test_wrong_number_of_class_names(tmp_path):
    root = make_cifar10(tmp_path)
    meta = python2_dict({"label_names": python2_list([python2_text("cat")])})
    (root / "cifar-10-batches-py/batches.meta").write_bytes(meta)
    with pytest.raises(InputError, match=r"batches.meta: 1 class names in 'label_names'; expected 10"):
        cifar10.load(root)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"X\x03\0\0\0\xed\xa0\x80", r"batches.meta: the class name '\\ud800' is not UTF-8; rename it"),
        (b"X\0\x01\0\0" + b"x" * 256, r"batches.meta: a class name of 256 bytes, 'x{79}\.\.\.; expected at most 255"),
    ],
    ids=["half a character", "long"],
)
def test_class_names_that_no_shard_can_hold(tmp_path, name, message):
    root = make_cifar10(tmp_path)
    names = [name, *(python2_text(f"class{i}") for i in range(9))]
    (root / "cifar-10-batches-py/batches.meta").write_bytes(python2_dict({"label_names": python2_list(names)}))
    with pytest.raises(InputError, match=message):
        cifar10.load(root)


NESTED = {
    "tuples": b")" + b"\x85" * 100_000,
    "pairs of the same": b")" + b"q\x00h\x00\x86" * 64,
    "a call": b"cposix\nsystem\n(tR",
    "a list": b"]",
    "a span": b"B\x03\0\0\0abc",
}


@pytest.mark.parametrize("key", NESTED.values(), ids=NESTED)
@pytest.mark.parametrize(
    ("start", "end"), [(b"}(", b"K\x01u."), (b"}", b"K\x01s."), (b"(", b"K\x01d.")], ids=["u", "s", "d"]
)
def test_a_key_that_is_no_text_is_refused_before_it_is_hashed(tmp_path, key, start, end):
    """Python follows tuples within tuples without a limit when it hashes them, and dies, or takes for ever."""
    (tmp_path / "p").write_bytes(b"\x80\x02" + start + key + end)
    with pytest.raises(
        InputError, match=r"p: not a published batch file \(a (tuple|Inert|list|Span) as a key\); download"
    ):
        parse(tmp_path / "p")


WITHOUT_END = {
    "tuples": b")" + b"\x85" * 40_000,
    "lists": b"]" * 40_000 + b"a" * 39_999,
    "calls": b"cx\ny\n" + b")R" * 40_000,
    "states": b"cx\ny\n" * 20_000 + b"b" * 19_999,
    "marks": b"(" * 40_000 + b"l" * 40_000,
}


@pytest.mark.parametrize("nested", WITHOUT_END.values(), ids=WITHOUT_END)
def test_values_nested_without_end_are_let_go_again(tmp_path, nested):
    root = make_cifar10(tmp_path)
    (root / "cifar-10-batches-py/batches.meta").write_bytes(b"\x80\x02}(U\x0blabel_names" + nested + b"u.")
    with pytest.raises(InputError, match=r"batches.meta: no list 'label_names' of str values"):
        cifar10.load(root)


def test_batch_that_vanishes_after_loading(tmp_path):
    root = make_cifar10(tmp_path)
    dataset = cifar10.load(root)
    path = root / "cifar-10-batches-py/data_batch_1"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"cannot read picture 0 of .*data_batch_1 \(.*\); restore the file"):
        dataset.image(0)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot read picture 1 of .*data_batch_1 \(.*\); restore the file"):
        dataset.image(1)


def test_class_folders(tmp_path):
    classes = [f"c{i}" for i in range(10)]
    make_folder(
        tmp_path, [f"{part}/{name}/{i}.png" for part in ("train", "test") for name in classes for i in range(2)]
    )
    dataset = cifar10.load(tmp_path)
    assert dataset.name == "cifar10"
    np.testing.assert_array_equal(dataset.samples.split, [0] * 20 + [2] * 20)
    np.testing.assert_array_equal(dataset.samples.sample_id, range(40))
    assert dataset.samples.name[20] == "test/c0/0.png"

    make_folder(tmp_path, ["val/c0/1.png"])
    with pytest.raises(InputError, match=r"cifar10 has no val split; remove the folder, or use --dataset folder"):
        cifar10.load(tmp_path)
    with pytest.raises(InputError, match=r"train: 10 class folders; expected 100"):
        cifar100.load(tmp_path)
