"""Agreement of ranks: whether all of them succeeded, and whether they have the same data and settings."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from clp_aug.contract.errors import ClpError, InputError, UsageError
from clp_train.ranks.launching import here
from clp_train.ranks.team import Ranks

SHOWN = 80  # characters of a value in a message


class OtherRankFailed(ClpError):
    """Another rank has failed; exit_code is that rank's."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@contextlib.contextmanager
def together(ranks: Ranks) -> Iterator[None]:
    """Let each rank do its own work inside this context; at its end all know if one failed, and none continues alone.

    Raises this rank's own error if rank 0 failed too; else OtherRankFailed with the line of the first rank that failed.
    """
    if ranks.size == 1:
        yield
        return
    own, failure = "", None
    try:
        yield
    except (ClpError, OSError, MemoryError) as error:
        failure = error
        own = json.dumps([str(error), getattr(error, "exit_code", 3), here()])
    said = ranks.texts(own)
    if failure is not None and said[0]:
        raise failure
    for rank, text in enumerate(said):
        if text:
            line, code, machine = json.loads(text)
            raise OtherRankFailed(f"rank {rank} on {machine}: {line}", code) from failure


def said_by_first(ranks: Ranks, value: str) -> str:
    """Return the value of rank 0; the values of other ranks are ignored."""
    return ranks.texts(value)[0]


def check_same(ranks: Ranks, facts: Mapping[str, Any]) -> None:
    """Raise InputError, on all ranks, unless all have the same facts: name -> a plain value."""
    if ranks.size == 1:
        return
    said = [(json.loads(text)) for text in ranks.texts(json.dumps([here(), plain(facts)]))]
    machine, first = said[0]
    for rank, (other_machine, other) in enumerate(said):
        for name in {**first, **other}:
            if first.get(name) != other.get(name):
                raise InputError(
                    f"ranks differ in {name}: {short(first.get(name))} on rank 0 ({machine}), {short(other.get(name))}"
                    f" on rank {rank} ({other_machine}); give all ranks the same command, data and versions"
                )


def plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as they are after a round trip through JSON."""
    return dict(json.loads(json.dumps(dict(facts), default=str)))


def short(value: Any) -> str:
    """Return a value, shortened for a message."""
    text = json.dumps(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def require_enough(ranks: Ranks, name: str, pictures: int, what: str) -> None:
    """Raise UsageError for a batch with fewer pictures than there are ranks. what: the batch, in words."""
    if pictures < ranks.size:
        raise UsageError(
            f"{name} {pictures}: {what} has fewer pictures than there are ranks, {ranks.size}; expected at least one"
            f" for each rank; start fewer ranks, or raise {name}"
        )
