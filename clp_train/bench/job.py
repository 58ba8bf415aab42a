"""A job of a table: one command of ours, and the files that tell how far it is. Loads fast: every node imports this."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One process to run. needs: files that must be there before; makes: the file that says it is done; lock: what the
    process holds while it makes that; state: of a run, the file that a killed one goes on from, None for a shard.
    """

    row: str
    command: tuple[str, ...]
    makes: Path
    log: Path
    lock: Path
    needs: tuple[Path, ...] = ()
    state: Path | None = None

    @property
    def done(self) -> bool:
        """Whether what it makes is there."""
        return self.makes.exists()


def script(name: str) -> str:
    """Return the path of one of our commands, beside this Python."""
    return str(Path(sys.executable).parent / name)
