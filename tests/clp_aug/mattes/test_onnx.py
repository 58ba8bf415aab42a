"""Networks of every kind that an ONNX file can hold: taken up the right way, or refused when they are loaded."""

import os
import struct

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.mattes import make_matte
from tests.clp_aug.nets.onnx_models import (
    BOOL,
    DOUBLE,
    FLOAT,
    FLOAT16,
    INT64,
    STRING,
    UINT8,
    constant,
    external,
    matting,
    message,
    model,
    node,
    tensor_type,
    value,
)

pytest.importorskip("onnxruntime", reason="the extra [matting] is not installed")


class Shown:
    """A picture."""

    def __init__(self, size=8, seed=0):
        self.image = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
        self.size, self.sample_id, self.alpha, self.box = size, 5, None, None


@pytest.fixture
def made(tmp_path):
    """Return the back end of a model's bytes."""

    def make(content):
        (tmp_path / "m.onnx").write_bytes(content)
        return make_matte(f"onnx:{tmp_path / 'm.onnx'}")

    return make


def expected(image):
    """The sigmoid of the mean of the normalised planes."""
    x = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return 1 / (1 + np.exp(-x.mean(2)))


@pytest.mark.parametrize(
    ("content", "tolerance"),
    [
        (matting(), 1e-6),
        (matting(("n", 3, 8, 8)), 1e-6),
        (matting((1, "c", 8, 8)), 1e-6),
        (matting(kind=FLOAT16), 1e-3),
        (matting(kind=DOUBLE), 1e-6),
        (matting(output=FLOAT16), 1e-3),
        (matting(output=DOUBLE), 1e-6),
        (matting((4, 3, 8, 8)), 1e-6),
        (matting(more=[value("two", FLOAT, (1,))], constants=[constant("two", FLOAT, (1,), bytes(4))]), 1e-6),
    ],
    ids=[
        "float32",
        "any batch",
        "open planes",
        "float16",
        "double",
        "float16 out",
        "double out",
        "batch of 4",
        "another input that has a value",
    ],
)
def test_floating_point_of_any_width_is_cast(made, content, tolerance):
    alpha = made(content).find(Shown())
    assert (alpha.shape, alpha.dtype) == ((8, 8), np.float32)
    np.testing.assert_allclose(alpha, expected(Shown().image), atol=tolerance)


def test_open_sides_are_320(made):
    assert made(matting((1, 3, "h", "w"))).find(Shown()).shape == (320, 320)
    assert made(matting((1, 3, -1, 16))).find(Shown()).shape == (320, 16)


def test_a_matte_a_little_outside_is_left_to_be_clipped(made):
    """A network without a last sigmoid, fitted to mattes: the same values as ever."""
    scaled = [node("Mul", ["end", "two"], ["twice"]), node("Sub", ["twice", "half"], ["matte"])]
    scale = [constant("two", FLOAT, (), struct.pack("<f", 1.8)), constant("half", FLOAT, (), struct.pack("<f", 0.4))]
    alpha = made(matting(after=scaled, constants=scale)).find(Shown())
    np.testing.assert_allclose(alpha, 1.8 * expected(Shown().image) - 0.4, atol=1e-6)
    assert alpha.min() < 0
    assert alpha.max() > 1


def times_255():
    scale = [constant("scale", FLOAT, (), struct.pack("<f", 255))]
    return matting(after=[node("Mul", ["end", "scale"], ["matte"])], constants=scale)


def reshaped(*shape):
    sides = [constant("s", INT64, (len(shape),), struct.pack(f"<{len(shape)}q", *shape))]
    return matting(after=[node("Reshape", ["end", "s"], ["matte"])], constants=sides)


def sequence():
    kind = message((1, "matte"), (2, message((4, message((1, tensor_type(FLOAT, (1, 3, 8, 8))))))))
    return model([node("SequenceConstruct", ["picture"], ["matte"])], [value("picture", FLOAT, (1, 3, 8, 8))], [kind])


def without_rank():
    kinds = [message((1, name), (2, message((1, message((1, FLOAT)))))) for name in ("picture", "matte")]
    return model([node("Identity", ["picture"], ["matte"])], [kinds[0]], [kinds[1]])


