"""A run's folder: one process at a time, no litter, and one line where the disk refuses; then the run goes on."""

import errno
import os
import shutil

import pytest

from clp_aug.common.files import TEMPORARY
from clp_aug.common.locks import held_for
from clp_aug.contract.errors import InputError, UsageError
from clp_train import finishing, run_folder
from clp_train.run_folder import (
    CARD,
    CHECKPOINT,
    DESCRIPTION,
    END,
    LAST,
    LOCK,
    METRICS,
    PAGE,
    RESULT,
    SELECTED,
    folder_for,
    predictions_name,
)  # fmt: skip
from tests.clp_train.builders import train
from tests.clp_train.door.calling import call
from tests.clp_train.resuming import short

TEST, VAL = map(predictions_name, ("test", "val"))
WHOLE = (END, LAST, METRICS, PAGE, RESULT, SELECTED, DESCRIPTION, CARD, TEST, VAL)
CODES = [errno.EIO, errno.EMFILE, errno.EACCES, errno.EROFS, errno.ENOSPC]


@pytest.mark.parametrize("resume", [(), ("--resume",)], ids=["", "resumed"])
def test_the_second_run_is_refused_in_one_line(demo_shard, tmp_path, resume):
    out = tmp_path / "r"
    with folder_for(out):
        (out / CHECKPOINT).write_text("")
        second = call("--meta", demo_shard, "--quiet", "--out", out, *resume)
        assert sorted(path.name for path in out.iterdir()) == [LOCK, CHECKPOINT]
    assert second.exit_code == 2
    assert second.stderr == (f"error: another run is writing to {out}; wait for it to end, or choose another --out\n")
    assert [path.name for path in out.iterdir()] == [CHECKPOINT]


def test_a_link_to_the_folder_is_the_same_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "r")
    with folder_for(tmp_path / "r"):
        assert call("--meta", "x.h5", "--out", tmp_path / "link").exit_code == 2


