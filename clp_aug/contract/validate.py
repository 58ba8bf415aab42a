"""The ten checks that a shard must pass before a picture is read: shards may come from strangers.

An HDF5 file can refer to other files, claim 150 GB in a kilobyte, or inflate one chunk to gigabytes. Nothing here reads
pixels; `ShardReader.verify` does that later, on request.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clp_aug.contract import schema
from clp_aug.contract.damage import UNCHECKED
from clp_aug.contract.digests import seal_of
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import ALL_FIELDS, DIGESTS, SEAL, Header

MAX_ROWS = 50_000_000
MAX_INFLATION = 1000  # deflate's own limit is about 1030 : 1
MAX_ATTRIBUTE_BYTES = 4 << 20
FLETCHER32 = 3
FILTERS = {1: "deflate", 2: "shuffle", FLETCHER32: "fletcher32", 32000: "lzf"}
REMEDY = "use only shards that clp-augment wrote"


def refuse(path: Path, problem: str) -> InputError:
    """Return the one-line error of a shard that breaks the contract."""
    return InputError(f"shard {path}: {problem}; {REMEDY}")


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or the name of its type if the text is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def open_shard(path: Path) -> h5py.File:
    """Open read-only, without locks and without a chunk cache (a chunk is one picture, used once)."""
    if not Path(path).is_file():
        raise InputError(f"shard {path}: no such file; make it with clp-augment")
    try:
        return h5py.File(path, "r", locking=False, rdcc_nbytes=0)
    except OSError as error:
        raise refuse(path, f"not an HDF5 file, or cut short ({first_line(error)})") from None


def check_links(path: Path, file: h5py.File) -> None:
    """Check 1: only hard links, and one name per group. Soft and external links could lead into other files."""
    _check_group(path, file)  # first: even `in` follows a link
    for name in ("meta", "train", "look"):
        if name in file:
            if not isinstance(file[name], h5py.Group):
                raise refuse(path, f"/{name} is not a group")
            _check_group(path, file[name])


def _check_group(path: Path, group: h5py.Group) -> None:
    if h5py.h5o.get_info(group.id).rc != 1:
        raise refuse(path, f"group {group.name} has a second name, so links run in a circle")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise refuse(path, f"{name!a} in {group.name} is a link to somewhere else")


def check_storage(path: Path, name: str, data: h5py.Dataset) -> None:
    """Checks 2, 4, 5, 6: all data are in this file; tables in plain blocks, one picture per chunk, with checksums."""
    if data.external is not None or data.is_virtual:
        raise refuse(path, f"/{name} takes its data from other files")
    plist = data.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    foreign = [code for code in filters if code not in FILTERS]
    if foreign:
        raise refuse(path, f"/{name} uses filter {foreign[0]}, expected only {', '.join(FILTERS.values())}")
    room, stored = os.path.getsize(path), data.id.get_storage_size()
    if len(data.shape) < 3:
        if data.chunks is not None:
            raise refuse(path, f"/{name} is stored in chunks, expected one plain block")
        if stored < data.nbytes or data.nbytes > room:
            raise refuse(path, f"/{name} declares {data.nbytes:,} bytes, but the file stores {min(stored, room):,}")
        return
    if not data.size:
        return
    if data.nbytes > MAX_INFLATION * room:
        raise refuse(path, f"/{name} declares {data.nbytes:,} bytes in a file of {room:,}")
    if data.chunks != (1, *data.shape[1:]):
        raise refuse(path, f"/{name} has chunks of {data.chunks}, expected one picture per chunk")
    if FLETCHER32 not in filters:
        raise refuse(path, f"/{name} has no checksums, expected the filter {FILTERS[FLETCHER32]}")
    stored = data.id.get_num_chunks()
    if stored != len(data):
        raise refuse(path, f"/{name} declares {len(data):,} pictures but stores {stored:,}")
    sizes: set[int] = set()  # the few that differ: a million pictures have one
    data.id.chunk_iter(lambda chunk: sizes.add(chunk.size))
    raw = math.prod(data.shape[1:])
    if max(sizes, default=0) > 1.01 * raw + 64:  # a filter inflates to the end of its stream, whatever the shape
        raise refuse(path, f"/{name} stores {max(sizes):,} bytes for a picture of {raw:,}")


def check_shapes(path: Path, file: h5py.File) -> None:
    """Check 3: every data set of the contract exists, with its type, rank and equal lengths; others are ignored."""
    sizes: dict[str, int] = {}
    for name, field in ALL_FIELDS.items():
        if name not in file:
            if field.optional:
                continue
            raise refuse(path, f"/{name} is missing")
        data = file[name]
        if not isinstance(data, h5py.Dataset) or data.dtype != np.dtype(field.dtype):
            raise refuse(path, f"/{name} is {getattr(data, 'dtype', 'a group')}, expected {field.dtype}")
        if data.shape is None or len(data.shape) != len(field.shape):
            raise refuse(path, f"/{name} has shape {data.shape}, expected ({', '.join(map(str, field.shape))})")
        for letter, n in zip(field.shape, data.shape, strict=True):
            limit = schema.MAX_SIDE if letter in ("H", "W") else MAX_ROWS
            expected = letter if isinstance(letter, int) else sizes.setdefault(letter, n)
            if n != expected or n > limit:
                raise refuse(path, f"/{name} has shape {data.shape}: {letter} = {n}, expected {min(expected, limit)}")
        check_storage(path, name, data)
    if sizes["N"] == 0:
        raise refuse(path, "it holds no meta picture")
    if sizes.get("K") and "look/matte" not in file:
        raise refuse(path, "/look/matte is missing")


def read_header(path: Path, file: h5py.File) -> Header:
    """Check 7: attributes by name, one capped value each: an integer, text or JSON.

    Text has a fixed length: the heap of variable-length text has no checksum, and HDF5 hangs or dies on a damaged one.
    """
    values: dict[str, Any] = {}
    for name in (*schema.TEXT_ATTRIBUTES, *schema.JSON_ATTRIBUTES, *schema.INT_ATTRIBUTES):
        if name not in file.attrs:
            raise refuse(path, f"attribute {name} is missing")
        attribute = file.attrs.get_id(name)
        if attribute.shape != () or attribute.get_storage_size() > MAX_ATTRIBUTE_BYTES:
            raise refuse(path, f"attribute {name} is not one value of at most {MAX_ATTRIBUTE_BYTES >> 20} MiB")
        kind = attribute.get_type()
        if name in schema.INT_ATTRIBUTES:
            if not isinstance(kind, h5py.h5t.TypeIntegerID):
                raise refuse(path, f"attribute {name} is not an integer")
            values[name] = int(file.attrs[name])
            continue
        if not isinstance(kind, h5py.h5t.TypeStringID) or kind.is_variable_str():
            raise refuse(path, f"attribute {name} is not text of fixed length")
        try:
            text = bytes(file.attrs[name]).decode()
            values[name] = json.loads(text) if name in schema.JSON_ATTRIBUTES else text
            json.dumps(values[name], ensure_ascii=False).encode()
        except UnicodeError:  # lone surrogates, too, which no terminal and no page can show
            raise refuse(path, f"attribute {name} is not UTF-8 text") from None
        except (ValueError, RecursionError):
            raise refuse(path, f"attribute {name} is not JSON") from None
    for name, kind in (("settings", dict), ("matte", dict)):
        if not isinstance(values[name], kind):
            raise refuse(path, f"attribute {name} is not a JSON object")
    for name in ("class_names", "group_names", "fills", "box_sources"):
        if not isinstance(values[name], list) or not all(isinstance(v, str) for v in values[name]):
            raise refuse(path, f"attribute {name} is not a list of names")
        values[name] = tuple(values[name])
    for name, readable in (("clp_schema", schema.READABLE), ("image_layout", (schema.IMAGE_LAYOUT,))):
        if values[name] not in readable:
            expected = " and ".join(map(repr, readable))
            raise refuse(path, f"{name} is {values[name]!r}, this version reads {expected}")
    return Header(**values)


def check_seal(path: Path, header: Header, tables: dict[str, np.ndarray]) -> None:
    """Check 8: header and tables are those of one whole run; shards of version 1.0 have no seal."""
    if header.clp_schema == "1.0":
        return
    missing = [name for name in (*DIGESTS.values(), SEAL) if name not in tables]
    if missing and not (missing == ["look/digest"] and "look/sample_id" not in tables):
        raise refuse(path, f"/{missing[0]} is missing")
    if not np.array_equal(tables[SEAL], seal_of(header, tables)):
        raise refuse(path, "its tables do not fit its seal: it is damaged, or mixed from two runs")


def check_values(path: Path, header: Header, shape: tuple[int, int], tables: dict[str, np.ndarray]) -> None:
    """Check 3, continued: every index points at something, every box lies inside its picture, ids are unique."""
    height, width = shape

    def within(name: str, low: int, high: int) -> None:
        values = tables.get(name)
        if values is not None and values.size and not (low <= values.min() and values.max() < high):
            raise refuse(path, f"/{name} holds {values.min()}..{values.max()}, expected {low}..{high - 1}")

    within("meta/kind", 0, len(schema.KINDS))
    within("meta/fill", 0, len(header.fills))
    within("meta/group", -1, max(len(header.group_names), 1 << 30 if not header.group_names else 0))
    for part in ("meta", "train"):
        within(f"{part}/label", 0, len(header.class_names))
        within(f"{part}/box_source", 0, len(header.box_sources))
        within(f"{part}/outcome", 0, len(schema.OUTCOMES))
        within(f"{part}/sample_id", 0, 1 << 62)
        x0, y0, x1, y1 = tables[f"{part}/box"].T
        bad = np.flatnonzero(~((x0 >= 0) & (x0 < x1) & (x1 <= width) & (y0 >= 0) & (y0 < y1) & (y1 <= height)))
        if bad.size:
            box = tuple(map(int, tables[f"{part}/box"][bad[0]]))
            raise refuse(path, f"/{part}/box[{bad[0]}] = {box} is not inside {width} x {height} pixels")
    originals = tables["meta/sample_id"][tables["meta/kind"] == schema.ORIGINAL]
    looks = tables.get("look/sample_id", originals[:0])
    for name, ids in (("meta/sample_id of originals", originals), ("look/sample_id", looks)):
        if (np.diff(np.sort(ids)) == 0).any():
            raise refuse(path, f"/{name} holds an id twice")
    if (np.diff(tables["train/sample_id"]) <= 0).any():
        raise refuse(path, "/train/sample_id is not ascending, or holds an id twice")
    if not np.isin(looks, originals).all():
        raise refuse(path, "/look/sample_id names a picture that is not among the originals")
    if not np.isin(tables["meta/parent_id"], originals).all():
        raise refuse(path, "/meta/parent_id names a picture that is not among the originals")
    check_audit(path, header, tables)
    shared = header.settings.get("keep_meta_in_train", False) or header.settings.get("img_max") == "all"
    if not shared and schema.AUDIT not in header.settings and np.isin(originals, tables["train/sample_id"]).any():
        raise refuse(path, "a meta picture is also a training picture")


def check_audit(path: Path, header: Header, tables: dict[str, np.ndarray]) -> None:
    """Check 3 of shards for clp-audit: each background is from a training row. Other shards have no backgrounds."""
    if (schema.AUDIT in header.settings) != ("meta/background_id" in tables):
        raise refuse(path, f"the setting {schema.AUDIT} and /meta/background_id belong together, and one is missing")
    ids = tables.get("meta/background_id", np.zeros(0, np.int64))
    if not np.isin(ids[ids != schema.NO_BACKGROUND], tables["train/sample_id"]).all():
        raise refuse(path, "/meta/background_id names a picture that is not among the training rows")


def check_shard(path: Path | str) -> tuple[Header, tuple[int, int, int, int], dict[str, np.ndarray]]:
    """Run the checks; return the header, the shape of /meta/images, and every small table by name.

    Raises InputError with one line that names the shard, the data set and what was expected. Check 9 (a flipped
    byte) shows when a picture is read; check 10: HDF5 itself can have bugs, so open strangers' shards in a sandbox.
    """
    path = Path(path)
    with open_shard(path) as file:
        try:
            check_links(path, file)
            check_shapes(path, file)
            header = read_header(path, file)
            shape = file["meta/images"].shape
            tables = {name: file[name][...] for name in ALL_FIELDS if name in file and len(ALL_FIELDS[name].shape) < 3}
        except UNCHECKED as error:
            raise refuse(path, f"damaged ({first_line(error)})") from None
    check_values(path, header, shape[1:3], tables)
    check_seal(path, header, tables)
    return header, shape, tables
