"""Names that strangers wrote: which lead out of a root, which no shard can hold, how they are shown."""

import os
import sys

import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import check_names, is_file, is_folder, leads_out, same_place, shown, some


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("a.jpg", False), ("a/b.jpg", False), ("./a", False), ("a..b/c", False), ("...", False), ("", False),
        ("/a", True), ("//a/b", True), ("///a", True), ("..", True), ("../a", True), ("a/../b", True), ("a/..", True),
    ],
)  # fmt: skip
def test_what_leads_out_of_its_folder(name, out):
    assert leads_out(name) == out


@pytest.mark.parametrize(("name", "same"), [("a/b", "a/b"), ("./a//b", "a/b"), ("a/./b/", "a/b"), ("a/../b", "a/../b")])
def test_one_spelling_of_a_place(name, same):
    assert same_place(name) == same


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("\ud800", r"^t.json: the class name '\\ud800' is not UTF-8; rename it$"),
        ("caf\udce9", r"^t.json: the class name 'caf\\udce9' is not UTF-8; rename it$"),
        ("é" * 128, r"^t.json: a class name of 256 bytes, 'é{79}\.\.\.; expected at most 255$"),
    ],
)
def test_names_that_no_shard_can_hold(name, message):
    with pytest.raises(InputError, match=message):
        check_names(["fine", name], "class", "t.json")
    check_names(["", "é" * 127 + "x", "a\nb"], "class", "t.json")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("é", "'é'"), (3, "3"), (True, "True"), (None, "None"), (1.5, "1.5"), (float("nan"), "nan"), ({}, "a dict"),
        ([[[]]], "a list"), pytest.param(10**5000, "a number of thousands of digits", id="huge"),
        ("\ud800\n", r"'\ud800\n'"),
        ("x" * 99, "'" + "x" * 79 + "..."), (1 << 400, str(1 << 400)[:80] + "..."),
    ],
)  # fmt: skip
def test_a_foreign_value_is_shown_on_one_short_line(value, text):
    assert shown(value) == text


def test_some_of_many_names():
    assert some([]) == ""
    assert some(["a", "b\n", "c"]) == "a, b\N{REPLACEMENT CHARACTER}, c"
    assert some(f"{i}" for i in range(9)) == "0, 1, 2, ..."


@pytest.mark.parametrize("name", ["none", "x" * 300, "a\0b", "\ud800", "file/below", "loop", "/".join("d" * 4000)])
def test_where_nothing_can_be_there_is_no_file(tmp_path, name):
    (tmp_path / "file").write_text("x")
    os.symlink("loop", tmp_path / "loop")
    assert (is_file(tmp_path / name), is_folder(tmp_path / name)) == (False, False)
    assert (is_file(tmp_path / "file"), is_folder(tmp_path / "file")) == (True, False)
    assert (is_file(tmp_path), is_folder(tmp_path)) == (False, True)


@pytest.mark.parametrize(("code", "message"), [
    ("EACCES", r"^cannot read .*/a \(Permission denied\); allow it or choose another place$"),
    ("EIO", r"^cannot read .*/a \(Input/output error\); look at the disk"),
])  # fmt: skip
def test_a_disk_that_does_not_tell_is_no_missing_file(tmp_path, monkeypatch, code, message):
    import errno

    def refuse(path, **_):
        number = getattr(errno, code)
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("clp_aug.datasets.names.os.stat", refuse)
    with pytest.raises(InputError, match=message):
        is_file(tmp_path / "a")


def test_where_the_locale_may_be_at_fault_the_message_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    with pytest.raises(InputError, match=r"is not UTF-8; set PYTHONUTF8=1, or rename it$"):
        check_names(["\udce7"], "class", "pictures")