def with_file(kind, shape, file="w.bin"):
    length = 4 * int(np.prod(shape))
    weights = [external("e", FLOAT, shape, file, 0, length)]
    return matting(after=[node(kind, ["end", "e"], ["matte"])], constants=weights)


def in_attribute():
    """A constant of a node whose bytes lie beside the model."""
    inner = message((1, "value"), (5, external("e", FLOAT, (1,), "w.bin", 0, 4)), (20, 4))
    made = message((2, "e"), (4, "Constant"), (5, inner))
    return matting(after=[made, node("Add", ["end", "e"], ["matte"])])


def at_offset(text):
    """Weights at an offset that is none."""
    entries = [(13, message((1, key), (2, value))) for key, value in (("location", "w.bin"), ("offset", text))]
    return matting(
        after=[node("Add", ["end", "e"], ["matte"])],
        constants=[message((1, 1), (2, FLOAT), (8, "e"), *entries, (14, 1))],
    )


BESIDE = "expected a file beside it; put both files into one folder, or save it as one"
PLAIN = model([node("Identity", ["picture"], ["matte"])], [value("picture", FLOAT, (1, 3, 8, 8))], [])
EXPORT = "export it with float32 input"
OUTSIDE = r"its output goes from {} to {}, expected foreground probabilities in \[0, 1\]; export it with a sigmoid"
REFUSED = {
    "uint8": (matting(kind=UINT8), rf"its input is uint8, expected floating-point numbers; {EXPORT}"),
    "int64": (matting(kind=INT64), rf"its input is int64, expected floating-point numbers; {EXPORT}"),
    "bool": (matting(kind=BOOL), rf"its input is bool, expected floating-point numbers; {EXPORT}"),
    "bfloat16": (matting(kind=16), rf"its input is bfloat16, expected floating-point numbers; {EXPORT}"),
    "strings": (matting(kind=STRING), rf"its input is string, expected floating-point numbers; {EXPORT}"),
    "batch 65": (matting((65, 3, 8, 8)), "it takes 65 pictures at a time, expected 1 to 64; export it for one picture"),
    "batch 0": (matting((0, 3, 8, 8)), "it takes 0 pictures at a time, expected 1 to 64; export it for one picture"),
    "planes last": (matting((1, 8, 8, 3)), r"its input is \(1, 8, 8, 3\), expected \(1, 3, h, w\); export it for"),
    "one plane": (matting((1, 1, 8, 8)), r"its input is \(1, 1, 8, 8\), expected \(1, 3, h, w\); export it for"),
    "three axes": (matting((3, 8, 8), axes=(0,)), r"its input is \(3, 8, 8\), expected \(1, 3, h, w\)"),
    "no rank": (without_rank(), r"its input is \(\), expected \(1, 3, h, w\)"),
    "no side": (matting((1, 3, 0, 8)), "its sides are 8 x 0, expected 1 to 4096"),
    "huge": (matting((1, 3, 2**20, 2**20)), "its sides are 1048576 x 1048576, expected 1 to 4096"),
    "a second input": (
        matting(more=[value("size", INT64, (2,))]),
        r"it takes 2 inputs \('picture', 'size'\), expected one, the picture; export it with the picture as its only",
    ),
    "no input": (
        model([node("Constant", [], ["matte"], value_int=3)], [], [value("matte", INT64, ())]),
        r"it takes 0 inputs \(\), expected one",
    ),
    "no output": (PLAIN, "it has no output, expected the matte"),
    "logits": (matting(end="Identity"), OUTSIDE.format(r"-\d\.\d+", r"\d\.\d+")),
    "log of a probability": (matting(after=[node("Log", ["end"], ["matte"])]), OUTSIDE.format(r"-\d\.\d+", "-0.*")),
    "0..255": (times_255(), OUTSIDE.format(r"\d+\.\d+", r"2\d\d\.\d+")),
    "uint8 output": (matting(after=[node("Cast", ["scaled"], ["matte"], to=UINT8)]), "not a usable ONNX model"),
    "nan": (matting(end="Sqrt"), "it gives NaN or infinity for a plain picture; give another export"),
    "strings out": (matting(output=STRING), "its output is of strings or objects, expected"),
    "a sequence": (sequence(), "its output is no array, expected"),
    "two axes": (reshaped(8, 8), r"its output is \(8, 8\), expected \(1, 1, h, w\)"),
    "planes of classes": (reshaped(1, 2, 4, 8), r"its output is \(1, 2, 4, 8\), expected \(1, 1, h, w\)"),
    "no pixel": (matting((1, 3, 8, "w"), axes=(1,), after=[node("Slice", ["end", "z", "z"], ["matte"])],
                         constants=[constant("z", INT64, (1,), struct.pack("<q", 0))]), r"its output is \(0, "),
    "fails": (reshaped(7, 9), "it fails on a picture of 8 x 8"),
    "weights of the system": (with_file("Add", (1,), "/etc/passwd"), f"its weights are in '/etc/passwd', {BESIDE}"),
    "weights above it": (with_file("MatMul", (8, 8), "../../w.bin"), rf"its weights are in '\.\./.*/w\.bin', {BESIDE}"),
    "weights at a drive": (with_file("Add", (1,), "c:w.bin"), f"its weights are in 'c:w.bin', {BESIDE}"),
    "weights nowhere": (with_file("Add", (1,), ""), f"its weights are in '', {BESIDE}"),
    "weights that lack": (with_file("Add", (1,), "v.bin"), r"its weights are in 'v\.bin', and there is no such file"),
    "weights in a folder": (with_file("Add", (1,), "."), r"its weights are in '\.', "),
    "more than the file": (with_file("MatMul", (64, 64)), r"its weights are at 0 to 16384 of 'w\.bin', which has 4096"),
    "weights in an attribute": (in_attribute(), "not a usable ONNX model|it keeps weights in another file"),
    "another number": (at_offset("-4"), "its weights are at '-4', expected a number of bytes; put both files into one"),
    "a long number": (at_offset("9" * 5000), r"its weights are at '9{60}', expected a number of bytes"),
    "an unknown layer": (matting(end="Zigmoid"), r"not a usable ONNX model \(.*\); download it again"),
    "empty": (b"", "not a usable ONNX model"),
    "text": (b"hello", "not a usable ONNX model"),
    "cut": (matting()[:-9], "not a usable ONNX model"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_told_when_it_is_loaded(made, tmp_path, monkeypatch, capfd, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.bin").write_bytes(bytes(4096))
    content, message = REFUSED[case]
    with pytest.raises(InputError, match=rf"^matte onnx:{tmp_path}/m\.onnx: {message}") as error:
        made(content)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert "; " in str(error.value), "a remedy"
    assert capfd.readouterr().err == "", "onnxruntime writes lines of its own"


def test_a_picture_whose_matte_leaves_the_range_is_refused(made):
    """Within it for the picture of the trial, outside for a black one."""
    scale = [constant("scale", FLOAT, (), struct.pack("<f", 0.26))]
    matte = made(matting(end="Identity", after=[node("Mul", ["end", "scale"], ["matte"])], constants=scale))
    picture = Shown()
    picture.image[...] = 0
    with pytest.raises(InputError, match=r"m\.onnx: its output goes from -0\.52 to -0\.52, expected foreground"):
        matte.find(picture)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(made, tmp_path):
    made(matting())
    (tmp_path / "m.onnx").chmod(0)
    with pytest.raises(InputError, match=r"m\.onnx: cannot read \(Permission denied\)"):
        make_matte(f"onnx:{tmp_path / 'm.onnx'}")


def test_large_files_and_folders(tmp_path):
    with open(tmp_path / "m.onnx", "wb") as file:
        file.truncate(2**32)
    with pytest.raises(InputError, match=r"m\.onnx: 4294967296 bytes, expected at most 2147483648; "):
        make_matte(f"onnx:{tmp_path / 'm.onnx'}")
    for name in ("", "none", "a\0b"):
        with pytest.raises(InputError, match="no such file; give the path of a U2Net-like"):
            make_matte(f"onnx:{tmp_path / name}")
