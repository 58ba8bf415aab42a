"""clp-inspect from the outside: hostile names on any terminal, pages that cannot be written; one line, no traceback."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

from clp_aug.contract import schema
from clp_aug.inspect_cli import inspect, next_of
from tests.clp_aug.builders import write_shard
from tests.clp_aug.inspecting.conftest import HEADER

NAMES = ("[red]cat", "cup [/mug]", ":smile:", "中é", "\x1b[2J")


@pytest.fixture(scope="module")
def named_shard(tmp_path_factory):
    """A picture of each class with a name that terminals, markup or encodings may stumble over."""
    n = len(NAMES)
    tables = {name: np.zeros(n) for name in schema.META if name != "meta/box"}
    tables |= {name: np.zeros(0) for name in schema.TRAIN if name != "train/box"}
    tables |= {"meta/box": np.tile([0, 0, 8, 8], (n, 1)), "train/box": np.zeros((0, 4))}
    tables["meta/label"] = tables["meta/group"] = tables["meta/sample_id"] = tables["meta/parent_id"] = np.arange(n)
    header = dataclasses.replace(HEADER, class_names=NAMES, group_names=NAMES)
    path = tmp_path_factory.mktemp("shards") / "names.h5"
    write_shard(path, header, tables, {"meta/images": [np.zeros((n, 8, 8, 3), np.uint8)]})
    return path


def call(*arguments, charset="utf-8"):
    return CliRunner(charset=charset).invoke(inspect, list(map(str, arguments)))


@pytest.mark.parametrize(
    ("charset", "shown"),
    [
        ("utf-8", "中é 1, \ufffd[2J 1"),
        ("cp1252", r"\u4e2dé 1, \ufffd[2J 1"),
        ("latin-1", r"\u4e2dé 1, \ufffd[2J 1"),
        ("ascii", r"\u4e2d\xe9 1, \ufffd[2J 1"),
    ],
)
def test_names_on_any_terminal(named_shard, charset, shown):
    done = call(named_shard, charset=charset)
    assert done.exit_code == 0, done.exception
    text = done.stdout_bytes.decode(charset)
    for label in ("Classes", "Groups"):
        assert f"{label:<16}[red]cat 1, cup [/mug] 1, :smile: 1, {shown}\n" in text


def test_json_is_the_same_on_any_terminal(named_shard):
    texts = {call(named_shard, "--json", charset=charset).stdout for charset in ("utf-8", "cp1252", "ascii")}
    assert len(texts) == 1


LONG = "x" * 300


@pytest.mark.parametrize(
    ("html", "line"),
    [
        ("file/sheet.html", "(Not a directory); a part of the path is a file; choose another place\n"),
        (f"{LONG}.html", "(File name too long); choose a shorter name\n"),
        (f"{LONG}/sheet.html", "(File name too long); choose a shorter name\n"),
        ("gone/sheet.html", "(No such file or directory); make the folder or choose another place\n"),
        ("folder", "(Is a directory); a folder has this name; choose another\n"),
        (".", "(it has no name of its own); choose another name\n"),
        ("/", "(it has no name of its own); choose another name\n"),
        ("..", "(Device or resource busy); choose another place\n"),
    ],
    ids=["under a file", "long", "under a long one", "no folder", "folder", "dot", "root", "parent"],
)
def test_a_page_that_cannot_be_written_is_one_line(demo_shard, tmp_path, monkeypatch, html, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    done = call(demo_shard, "--html", html)
    assert done.exit_code == 3, done.exception
    assert done.stderr.startswith("error: cannot write ")
    assert done.stderr.endswith(line)
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("name", ["x" * 300, "file/x.h5", "."], ids=["long", "under a file", "dot"])
def test_a_shard_of_an_impossible_name_is_one_line(tmp_path, name):
    (tmp_path / "file").write_text("")
    done = call(tmp_path / name)
    assert done.exit_code == 3, done.exception
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_page_may_have_a_name_that_is_not_utf_8(demo_shard, tmp_path):
    shard = tmp_path / "caf\udce9.h5"
    shard.write_bytes(demo_shard.read_bytes())
    done = call(shard, "--html", tmp_path / "\udcff.html", charset="latin-1")
    assert done.exit_code == 0, done.exception
    assert "<title>caf?.h5</title>" in (tmp_path / "\udcff.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("dataset", "more"),
    [
        ("demo", ""),
        ("folder", " --root DIR"),
        ("table", " --root DIR"),
        ("mine.py:discs", " --dataset mine.py:discs"),
        ("my sets.py:discs", " --dataset 'my sets.py:discs'"),
    ],
)
def test_the_next_command_names_what_training_cannot_know(dataset, more):
    assert next_of("x.h5", {"dataset": dataset, "settings": {}}) == f"clp-train --meta x.h5{more}"
