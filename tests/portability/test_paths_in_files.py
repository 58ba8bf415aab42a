"""Paths in files that we write have forward slashes, whatever the system's separator is."""

import json
from pathlib import Path, PureWindowsPath

import pytest
from PIL import Image

from clp_aug.datasets import load_dataset
from clp_aug.datasets.paths import below
from clp_train.config import make_config, plain
from tests.release.declared import PACKAGES, ROOT


@pytest.mark.parametrize(("path", "text"), [
    (PureWindowsPath(r"C:\runs\demo.h5"), "C:/runs/demo.h5"),
    (PureWindowsPath(r"shards\a\b.h5"), "shards/a/b.h5"),
    (Path("shards/a.h5"), "shards/a.h5"),
])  # fmt: skip
def test_a_path_in_the_record_of_settings(path, text):
    assert plain(path) == text


def test_the_settings_in_result_json_are_plain():
    record = make_config({"meta": Path("shards") / "a.h5", "method": "erm", "out": Path("runs") / "a"}).as_json()
    assert json.loads(json.dumps(record))["meta"] == "shards/a.h5"
    assert "\\" not in json.dumps(record)


def test_no_path_is_turned_into_text_by_the_separator_of_the_system():
    """`str(path.relative_to(...))` would be written with backslashes on Windows."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text("utf-8")
            for call in ("str(path.relative_to(", "{path.relative_to(", "os.path.relpath(", "StartWeights(str("):
                start = text.find(call)
                assert start < 0 or ".as_posix()" in text[start : start + 80], f"{path}: {call}"


def test_names_of_pictures_in_a_data_set(tmp_path):
    for name in ("train/cat/1.png", "train/dog/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert list(load_dataset("folder", tmp_path).samples.name) == ["train/cat/1.png", "train/dog/2.png"]


def test_a_list_from_windows_is_read(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"")
    assert below(tmp_path, ["D:\\pictures\\cat\\1.png"], tmp_path / "list.txt") == ["cat/1.png"]
