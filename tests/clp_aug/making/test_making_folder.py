"""A folder that is made beside its name: complete or not there, one process at a time, on the disk before its name."""

import errno
import os
import re
import shutil

import pytest

from clp_aug.common import files
from clp_aug.contract.errors import ClpError, InputError, UsageError
from clp_aug.making import folder
from clp_aug.making.folder import folder_made_beside


def left(root):
    return sorted(path.name for path in root.iterdir())


def make(out):
    with folder_made_beside(out) as new:
        (new / "deep").mkdir()
        (new / "deep" / "a.txt").write_text("a")
        (new / "b.txt").write_text("b")


def test_it_appears_with_all_that_is_in_it(tmp_path):
    make(tmp_path / "sets" / "one")
    assert left(tmp_path / "sets") == ["one"]
    assert (tmp_path / "sets" / "one" / "deep" / "a.txt").read_text() == "a"


def test_an_empty_folder_may_stand_there(tmp_path):
    (tmp_path / "one").mkdir()
    make(tmp_path / "one")
    assert left(tmp_path / "one") == ["b.txt", "deep"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, ZeroDivisionError])
def test_a_failure_leaves_nothing(tmp_path, error):
    def fail():
        with folder_made_beside(tmp_path / "one") as new:
            (new / "half.txt").write_text("")
            raise error

    with pytest.raises(error):
        fail()
    assert left(tmp_path) == []


def test_names_of_two_processes_differ_though_their_numbers_are_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with folder_made_beside(tmp_path / "one") as one, folder_made_beside(tmp_path / "two") as two:
        assert one.name.removeprefix("one") != two.name.removeprefix("two")


def test_a_second_run_for_one_folder_is_refused(tmp_path):
    message = r"another run is writing to \S+one; wait for it to end, or choose another --out"
    with folder_made_beside(tmp_path / "one"), pytest.raises(UsageError, match=message):
        make(tmp_path / "one")
    assert left(tmp_path) == ["one"]


def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path):
    for name in ("one.tmp-0123456789abcdef", "one.tmp-20240101", "one.tmp-mine", "two.tmp-0123456789abcdef"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "a.txt").write_text("a")
    make(tmp_path / "one")
    assert left(tmp_path) == ["one", "one.tmp-20240101", "one.tmp-mine", "two.tmp-0123456789abcdef"]


def test_all_of_it_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(folder, "sync", lambda path: done.append(("sync", path.name)))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (done.append(("rename", names[1].name)), replace(*names)))
    make(tmp_path / "one")
    at = done.index(("rename", "one"))
    new = next(name for what, name in done if name.startswith("one.tmp-"))
    assert set(done[:at]) == {("sync", "a.txt"), ("sync", "b.txt"), ("sync", "deep"), ("sync", new)}
    assert done.index(("sync", "a.txt")) < done.index(("sync", "deep")) < done.index(("sync", new))
    assert done[at + 1 :] == [("sync", tmp_path.name)]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF])
def test_a_disk_that_cannot_sync_folders_fails_nothing(tmp_path, monkeypatch, code):
    fsync = os.fsync

    def refuse(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(code, os.strerror(code))
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", refuse)
    make(tmp_path / "one")
    assert left(tmp_path) == ["one"]


def file_there(root):
    (root / "one").write_text("mine")


def something_in_it(root):
    (root / "one").mkdir()
    (root / "one" / "mine.txt").write_text("")


def link_to_nowhere(root):
    (root / "one").symlink_to(root / "nowhere")


@pytest.mark.parametrize("there", [file_there, something_in_it, link_to_nowhere])
def test_what_stands_there_stays(tmp_path, there):
    there(tmp_path)
    before = left(tmp_path)
    with pytest.raises(UsageError, match=r"one: it exists already; give another --out or remove it"):
        make(tmp_path / "one")
    assert left(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 300, r"cannot write \S+ \(File name too long\); choose a shorter name"),
        ("x" * 240, r"cannot write \S+ \(File name too long\); choose a shorter name"),
        ("a\0b", r"cannot write .* \(it has a null character\); choose another name"),
        ("a\ud800", r"cannot write .* \(it is not UTF-8\); choose another name"),
        ("file/one", r"cannot write \S+ \(.*\); "),
        ("..", r"exists already; give another --out or remove it"),
        ("/", r"cannot write / \(it has no name of its own\); choose another name"),
    ],
)
def test_names_that_cannot_be(tmp_path, name, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(ClpError, match=message) as raised:
        make(tmp_path / name)
    assert "\n" not in str(raised.value)
    assert left(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize("function", ["mkdir", "open", "fsync", "replace", "listdir"])
def test_a_disk_that_refuses_is_one_line_and_leaves_no_folder(tmp_path, monkeypatch, code, function):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, function, refuse)
    told = None
    try:
        make(tmp_path / "one")
    except InputError as error:
        told = str(error)
    monkeypatch.undo()
    if told is None:  # folders alone could not be synced
        assert left(tmp_path / "one") == ["b.txt", "deep"]
    else:
        assert re.match(rf"cannot write {tmp_path}/\S+ \({os.strerror(code)}\); ", told)
        assert "one" not in left(tmp_path)
    shutil.rmtree(tmp_path / "one", ignore_errors=True)
    make(tmp_path / "one")
    assert left(tmp_path) == ["one"]
