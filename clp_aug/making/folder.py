"""A folder that appears under its name only when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clp_aug.contract.errors import InputError, UsageError


@contextmanager
def folder_made_beside(out: Path) -> Iterator[Path]:
    """Yield a new folder beside `out`; on success it is renamed to `out`, on failure removed with all that is in it.

    An empty folder may stand at `out`. Raises UsageError when something else does, InputError when the disk refuses.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: exists already; give another --out or remove it")
    temporary = out.with_name(f"{out.name}.tmp-{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, out)
    except OSError as error:
        raise InputError(
            f"cannot write {out} ({error.strerror or error}); free space or choose another --out"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
