"""What a user can mend ends as one line and an honest exit code; all else is an error of ours and shows itself."""

import errno
import json
import os
import pickle
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from clp_aug.common.files import disk_error
from clp_aug.common.terminal import one_line_errors
from clp_aug.contract.errors import InputError, SettingError, TooManyFallbacks, UsageError


def command_that(act, **settings):
    @click.command()
    @one_line_errors("what is done is kept", **settings)
    def command():
        act()

    return CliRunner().invoke(command)


def outcome_of(error, **settings):
    def act():
        raise error

    return command_that(act, **settings)


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UsageError("a\n b"), "a b", 2),
        (SettingError("img_max", 3, "expected more", {"pad": 1}), "--img-max 3: expected more; take --pad 1", 2),
        (InputError("no file"), "no file", 3),
        (TooManyFallbacks("too many"), "too many", 4),
        (KeyboardInterrupt(), "interrupted; what is done is kept", 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_one_line_and_the_exit_code(error, line, code):
    done = outcome_of(error)
    assert (done.stderr, done.exit_code) == (f"error: {line}\n", code)


def test_a_tool_may_spell_settings_its_own_way():
    done = outcome_of(
        SettingError("lr", -1, "expected a number > 0"), spell=lambda name, value: f"--set {name}={value}"
    )
    assert done.stderr == "error: --set lr=-1: expected a number > 0\n"


FULL = "(No space left on device); free some space or choose another place"
LESS = "; free some, or take fewer workers, smaller batches or smaller pictures"


def disk(code, path=None):
    return OSError(code, os.strerror(code), path)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (disk(errno.ENOSPC, "x.h5"), f"cannot write x.h5 {FULL}"),
        (disk(errno.ENOSPC), f"cannot write a file {FULL}"),
        (disk(errno.EROFS, "x"), "cannot read or write x (Read-only file system); choose a place that can be written"),
        (disk(errno.ENAMETOOLONG, b"x"), "cannot read or write x (File name too long); choose a shorter name"),
        (
            disk(errno.ENOTDIR, "a/b"),
            "cannot read or write a/b (Not a directory); a part of the path is a file; choose another place",
        ),
        (disk(errno.EIO, 7), "cannot read or write a file (Input/output error); look at the disk, or choose another"),
        (
            disk(errno.EMFILE),
            "cannot read or write a file (Too many open files); raise the limit of open files (ulimit -n)",
        ),
        (disk(errno.EPIPE), "cannot read or write a file (Broken pipe); choose another place"),
        (OSError("no header in x"), "cannot read or write a file (no header in x); look at it, or choose another"),
        (
            MemoryError("Unable to allocate 10.6 GiB"),
            f"out of memory (Unable to allocate 10.6 GiB){LESS}",
        ),
        (MemoryError(), f"out of memory{LESS}"),
        (
            RuntimeError("DefaultCPUAllocator:\n can't"),
            f"out of memory (DefaultCPUAllocator: can't){LESS}",
        ),
        (
            UnicodeEncodeError("utf-8", "a\ud800b", 1, 2, "surrogates not allowed"),
            "'a\N{REPLACEMENT CHARACTER}b' cannot be written as utf-8; choose another name",
        ),
        (ValueError("embedded null byte"), "a name has a null character, which no file can have; choose another"),
        (
            ValueError("lstat: embedded null character in path"),
            "a name has a null character, which no file can have; choose another",
        ),
    ],
    ids=[
        "space", "space, no name", "read-only", "long name", "file in the path", "disk", "open files", "pipe",
        "no code", "memory", "memory, no text", "memory of torch", "surrogate", "null", "null in path",
    ],
)  # fmt: skip
def test_what_files_disk_and_memory_refuse_is_one_line(error, line):
    done = outcome_of(error)
    assert (done.stderr, done.exit_code) == (f"error: {line}\n", 3)


def test_an_error_of_the_disk_is_told_as_everywhere_else():
    error = disk(errno.ENOSPC, "x.h5")
    assert outcome_of(error).stderr == f"error: {disk_error('x.h5', error)}\n"


