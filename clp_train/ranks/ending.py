"""How the process of a rank ends: at once, with the exit code of its command."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

from clp_aug.common.terminal import flush_or_silence

Command = TypeVar("Command", bound=Callable[..., Any])


def ends_as_rank(command: Command) -> Command:
    """Wrap a command: a rank that a launcher started ends its process together with the command.

    In Python's normal shutdown a rank sometimes aborts, because a thread of torch may use objects that are gone
    already.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> Any:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return command(*args, **options)
        code: Any = 0
        try:
            command(*args, **options)
        except SystemExit as end:
            code = end.code
        for stream in (sys.stdout, sys.stderr):
            flush_or_silence(stream)
        os._exit(code if isinstance(code, int) else int(code is not None))

    return cast(Command, wrapped)
