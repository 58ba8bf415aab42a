"""What a fuzzed reader is: good inputs, how they are changed, what reads them, and whether changes may be accepted."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from clp_aug.common.terminal import one_line_errors
from clp_aug.contract.errors import EXIT_FALLBACKS, EXIT_INPUT, EXIT_USAGE
from tests.campaigns.mutations import Mutation

TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # change the direction of what follows
CODES = (EXIT_USAGE, EXIT_INPUT, EXIT_FALLBACKS)


@dataclass(frozen=True)
class Reader:
    """One reader.

    make: writes a good set into a folder and returns good inputs, with the folder of the campaigns' inputs at hand;
    file: where below the folder an input goes; mutate: changes one; read: reads the file as the tools do, and returns
    what it holds; strict: what is accepted must be what a good input holds; cost: milliseconds an input, roughly, by
    which the share of all inputs is divided; complete: whether a good input is accepted, not only looked into.
    """

    make: Callable[[Path, Path], Sequence[bytes]]
    file: str
    mutate: Mutation
    read: Callable[[Path], object]
    strict: bool = False
    cost: float = 1
    complete: bool = True


def outcome_of(read: Callable[[Path], object], path: Path) -> tuple[str, Any]:
    """Read a file through the door of the commands; return the outcome, and the content or the message.

    Outcomes: "accepted", "refused", "Lines" (not one printable line), "Code" (an exit code that is not documented),
    "Escaped" (another exception than those that users are told of); what they end with is why.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
            return "accepted", one_line_errors("interrupted")(read)(path)
    except click.ClickException as error:
        return "refused", error.format_message()
    except SystemExit as end:
        message = printed.getvalue()
        if end.code not in CODES:
            return "Code", f"{end.code}: {message}"
        if message.count("\n") != 1 or not message.startswith("error: ") or not is_plain(message[:-1]):
            return "Lines", message
        return "refused", message
    except RecursionError as error:
        return "Escaped", f"RecursionError: {str(error)[:200]}"
    except Exception as error:
        return "Escaped", f"{type(error).__name__}: {str(error)[:300]}"


def is_plain(text: str) -> bool:
    """Whether a terminal shows a text on one line and does nothing else with it."""
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in TURNING for c in text)


def digest(*values: object) -> str:
    """Return a digest of what a reader gives: arrays, bytes, and whatever has a repr that says all."""
    whole = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            whole.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, (dict, list)):
            whole.update(json.dumps(value, sort_keys=True, default=repr).encode("utf-8", "surrogatepass"))
        else:
            whole.update(repr(value).encode("utf-8", "surrogatepass"))
    return whole.hexdigest()
