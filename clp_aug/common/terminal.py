"""What the commands of both tools do at the terminal: one-line errors with honest exit codes, lines, and progress."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import select
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar, cast

from clp_aug.common.files import disk_error
from clp_aug.common.progress import Bars, Lines
from clp_aug.common.text import printable
from clp_aug.contract.errors import EXIT_INPUT, EXIT_INTERRUPTED, ClpError, SettingError

Command = TypeVar("Command", bound=Callable[..., Any])
EXIT_UNREAD = 141  # as of a program that SIGPIPE ends: nobody reads what it prints
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "Insufficient memory")
"""What torch and OpenCV say in errors of other kinds than MemoryError."""
PARSERS = ("json", "tomllib", "tomli", "ast")
"""Modules that go as deep as a file is nested: too deep is the file's fault there, and ours elsewhere."""


def as_option(name: str, value: object) -> str:
    """Return a setting as the command line takes it: "--img-max 50", "--refine", "--sizes 32,64"."""
    option = "--" + name.replace("_", "-")
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return option if value is True else f"{option} {text}"


def one_line_errors(interrupted: str, spell: Callable[[str, object], str] = as_option) -> Callable[[Command], Command]:
    """Wrap a command: what a user can mend ends as one line on stderr and the exit code that belongs to it.

    interrupted: what to say after ctrl-C, e.g. what was kept and how to go on; spell: (name, value) -> how a setting
    stands on this command line. Within it, text that a stream's encoding lacks is replaced.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(*args: Any, **options: Any) -> Any:
            never_refuse(sys.stdout, "replace")
            never_refuse(sys.stderr, "backslashreplace")
            try:
                done = command(*args, **options)
                if sys.stdout is not None:
                    sys.stdout.flush()
                return done
            except SettingError as error:
                fail(error.spelt(spell), error.exit_code)
            except ClpError as error:
                fail(str(error), error.exit_code)
            except KeyboardInterrupt:
                fail(f"interrupted; {interrupted}", EXIT_INTERRUPTED)
            except Exception as error:
                if isinstance(error, BrokenPipeError) and nobody_reads():
                    sys.exit(EXIT_UNREAD)
                line = line_of(error)
                if line is None:
                    raise
                fail(line, EXIT_INPUT)

        return cast(Command, wrapped)

    return decorate


def never_refuse(stream: TextIO | None, errors: str) -> None:
    """Let a stream replace what its encoding lacks, where it would raise UnicodeEncodeError."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors=errors)


def line_of(error: Exception) -> str | None:
    """Return one line for an error that files, disk or memory made; None for one of ours, which shows itself."""
    if isinstance(error, OSError):
        return disk_line(error)
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
        because = f" ({text})" if text else ""
        return f"out of memory{because}; free some, or take fewer workers, smaller batches or smaller pictures"
    if isinstance(error, UnicodeEncodeError):
        near = error.object[max(0, error.start - 30) : error.end + 30]
        return f"{printable(near)!r} cannot be written as {error.encoding}; choose another name"
    if isinstance(error, ValueError) and "embedded null" in text:
        return "a name has a null character, which no file can have; choose another"
    if isinstance(error, RecursionError) and raised_in(error) in PARSERS:
        return "a file that was given is nested too deeply to be read; give one of fewer levels"
    return None


def disk_line(error: OSError) -> str:
    """Return one line for what a disk refused, with the path where the error has one."""
    doing = "write" if error.errno in NO_SPACE else "read or write"
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else "a file"
    if error.errno is None:
        return f"cannot {doing} {path} ({error}); look at it, or choose another"
    return str(disk_error(path, error, doing))


def raised_in(error: BaseException) -> str:
    """Return the name of the package whose code raised an error."""
    name, step = "", error.__traceback__
    while step is not None:
        name, step = str(step.tb_frame.f_globals.get("__name__", "")), step.tb_next
    return name.partition(".")[0]


def nobody_reads() -> bool:
    """Whether what reads our output is gone, head for instance; what is printed from now on goes nowhere."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
    unread = [stream for stream in streams if is_unread(stream)]
    for stream in unread:
        silence(stream)
    return bool(unread)


def is_unread(stream: TextIO) -> bool:
    """Whether the other end of a pipe is gone."""
    try:
        ends = select.poll()
        ends.register(stream.fileno(), 0)  # no event is asked for: errors are told of in any case
        return bool(ends.poll(0))
    except (OSError, ValueError, AttributeError):  # no file, or no poll on this system
        return False


def silence(stream: TextIO) -> None:
    """Send what is printed nowhere, where it is a file; Python would else try again as it ends, and complain."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def flush_or_silence(stream: TextIO | None) -> None:
    """Bring out what was printed before; a stream that takes it no more is silenced."""
    if stream is not None:
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)


def say(line: str, err: bool = False) -> None:
    """Print one line, on stdout or stderr, with what does not print replaced: it may quote names that others wrote.

    A remark on stderr that nobody takes stops no run.
    """
    with contextlib.suppress(*((OSError, ValueError) if err else ())):
        print(printable(line), file=sys.stderr if err else sys.stdout, flush=True)


def fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and leave with the exit code."""
    flush_or_silence(sys.stdout)
    say(f"error: {' '.join(message.split())}", err=True)
    flush_or_silence(sys.stderr)
    sys.exit(code)


def progress_bars(quiet: bool) -> Bars:
    """Return what shows progress on stderr: bars on a terminal, a line now and then in a log; silent when quiet."""
    if quiet or sys.stderr is None:
        return Lines(None)
    if sys.stderr.isatty():
        from clp_aug.common.consoles import PlainConsole, drawn_bars

        console = PlainConsole(stderr=True)
        if console.is_interactive:
            return drawn_bars(console)
    return Lines(sys.stderr)


def quote(path: Path) -> str:
    """Return a path as a shell takes it."""
    return shlex.quote(str(path))


@contextlib.contextmanager
def bar_for(bars: Bars, stage: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show one stage's bar; its value is called with the pictures done since the last call."""
    task = bars.add_task(stage, total=total)
    yield lambda done: bars.advance(task, done)
