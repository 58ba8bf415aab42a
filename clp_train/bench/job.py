"""A job of a table: one command, and the files that show its state. Every node imports this, so it loads fast."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One process to run. needs: files that must exist before; makes: the file that marks it as done; lock: held by the
    process while it makes that file; state: of a run, the file to resume a killed one from, None for a shard.
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
        """Whether its product exists."""
        return self.makes.exists()


def script(name: str) -> str:
    """Return the path of one of our commands, in the folder of this Python."""
    return str(Path(sys.executable).parent / name)