def test_a_file_that_is_nested_too_deeply_is_the_file_s_fault():
    done = command_that(lambda: json.loads("[" * 100_000))
    assert (done.stderr, done.exit_code) == (
        "error: a file that was given is nested too deeply to be read; give one of fewer levels\n", 3
    )  # fmt: skip


def without_end():
    without_end()


@pytest.mark.parametrize(
    ("act", "error"),
    [(without_end, RecursionError), (lambda: {}["ours"], KeyError), (lambda: pickle.dumps(lambda: 0), Exception)],
    ids=["recursion", "key", "pickle"],
)
def test_errors_of_ours_are_not_hidden(act, error):
    done = command_that(act)
    assert isinstance(done.exception, error)
    assert not isinstance(done.exception, SystemExit)


def test_an_error_line_does_not_act_on_the_terminal():
    done = outcome_of(InputError("class \x1b[2J\x9b0m\u202e [red]a[/mug] :smile: is empty"))
    assert done.stderr == "error: class \ufffd[2J\ufffd0m\ufffd [red]a[/mug] :smile: is empty\n"


COMMAND = """
import sys
import click
import clp_aug.common.progress
clp_aug.common.progress.PAUSE = 0
from clp_aug.common.terminal import one_line_errors, progress_bars, say
from clp_aug.contract.errors import InputError

@click.command()
@click.argument("name")
@one_line_errors("nothing")
def command(name):
    from clp_aug.common.consoles import PlainConsole
    with progress_bars(False) as bars:
        bars.advance(bars.add_task("LOAD " + name, total=1))
    say(name, err=True)
    say(name)
    click.echo(name)
    PlainConsole().print(name)
    raise InputError(name)
command()
"""


def run_command(tmp_path, name="a", **streams):
    """Return the process of a command that prints a name in every way there is; streams: of subprocess.Popen."""
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    environment = os.environ | {"PYTHONPATH": os.getcwd()} | streams.pop("env", {})
    return subprocess.Popen([sys.executable, script, name], env=environment, **streams)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
def test_characters_that_an_encoding_lacks_are_shown_as_codes(tmp_path, encoding):
    process = run_command(
        tmp_path, "é中\ud800".encode("utf-8", "surrogatepass"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"},
    )  # fmt: skip
    out, err = process.communicate()
    assert process.returncode == 3, err
    assert b"Traceback" not in err
    first, *_ = out.splitlines()
    assert first.startswith({"ascii": b"\\xe9\\u4e2d", "utf-8": "é中".encode()}.get(encoding, b"\xe9\\u4e2d"))
    assert err.count(b"\n") == 3  # one of progress, one of `say`, one of the error


@pytest.mark.parametrize("shared", [False, True], ids=["stdout", "stdout and stderr"])
def test_a_reader_that_goes_away_is_no_traceback(tmp_path, shared):
    errors = subprocess.STDOUT if shared else subprocess.PIPE
    process = run_command(tmp_path, stdout=subprocess.PIPE, stderr=errors)
    process.stdout.close()
    if not shared:
        lines = process.stderr.read().splitlines()
        process.stderr.close()
        assert [line.partition(b":")[0] for line in lines] == [b"LOAD a", b"a"]
    assert process.wait() == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no disk that is always full")
def test_output_into_a_full_disk_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        process = run_command(tmp_path, stdout=full, stderr=subprocess.PIPE)
    _, err = process.communicate()
    assert err.splitlines()[2:] == [f"error: cannot write a file {FULL}".encode()]
    assert process.returncode == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no disk that is always full")
def test_a_log_that_takes_no_more_keeps_the_exit_code(tmp_path):
    with open("/dev/full", "w") as full:
        process = run_command(tmp_path, stdout=subprocess.DEVNULL, stderr=full)
    assert process.wait() == 3


def test_remarks_that_nobody_reads_stop_no_run(tmp_path):
    with open(tmp_path / "out", "w") as out:
        process = run_command(tmp_path, stdout=out, stderr=subprocess.PIPE)
        process.stderr.close()
    assert process.wait() == 3
    assert (tmp_path / "out").read_text() == "a\n" * 3
