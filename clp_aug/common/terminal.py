"""What all commands do at the terminal: errors in one line with their exit codes, lines, and progress."""

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
"""Modules that recurse as deep as a file is nested: there, too deep is the file's fault; elsewhere, it is ours."""


def as_option(name: str, value: object) -> str:
    """Return a setting as the command line takes it: "--img-max 50", "--refine", "--sizes 32,64"."""
    option = "--" + name.replace("_", "-")
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return option if value is True else f"{option} {text}"


def one_line_errors(interrupted: str, spell: Callable[[str, object], str] = as_option) -> Callable[[Command], Command]:
    """Wrap a command: what a user can mend ends as one line on stderr and the exit code that belongs to it.

    interrupted: what to say after ctrl-C, e.g. what was kept and how to go on; spell: (name, value) -> the setting as
    this command line takes it. Text that the encoding of a stream lacks is shown as \\uXXXX.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(*args: Any, **options: Any) -> Any:
            never_refuse(sys.stdout)
            never_refuse(sys.stderr)
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


def never_refuse(stream: TextIO | None) -> None:
    """Let a stream show the characters that its encoding lacks as \\uXXXX, where it would raise UnicodeEncodeError.

    In the C locale streams have the error handler "surrogateescape", which raises as well.
    """
    if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
        stream.reconfigure(errors="backslashreplace")


def line_of(error: Exception) -> str | None:
    """Return one line for an error of files, disk or memory; None for an error of ours, which shows its traceback."""
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
    """Return whether the reader of our output is gone, head for instance; what is printed from now on goes nowhere."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
    unread = [stream for stream in streams if is_unread(stream)]
    for stream in unread:
        silence(stream)
    return bool(unread)


def is_unread(stream: TextIO) -> bool:
    """Return whether the other end of a pipe is gone."""
    try:
        ends = select.poll()
        ends.register(stream.fileno(), 0)  # no event is asked for: errors are told of in any case
        return bool(ends.poll(0))
    except (OSError, ValueError, AttributeError):  # no file, or no poll on this system
        return False


def silence(stream: TextIO) -> None:
    """Send what is printed to a stream nowhere. Python would else try again as it ends, and complain."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def flush_or_silence(stream: TextIO | None) -> None:
    """Write out what was printed before; silence a stream that takes no more."""
    if stream is not None:
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)


def say(line: str, err: bool = False) -> None:
    """Print one line on stdout or stderr. Characters that do not print are replaced: it may quote names of others.

    A remark on stderr that cannot be written stops no run.
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
    """Return what shows progress on stderr: bars on a terminal, a line every half minute elsewhere; none if quiet."""
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
