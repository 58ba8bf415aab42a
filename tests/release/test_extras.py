"""Without an optional library, what needs it says in one line which extra to install."""

import contextlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

from clp_aug.common.ray_cluster import require_ray
from clp_aug.contract.errors import UsageError
from clp_aug.engines import engine_of
from clp_aug.mattes import check_refine, make_matte
from clp_aug.nets.efficientnet_lite import PACKAGE, imagenet_file
from clp_train.auditing import programs
from clp_train.auditing.data_features import NO_NETWORK, open_eyes
from clp_train.auditing.imagenet import imagenet_names
from clp_train.board import board_for
from clp_train.exports import check_forms
from clp_train.models import check_model
from clp_train.presets.choosing import MISSING
from tests.release.declared import extras, module_of

MODEL = Path("no-such-model.onnx")
NEEDED = [
    ("matting", "onnxruntime", lambda: make_matte(f"onnx:{MODEL}"), "matte onnx needs onnxruntime: "),
    ("matting", "pymatting", check_refine, "--refine needs PyMatting: "),
    ("pretrained", PACKAGE, imagenet_file, "efficientnet-lite0 needs its ImageNet weights: "),
    (
        "pretrained",
        PACKAGE,
        lambda: check_model("efficientnet-lite0"),
        "efficientnet-lite0 needs its ImageNet weights: ",
    ),
    ("timm", "timm", lambda: check_model("timm:resnet18"), "timm:NAME needs timm: "),
    ("onnx", "onnx", lambda: check_forms("onnx"), "export = onnx: onnx needs onnx: "),
    ("onnx", "onnxscript", lambda: check_forms("pt2,onnx"), "export = pt2,onnx: onnx needs onnxscript: "),
    ("onnx", "onnxruntime", lambda: check_forms("onnx"), "export = onnx: onnx needs onnxruntime: "),
    ("onnx", "onnxruntime", lambda: programs.content_of(MODEL, str(MODEL)), "an ONNX model needs onnxruntime: "),
    ("ray", "ray", require_ray, "engine ray needs Ray: "),
    ("ray", "ray", lambda: engine_of("ray"), "engine ray needs Ray: "),
]
"""Extra, library that is not there, what needs it, and how its message begins."""


def hide(monkeypatch, library):
    """Let a library look as if it were not installed."""
    monkeypatch.setitem(sys.modules, module_of(library), None)
    distribution = importlib.metadata.distribution

    def find(name):
        if name == library:
            raise importlib.metadata.PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(importlib.metadata, "distribution", find)


@pytest.mark.parametrize(("extra", "library", "use", "start"), NEEDED)
def test_the_extra_is_named(monkeypatch, extra, library, use, start):
    hide(monkeypatch, library)
    with pytest.raises(UsageError) as error:
        use()
    assert str(error.value) == f"{start}pip install 'causal-logit-perturbation[{extra}]'"


def test_every_library_of_an_extra_is_in_the_table():
    """What the package uses beside the table does without the library: see below."""
    asked = {(extra, library) for extra, library, *_ in NEEDED} | {("track", "tensorboard")}
    assert asked == {(extra, name) for extra in ("matting", "pretrained", "timm", "onnx", "ray", "track")
                     for name in extras()[extra]}  # fmt: skip


def test_without_tensorboard_a_run_has_no_curves_there(monkeypatch, tmp_path):
    hide(monkeypatch, "tensorboard")
    with board_for(tmp_path) as show:
        show({"epoch": 0, "loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_without_timm_classes_of_imagenet_have_one_name(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "timm", None)
    with contextlib.suppress(KeyError):
        monkeypatch.delitem(sys.modules, "timm.data")
    names = imagenet_names()
    assert len(names) == 1000
    assert all(len(each) == 1 for each in names)


def test_without_the_pretrained_network_an_audit_of_data_says_what_it_takes(monkeypatch):
    hide(monkeypatch, PACKAGE)
    eyes = open_eyes(None, 32, "cpu")
    assert eyes.name == "thumbnail"
    assert eyes.remark == NO_NETWORK
    for text in (NO_NETWORK, MISSING):
        assert "pip install 'causal-logit-perturbation[pretrained]'" in text
