"""ONNX models as subjects: ours by what they say of themselves, others by their input; none runs unlooked at."""

import builtins

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import InputError, UsageError
from clp_train.auditing.subject import open_subject
from tests.clp_aug.nets.onnx_models import FLOAT, FLOAT16, INT64, UINT8, constant, external, message, model, node, value
from tests.clp_train.builders import generator

pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
WEIGHT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
SAID = {"class_names": '["a", "b", "c", "d"]', "size": "8", "fit": "stretch"}


def of_colours(shape=("n", 3, 8, 8), kind=FLOAT, end="Identity", said=None, weight=None, output=FLOAT, more=()):
    """Return a model whose output is `end` of logits that are linear in the mean colour. said: its properties."""
    nodes = [
        node("Cast", ["images"], ["single"], to=FLOAT),
        node("ReduceMean", ["single"], ["mean"], axes=[2, 3], keepdims=0),
        node("MatMul", ["mean", "w"], ["z"]),
        node(end, ["z"], ["end"]),
        node("Cast", ["end"], ["logits"], to=output),
    ]
    weight = weight or constant("w", FLOAT, WEIGHT.shape, WEIGHT.tobytes())
    content = model(
        nodes, [value("images", kind, shape), *more], [value("logits", output, (shape[0], 4))], [weight]
    )  # fmt: skip
    return content + message(*[(14, message((1, name), (2, text))) for name, text in (said or {}).items()])


@pytest.fixture
def file(tmp_path):
    """Write a model's bytes; return its path as text."""

    def write(content):
        (tmp_path / "m.onnx").write_bytes(content)
        return str(tmp_path / "m.onnx")

    return write


@pytest.fixture
def names(tmp_path):
    """A file of four names."""
    (tmp_path / "n.txt").write_text("a\nb\nc\nd\n")
    return tmp_path / "n.txt"


def pictures(n, side=8):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator(n))


def expected(x):
    return (x / 255).mean((2, 3)) @ torch.from_numpy(WEIGHT)


def test_a_model_that_says_what_it_is(file):
    found = open_subject(file(of_colours(("n", 3, "h", "w"), said=SAID)), classes=None, size=8, device="cpu")
    assert (found.kind, found.size, found.fit, found.network) == ("onnx", 8, "stretch", None)
    assert found.class_names == (("a",), ("b",), ("c",), ("d",))
    assert found.remarks == ()
    for n in (1, 2, 9):
        torch.testing.assert_close(found.logits(pictures(n)), expected(pictures(n)))


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("kind", [FLOAT, FLOAT16])
def test_a_foreign_model_for_so_many_pictures(file, names, count, kind):
    found = open_subject(file(of_colours((count, 3, 8, 8), kind)), classes=names, size=8, device="cpu")
    assert found.remarks[0].startswith("the file does not describe its pictures: they go in as RGB in [0, 1]")
    for n in (1, 4, 6):
        torch.testing.assert_close(found.logits(pictures(n)), expected(pictures(n)), atol=2e-3, rtol=2e-3)


def test_a_model_of_open_sides_gets_pictures_as_they_are(file, names):
    found = open_subject(file(of_colours(("n", 3, "h", "w"))), classes=names, size=12, device="cpu")
    assert found.size is None
    torch.testing.assert_close(found.logits(pictures(2, 12)), expected(pictures(2, 12)))


def test_a_model_that_gives_probabilities(file, names):
    found = open_subject(file(of_colours(end="Softmax")), classes=names, size=8, device="cpu")
    assert found.remarks[-1] == "it gives probabilities, not logits: their logarithms are used"
    torch.testing.assert_close(found.logits(pictures(3)).softmax(1), expected(pictures(3)).softmax(1))


@pytest.mark.parametrize(
    "said", [{"class_names": "a, b, c, d"}, {"class_names": '["a", 2, "c", "d"]'}, {"class_names": "[" * 9999}]
)
def test_names_that_are_no_list_do_not_count(file, said):
    with pytest.raises(UsageError, match="the names of its 4 classes are unknown; give --classes FILE"):
        open_subject(file(of_colours(said=said)), classes=None, size=8, device="cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            of_colours((1, 8, 8, 3), weight=constant("w", FLOAT, (8, 4), bytes(128))),
            "m.onnx: its input is (1, 8, 8, 3), expected (n, 3, side, side); export it for",
        ),
        (of_colours(("n", 3, 8, 6)), "its input is (?, 3, 8, 6), expected (n, 3, side, side)"),
        (of_colours(kind=UINT8), "its inputs are images: tensor(uint8), expected one of floating-point numbers"),
        (of_colours(more=[value("mask", FLOAT, (1,))]), "its inputs are images: tensor(float), mask: tensor(float)"),
        (of_colours(output=INT64), "logits is not an array of floating-point numbers; export its logits"),
        (b"no model", "not a usable ONNX model"),
        (of_colours(weight=external("w", FLOAT, (3, 4), "../w.bin")), "its weights are in '../w.bin'"),
        (of_colours(weight=external("w", FLOAT, (3, 4), "w.bin")), "there is no such file beside it"),
    ],
    ids=["channels last", "not square", "bytes", "two inputs", "integers", "noise", "elsewhere", "missing"],
)
def test_models_that_are_refused(file, names, content, message):
    with pytest.raises(InputError) as caught:
        open_subject(file(content), classes=names, size=8, device="cpu")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_onnxruntime_the_line_to_install_it(file, monkeypatch):
    real = builtins.__import__

    def without(name, *more):
        if name.startswith("onnxruntime"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"needs onnxruntime: pip install 'causal-logit-perturbation\[onnx\]'$"):
        open_subject(file(of_colours()), classes=None, size=8, device="cpu")