def test_the_folder_alone_must_be_writable(tmp_path, monkeypatch):
    """The one above may be read-only: what is mounted into a container."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    before = os.open

    def refuse(path, *more, **options):
        if os.path.dirname(os.path.abspath(path)) == str(tmp_path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return before(path, *more, **options)

    monkeypatch.setattr(os, "open", refuse)
    for folder in ("out", "."):
        monkeypatch.chdir(tmp_path / "out" if folder == "." else tmp_path)
        with folder_for(run_folder.Path(folder)):
            pass


def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path):
    ours = [f"{name}{TEMPORARY}{number}" for name in run_folder.FILES for number in ("0" * 16, "0123456789abcdef")]
    theirs = [f"notes{TEMPORARY}{'0' * 16}", f"{METRICS}{TEMPORARY}backup", "notes.txt", METRICS]
    for name in (*ours, *theirs, LOCK):
        (tmp_path / name).write_text("")
    with held_for(tmp_path, place=tmp_path / LOCK), pytest.raises(UsageError), folder_for(tmp_path):
        pass
    assert len(list(tmp_path.iterdir())) == len(ours) + len(theirs), "who holds no lock removes nothing"
    with folder_for(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)


@pytest.mark.parametrize("there", ["", "a", "a/b/r"], ids=["none", "one above", "itself"])
def test_what_fails_leaves_the_folders_that_were_there(tmp_path, there):
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KeyboardInterrupt), folder_for(tmp_path / "a" / "b" / "r"):
        raise KeyboardInterrupt
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_fails_past_load_leaves_no_folder(demo_shard, tmp_path):
    settings = ("--epochs", 2, "--batch-size", 20, "--method", "erm", "--lr", 1e30, "--quiet")
    result = call("--meta", demo_shard, *settings, "--out", tmp_path / "runs" / "r")
    assert result.exit_code == 3
    assert not list(tmp_path.iterdir())


def test_nothing_to_resume_is_told_before_anything_is_read(tmp_path):
    result = call("--meta", tmp_path / "no.h5", "--out", tmp_path / "r", "--resume")
    assert result.exit_code == 3
    assert result.stderr == (
        f"error: {tmp_path}/r/checkpoint.safetensors: no checkpoint to resume from; run without --resume, or give the"
        " run's --out\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "(File exists); choose another name"),
        ("file/r", "(Not a directory); a part of the path is a file; choose another place"),
        ("n" * 256, "(File name too long); choose a shorter name"),
        ("a/" + "é" * 128 + "/r", "(File name too long); choose a shorter name"),
        (os.fsdecode(b"\xff"), "(it is not UTF-8); choose another name"),
    ],
    ids=["file", "under a file", "long", "long above", "bytes"],
)
def test_a_folder_that_cannot_be(demo_shard, tmp_path, name, message):
    (tmp_path / "file").write_text("")
    result = call("--meta", demo_shard, "--out", tmp_path / name, "--quiet")
    assert result.exit_code == 3
    assert "error: cannot make folder " in result.stderr
    assert result.stderr.endswith(f" {message}\n")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_null_character_in_a_settings_file(tmp_path):
    (tmp_path / "mine.toml").write_text('[settings]\nout = "a\\u0000b"\n')
    result = call("--meta", "x.h5", "--preset", tmp_path / "mine.toml")
    assert (result.exit_code, result.stderr) == (
        3, "error: cannot make folder a\N{REPLACEMENT CHARACTER}b (it has a null character); choose another name\n"
    )  # fmt: skip


def refusing(monkeypatch, name, code):
    """Let the disk refuse to give files that name."""
    before = os.replace

    def replace(source, target):
        if os.path.basename(target) == name:
            raise OSError(code, os.strerror(code))
        before(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.fixture(scope="module")
def at_the_end(demo_shard, loaded, tmp_path_factory):
    """A run that has done its last step and not written what it leaves: its configuration, and what it is."""
    config = short(demo_shard, tmp_path_factory.mktemp("end"), method="erm", epochs=1, batch_size=40)
    return config, train(config, loaded)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", [LAST, SELECTED, DESCRIPTION, CARD, TEST, RESULT])
def test_a_disk_that_refuses_what_a_run_leaves(loaded, at_the_end, monkeypatch, name, code):
    config, outcome = at_the_end
    with monkeypatch.context() as patched, folder_for(config.folder):
        refusing(patched, name, code)
        with pytest.raises(InputError, match=rf"^cannot write {config.folder}/{name} \({os.strerror(code)}\); \w.*$"):
            finishing.conclude(config, loaded, outcome, "cpu")
    assert not (config.folder / RESULT).exists()
    assert not list(config.folder.glob(f"*{TEMPORARY}*"))
    shutil.rmtree(config.folder)


@pytest.mark.parametrize(("name", "code"), [*zip([METRICS, CHECKPOINT, LAST, SELECTED, RESULT], CODES, strict=True)])
def test_after_a_disk_that_refused_the_run_goes_on(demo_shard, tmp_path, monkeypatch, name, code):
    settings = ("--epochs", 2, "--batch-size", 80, "--method", "erm", "--quiet", "--cache", tmp_path / "c")
    arguments = ("--meta", demo_shard, *settings, "--set", "checkpoint_interval=1", "--out", tmp_path / "r")
    with monkeypatch.context() as patched:
        refusing(patched, name, code)
        refused = call(*arguments)
    assert refused.exit_code == 3
    assert refused.stderr.startswith(f"error: cannot write {tmp_path}/r/{name} ({os.strerror(code)}); ")
    assert refused.stderr.count("\n") == 1
    again = call(*arguments, *(() if name == CHECKPOINT else ("--resume",)))
    assert (again.exit_code, again.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "r").glob("*.*")) == sorted(WHOLE)


def test_a_run_goes_on_with_another_number_of_threads_and_says_what_that_means(demo_shard, tmp_path, monkeypatch):
    settings = ("--epochs", 2, "--batch-size", 80, "--method", "erm", "--quiet", "--cache", tmp_path / "c")
    arguments = ("--meta", demo_shard, *settings, "--set", "checkpoint_interval=1", "--out", tmp_path / "r")
    with monkeypatch.context() as patched:
        refusing(patched, RESULT, errno.EIO)
        call(*arguments)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    result = call(*arguments, "--resume")
    assert result.exit_code == 0
    assert result.stderr == (
        f"{tmp_path}/r/checkpoint.safetensors: begun on cpu with 1 thread, continued on cpu with 2 threads: results"
        " are bit-identical only on the same machine\n"
    )
