"""What the commands of both tools do at the terminal: one-line errors with honest exit codes, and progress bars."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from clp_aug.contract.errors import EXIT_INPUT, EXIT_INTERRUPTED, ClpError, SettingError

if TYPE_CHECKING:
    from rich.progress import Progress, Task

Command = TypeVar("Command", bound=Callable[..., Any])
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def as_option(name: str, value: object) -> str:
    """Return a setting as the command line takes it: "--img-max 50", "--refine", "--sizes 32,64"."""
    option = "--" + name.replace("_", "-")
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return option if value is True else f"{option} {text}"


def one_line_errors(interrupted: str, spell: Callable[[str, object], str] = as_option) -> Callable[[Command], Command]:
    """Wrap a command: what a user can mend ends as one line on stderr and the exit code that belongs to it.

    interrupted: what to say after ctrl-C, e.g. what was kept and how to go on; spell: (name, value) -> how a setting
    stands on this command line.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(*args: Any, **options: Any) -> Any:
            try:
                return command(*args, **options)
            except SettingError as error:
                fail(error.spelt(spell), error.exit_code)
            except ClpError as error:
                fail(str(error), error.exit_code)
            except KeyboardInterrupt:
                fail(f"interrupted; {interrupted}", EXIT_INTERRUPTED)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                fail(f"cannot write {error.filename or 'a file'} ({error.strerror}); free some space", EXIT_INPUT)

        return cast(Command, wrapped)

    return decorate


def fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and leave with the exit code."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def progress_bars(quiet: bool) -> Progress:
    """Return a rich progress display on stderr with counts, rate and time left; silent when quiet."""
    from rich import progress
    from rich.console import Console

    class Rate(progress.ProgressColumn):
        """Pictures or steps a second."""

        def render(self, task: Task) -> str:
            speed = task.finished_speed or task.speed
            return "" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2f}/s"

    columns = (
        progress.TextColumn("{task.description:<18}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        Rate(),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns, console=Console(stderr=True), disable=quiet)
