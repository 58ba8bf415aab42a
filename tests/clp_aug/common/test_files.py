import errno
import os
import subprocess
import sys

import pytest

from clp_aug.common import files
from clp_aug.common.files import (
    UNSYNCED_FOLDER,
    disk_error,
    move,
    remove_leftovers,
    sync,
    temporary_name,
    written_beside,
)
from clp_aug.contract.errors import InputError


def test_written_beside_replaces_only_when_complete(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with written_beside(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_of_one_number_take_different_temporary_names(tmp_path):
    """In two containers both may be process 1."""
    names = {temporary_name(tmp_path / "x") for _ in range(100)}
    assert len(names) == 100


def failing(call, error):
    def fail(*_, **__):
        raise OSError(error, os.strerror(error))

    return fail


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (errno.ENOSPC, "No space left on device); free some space or choose another place"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "Read-only file system); choose a place that can be written"),
        (errno.EACCES, "Permission denied); allow it or choose another place"),
        (errno.EMFILE, "Too many open files); raise the limit of open files (ulimit -n)"),
        (errno.EIO, "Input/output error); look at the disk, or choose another"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (errno.ENOTDIR, "a part of the path is a file"),
        (errno.ELOOP, "choose another place"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_the_disk_refuses_is_one_line_with_its_remedy(tmp_path, monkeypatch, call, error, remedy):
    monkeypatch.setattr(os, call, failing(call, error))
    with pytest.raises(InputError) as caught, written_beside(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert remedy in str(caught.value)
    assert str(caught.value).startswith(f"cannot write {tmp_path}/x (")
    assert not list(tmp_path.iterdir())


def test_the_first_error_counts_when_the_temporary_cannot_be_removed_either(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", failing("replace", errno.EROFS))
    monkeypatch.setattr("pathlib.Path.unlink", failing("unlink", errno.EROFS))
    with pytest.raises(InputError, match="Read-only"), written_beside(tmp_path / "x") as temporary:
        temporary.write_text("new")


@pytest.mark.parametrize("error", sorted(UNSYNCED_FOLDER))
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_folder_that_cannot_be_synced_fails_nothing(tmp_path, monkeypatch, call, error):
    """CIFS, shared folders of virtual machines, Windows."""
    original = getattr(os, call)

    def refuse(what, *more):
        folder = os.path.isdir(what) if call == "open" else os.path.isdir(f"/proc/self/fd/{what}")
        if folder:
            raise OSError(error, os.strerror(error))
        return original(what, *more)

    monkeypatch.setattr(os, call, refuse)
    with written_beside(tmp_path / "x") as temporary:
        temporary.write_text("new")
    move(tmp_path / "x", tmp_path / "y")
    sync(tmp_path)
    assert (tmp_path / "y").read_text() == "new"


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_folder_whose_disk_fails_is_told(tmp_path, monkeypatch, error):
    monkeypatch.setattr(os, "fsync", failing("fsync", error))
    with pytest.raises(OSError, match=os.strerror(error)):
        sync(tmp_path)


@pytest.mark.parametrize("name", ["n" * 256, "a\0b", "\ud800"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot write .*; choose a"), written_beside(tmp_path / name) as temporary:
        temporary.write_text("new")


def test_leftovers_of_killed_runs_are_removed_and_nothing_else(tmp_path):
    kept = ["page.html", "page.html.tmp-backup", "other.html.tmp-0123456789abcdef", "page.html.bak"]
    for name in [*kept, "page.html.tmp-0123456789abcdef"]:
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path / "page.html")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    remove_leftovers(tmp_path / "no folder" / "page.html")


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    script = (
        "import os, pathlib, sys\nfrom clp_aug.common.files import written_beside\n"
        "with written_beside(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('new'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode == -9
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_says_what_was_done_and_where():
    error = disk_error("a b", OSError(errno.EIO, "broken"), "read")
    assert str(error) == "cannot read a b (broken); look at the disk, or choose another"
    assert files.disk_error("x", ValueError("embedded null byte")).exit_code == 3
