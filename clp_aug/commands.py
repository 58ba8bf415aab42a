"""What the commands of both tools share: one-line errors with honest exit codes, fill lists, progress bars."""

from __future__ import annotations

import errno
import functools
import sys
from contextlib import contextmanager

import click

from clp_aug.contract.errors import EXIT_INPUT, EXIT_INTERRUPTED, ClpError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def one_line_errors(command):
    """Wrap a command: whatever a user can mend ends as one line on stderr and the exit code that belongs to it."""

    @functools.wraps(command)
    def wrapped(*args, **options):
        try:
            return command(*args, **options)
        except ClpError as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("interrupted; finished blocks are kept, go on with --resume", EXIT_INTERRUPTED)
        except OSError as error:
            if error.errno not in NO_SPACE and "No space left" not in str(error):
                raise
            fail("the disk is full; free some space and go on with --resume, or choose another --out", EXIT_INPUT)

    return wrapped


def fail(message: str, code: int) -> None:
    """Print one line on stderr and leave with the exit code."""
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)


class NameList(click.ParamType):
    """A comma list of names, as a tuple."""

    name = "names"

    def convert(self, value, param, ctx) -> tuple[str, ...]:
        """Split "grey,tile" into its names."""
        return value if isinstance(value, tuple) else tuple(part.strip() for part in value.split(",") if part.strip())


def bars(quiet: bool):
    """Return a progress function that draws bars with a rate on stderr, or nothing when quiet."""
    from clp_aug.pipeline import no_progress

    if quiet:
        return no_progress
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Pictures a second."""

        def render(self, task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f}/s" if speed else "")

    @contextmanager
    def show(stage: str, total: int):
        columns = (
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(stage, total=total)
            yield lambda done: progress.advance(task, done)

    return show
