"""Weights beside an ONNX model: the same matte as with them inside, one digest of all files, nothing from elsewhere."""

import hashlib
import struct
from contextlib import suppress

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.mattes import make_matte
from clp_aug.nets.onnx_weights import NoMessage, fields, read_model, with_weights
from tests.clp_aug.nets.onnx_models import (
    FLOAT,
    constant,
    external,
    matting,
    message,
    node,
    varint,
)

LARGEST = 2**20


class Shown:
    """A picture."""

    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    size, sample_id, alpha, box = 8, 5, None, None


def affine(scale, shift):
    """A model whose matte is the sigmoid of the mean, times a matrix, plus a number: two tensors of weights."""
    after = [node("MatMul", ["end", "scale"], ["scaled"]), node("Add", ["scaled", "shift"], ["matte"])]
    return matting(after=after, constants=[scale, shift])


def weights_of(seed, scale=0.1):
    rng = np.random.default_rng(seed)
    return (rng.random((8, 8)) * scale).astype("<f4").tobytes(), struct.pack("<f", rng.random() / 10)


def inside(seed):
    matrix, number = weights_of(seed)
    return affine(constant("scale", FLOAT, (8, 8), matrix), constant("shift", FLOAT, (1,), number))


def beside(seed, one="w.bin", other="w.bin"):
    """The same model with its weights in one file or in two; its bytes and the files."""
    matrix, number = weights_of(seed)
    start = len(matrix) if one == other else 0
    model = affine(
        external("scale", FLOAT, (8, 8), one, 0, len(matrix)), external("shift", FLOAT, (1,), other, start, len(number))
    )
    return model, {one: matrix + number} if one == other else {one: matrix, other: number}


@pytest.mark.parametrize("names", [("w.bin", "w.bin"), ("b.bin", "a.bin"), ("deeper/w.bin", "w.bin")], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_network_with_its_weights_inside(tmp_path, names, seed):
    pytest.importorskip("onnxruntime", reason="the extra [matting] is not installed")
    model, files = beside(seed, *names)
    (tmp_path / "deeper").mkdir()
    for name, content in {"m.onnx": model, **files}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "one.onnx").write_bytes(inside(seed))
    found, expected = (make_matte(f"onnx:{tmp_path / name}") for name in ("m.onnx", "one.onnx"))
    assert (found.find(Shown()) == expected.find(Shown())).all()
    every = model + b"".join(content for _, content in sorted(files.items()))
    assert found.about.sha256 == hashlib.sha256(every).hexdigest(), "as of the files one behind the other"


def test_a_model_without_such_weights_is_returned_as_it_is(tmp_path):
    for content in (inside(0), b"", b"hello", inside(0)[:-9], bytes(100), b"\xff" * 100):
        (tmp_path / "m.onnx").write_bytes(content)
        assert read_model(tmp_path / "m.onnx", LARGEST) == (content, hashlib.sha256(content).hexdigest())


def test_any_change_of_a_byte_gives_a_model_or_a_value_error(tmp_path):
    model, files = beside(0)
    (tmp_path / "w.bin").write_bytes(files["w.bin"])
    rng = np.random.default_rng(0)
    for _ in range(400):
        changed = bytearray(model)
        changed[rng.integers(len(model))] = rng.integers(256)
        (tmp_path / "m.onnx").write_bytes(changed)
        with suppress(ValueError):
            whole, _ = read_model(tmp_path / "m.onnx", LARGEST)
            assert len(whole) < 2 * (len(model) + len(files["w.bin"]))


@pytest.mark.parametrize("seed", range(20))
def test_fields_are_those_that_were_written(seed):
    rng = np.random.default_rng(seed)
    numbers = [int(n) for n in rng.integers(1, 2**20, 12)]
    contents = [bytes(rng.integers(0, 256, rng.integers(300), np.uint8)) for _ in numbers]
    written = b"".join(varint(n << 3 | 2) + varint(len(c)) + c for n, c in zip(numbers, contents, strict=True))
    found = [(n, bytes(content)) for n, content, _ in fields(memoryview(written))]
    assert found == list(zip(numbers, contents, strict=True))
    assert b"".join(raw for _, _, raw in fields(memoryview(written))) == written
    mixed = message((1, 7), (2, 2.5), (3, "text"))
    assert [(n, content is None) for n, content, _ in fields(memoryview(mixed))] == [(1, True), (2, True), (3, False)]


@pytest.mark.parametrize(
    "content", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\x08" + b"\xff" * 12, b"\x0d\x00"],
    ids=["no length", "cut", "a group", "a number without end", "half a number"],
)  # fmt: skip
def test_what_is_no_message(content):
    with pytest.raises(NoMessage):
        list(fields(memoryview(content)))


def test_many_tensors_of_one_large_file_do_not_fill_the_memory(tmp_path):
    constants = [external(f"e{i}", FLOAT, (1000,), "w.bin", 0, 4000) for i in range(300)]
    (tmp_path / "m.onnx").write_bytes(matting(constants=constants))
    (tmp_path / "w.bin").write_bytes(bytes(4000))
    with pytest.raises(ValueError, match="its weights take more bytes than a model may have"):
        read_model(tmp_path / "m.onnx", LARGEST)


def test_a_file_of_weights_that_is_too_large(tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra [matting] is not installed")
    model, files = beside(0)
    (tmp_path / "m.onnx").write_bytes(model)
    with open(tmp_path / "w.bin", "wb") as file:
        file.truncate(2**31)
    with pytest.raises(
        InputError, match=r"its weights are in 'w\.bin': 2147483648 bytes, expected at most \d+; put both"
    ):
        make_matte(f"onnx:{tmp_path / 'm.onnx'}")
    assert set(files) == {"w.bin"}


def test_nothing_is_read_that_nothing_asks_for():
    class Never:
        def part(self, *_):
            raise AssertionError

    assert with_weights(inside(0), Never()) == inside(0)
