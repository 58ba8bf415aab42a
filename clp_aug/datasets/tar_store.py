"""READ: indexes of tar files, made by several threads, and kept between runs in a folder that the user names.

$CLP_CACHE/wds holds one file per tar; its name is a digest of the tar's path. An index is valid as long as the tar has
the same size and time of change. An index that is damaged or from another version is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clp_aug.common.files import disk_errors, written_beside
from clp_aug.datasets.tar_index import TarIndex, index_of

VERSION = 1
FOLDER = "wds"
THREADS = 4  # they wait for a slow disk together; on a quick disk Python's lock allows only one to work


def indexes_of(paths: Sequence[Path]) -> list[TarIndex]:
    """Return the index of each tar file. Raises InputError for the first that cannot be read."""
    folder = kept_in()
    if folder is not None:
        with disk_errors(folder, "make"):
            folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(min(THREADS, len(paths))) as pool:
        return list(pool.map(lambda path: index_of(path) if folder is None else kept(path, folder), paths))


def kept_in() -> Path | None:
    """Return the folder of kept indexes, None if $CLP_CACHE is not set."""
    place = os.environ.get("CLP_CACHE")
    return Path(place) / FOLDER if place else None


def kept(path: Path, folder: Path) -> TarIndex:
    """Return the index of a tar file, from the folder if it is there and the tar has not changed."""
    with disk_errors(path, "read"):
        status = os.stat(path)
    key = [VERSION, status.st_size, status.st_mtime_ns]
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    file = folder / f"{name}.json"
    found = read(file, key)
    if found is None:
        found = index_of(path)
        text = json.dumps([key, plain(found)], separators=(",", ":")).encode("utf-8", "surrogatepass")
        with disk_errors(file), written_beside(file, synced=False) as beside:
            beside.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    return found


def plain(index: TarIndex) -> dict[str, Any]:
    """Return an index as plain JSON."""
    return asdict(index) | {"start": index.start.tolist(), "size": index.size.tolist(), "rank": list(index.rank)}


def read(file: Path, key: list[int]) -> TarIndex | None:
    """Return a kept index; None if there is none, and for one that is damaged or of another tar."""
    try:
        digest, _, text = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    made_of, values = json.loads(text)
    if made_of != key:
        return None
    return TarIndex(**values | {
        "start": array("q", values["start"]), "size": array("q", values["size"]), "rank": bytearray(values["rank"]),
        "masks": {int(row): tuple(mask) for row, mask in values["masks"].items()},
        "boxes": {int(row): tuple(box) for row, box in values["boxes"].items()}, "others": Counter(values["others"]),
    })  # fmt: skip
