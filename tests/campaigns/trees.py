"""What a run leaves: the digest of every file below a folder, with what may differ between two runs taken out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

BROKEN = "broken"  # stands for the digest of a file that cannot be read as what it should be
TIMES = {"seconds", "cpu_seconds", "command", "versions"}
GROWING = re.compile(r"\.jsonl$|^results/")
"""Files that are complete at any moment, but not of the whole run: histories, tables of the runs that are finished."""
LEFTOVERS = re.compile(r"\.tmp-|\.parts/|\.part$|\.lock$|(^|/)checkpoint\.safetensors$|\.checkpoint$")
"""What only an unfinished run has: temporary files, staging folders, locks, states."""

Tree = dict[str, str]
"""Relative path -> digest; that of a folder is empty, and its path ends in a slash."""


def tree_of(folder: Path) -> Tree:
    """Return everything that lies below a folder."""
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            tree[name + "/"] = ""
        else:
            tree[name] = digest_of(path)
    return tree


def digest_of(path: Path) -> str:
    """Return the digest of a file, of its content without times where it has some."""
    data = path.read_bytes()
    try:
        data = next((clean(data) for ending, clean in CLEAN.items() if path.name.endswith(ending)), data)
    except (ValueError, KeyError):
        return BROKEN
    return hashlib.sha256(data).hexdigest()[:16]


def json_without_times(data: bytes) -> bytes:
    """Return a JSON file without its times."""
    return json.dumps(without_times(json.loads(data))).encode()


def lines_without_times(data: bytes) -> bytes:
    """Return a file of JSON lines without its times."""
    return b"\n".join(json_without_times(line) for line in data.splitlines())


def page_without_times(data: bytes) -> bytes:
    """Return a page without its times: numbers before a unit, and the cells of tables that hold one."""
    data = re.sub(rb'<td class="time">[^<]*', b"", data)
    return re.sub(rb"[\d.,e+-]+(?= (s|hours) of training)", b"", data)


def rows_without_times(data: bytes) -> bytes:
    """Return a table in CSV without its last two columns, seconds and cost."""
    return b"\n".join(line.rsplit(b",", 2)[0] for line in data.splitlines())


def cells_without_times(data: bytes) -> bytes:
    """Return a table in Markdown without its last two columns."""
    lines = page_without_times(data).splitlines()
    return b"\n".join(line.rsplit(b"|", 3)[0] if line.startswith(b"|") else line for line in lines)


def without_times(value: Any) -> Any:
    """Return a JSON value without the keys that are times, at any depth."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [without_times(part) for part in value]
    return value


CLEAN: dict[str, Callable[[bytes], bytes]] = {
    "result.json": json_without_times,
    "table.json": json_without_times,
    "metrics.jsonl": lines_without_times,
    ".html": page_without_times,
    "table.md": cells_without_times,
    "table.csv": rows_without_times,
}
"""End of a name -> how times are taken out."""


def finished(tree: Tree) -> Tree:
    """Return the part of a tree that a finished run leaves: no locks, states, temporary files, logs, empty folders."""
    return {
        name: digest for name, digest in tree.items() if not name.endswith(("/", ".log")) and not LEFTOVERS.search(name)
    }


def leftovers(tree: Tree) -> list[str]:
    """Return the names of what only an unfinished run should have."""
    return [name for name in tree if LEFTOVERS.search(name)]


def partial(tree: Tree, reference: Tree) -> list[str]:
    """Return the files that stand under a final name with another content than they end with."""
    return [
        name
        for name, digest in finished(tree).items()
        if name in reference and digest != reference[name] and not GROWING.search(name)
    ]
