"""LOAD: the rows of an audit shard by their views: objects of val on backgrounds of other classes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.audits import MIX_OTHER, AuditHeader, header_of
from clp_aug.contract.errors import InputError, SettingError
from clp_aug.contract.schema import AUDIT, ORIGINAL, Header
from clp_aug.contract.shards import ShardReader
from clp_train.evaluating.selection import GAP
from clp_train.loading.stored import stored_pictures
from clp_train.pictures.types import Pictures

VIEWS = "views"
"""Name of these pictures in a progress bar."""
VAL = "val"
USUAL_FIT = "crop"


def read_views(path: Path, shard: ShardReader, cache: Path | None = None, watch: Watch = unwatched) -> Pictures:
    """Return the objects of val on backgrounds of other classes, uint8 (n, 3, H, W), with the objects' labels.

    path: of an audit shard; shard: the meta set of the run; its own pictures are left out; cache: folder that keeps
    them as a mapped file, None for memory; watch: wraps the rows for a progress bar. Raises InputError for a shard that
    is not of val of the same data set in the same size, or has no such view.
    """
    reader = ShardReader(path)
    made = audit_of(reader, shard)
    rows = rows_before_others(reader, made)
    rows = rows[~np.isin(reader.tables["meta/sample_id"][rows], shard.tables["meta/sample_id"])]
    if not len(rows):
        raise InputError(
            f"shard {path}: none of its pictures has the background of another class; expected some; make it again with"
            f" {audit_command(shard.header)}"
        )

    images = stored_pictures(reader, rows, VIEWS, cache, watch)
    label, sample_id = (
        torch.from_numpy(np.asarray(reader.tables[f"meta/{name}"][rows], np.int64)) for name in ("label", "sample_id")
    )
    return Pictures(images, label, label, sample_id)


def audit_of(reader: ShardReader, shard: ShardReader) -> AuditHeader:
    """Return how an audit shard was made. Raises InputError unless it shows val of the run's data set in the run's
    size.
    """
    try:
        if AUDIT not in reader.header.settings:
            raise ValueError("it is a meta set")
        made = header_of(reader.header.settings[AUDIT])
        check_same(reader.header, shard.header)
        if made.split != VAL:
            raise ValueError(f"it is of split {made.split}, expected {VAL}")
    except ValueError as error:
        remedy = f"make one with {audit_command(shard.header)}"
        raise InputError(f"shard {reader.path}: not an audit of val for this run ({error}); {remedy}") from None
    return made


def check_same(found: Header, expected: Header) -> None:
    """Raise ValueError unless two shards are of one data set, in one size."""
    for what, ours, theirs in (
        ("data set", expected.dataset, found.dataset),
        ("fingerprint", expected.fingerprint[:12], found.fingerprint[:12]),
        ("classes", expected.class_names, found.class_names),
        ("size", expected.settings.get("size"), found.settings.get("size")),
        ("fit", expected.settings.get("fit"), found.settings.get("fit")),
    ):
        if ours != theirs:
            raise ValueError(f"{what} {theirs}, expected {ours}")


def rows_before_others(reader: ShardReader, made: AuditHeader) -> np.ndarray:
    """Return the rows of /meta/images with an object on a background of another class, int64 (n,), ascending.

    Raises InputError for a shard whose rows are not in the order of an audit.
    """
    try:
        first = first_rows(made, reader.tables)
    except ValueError as error:
        raise InputError(f"shard {reader.path}: its views are not those of an audit ({error}); make it again") from None
    places = [place for place, view in enumerate(made.views(), 1) if view.fill == MIX_OTHER]
    rows = (first[:, None] + np.array(places)).ravel()
    fills = np.array(reader.header.fills)[reader.tables["meta/fill"]]
    made_rows: np.ndarray = rows[fills[rows] == MIX_OTHER]
    return made_rows


def first_rows(made: AuditHeader, tables: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the row of each original, int64 (P,). Raises ValueError unless the views of each original follow it."""
    views = made.views()
    each = 1 + len(views)
    kind, parent = tables["meta/kind"], tables["meta/parent_id"]
    if len(kind) % each:
        raise ValueError(f"{len(kind)} rows are not a multiple of {each}")
    kinds = [ORIGINAL, *(view.kind for view in views)]
    if not np.array_equal(kind, np.tile(kinds, len(kind) // each)):
        raise ValueError("the kinds of its rows are not in order")
    if (parent.reshape(-1, each) != parent[::each, None]).any():
        raise ValueError("a view is not of the picture that it follows")
    return np.arange(0, len(kind), each)


def check_views_given(select: str, audit: Path | None, header: Header) -> None:
    """Raise SettingError if epochs are compared by views of val, and no shard with such views is given.

    header: of the run's shard.
    """
    if select == GAP and audit is None:
        reason = f"it needs views of val with other backgrounds; make them with {audit_command(header)}"
        raise SettingError("select", select, reason, {"audit": "SHARD"})


def audit_command(header: Header) -> str:
    """Return the command that makes an audit shard of val that fits a run's shard."""
    settings = header.settings
    words = ["clp-augment", "--audit", VAL, "--dataset", header.dataset, "--size", settings.get("size", "SIZE")]
    if settings.get("fit", USUAL_FIT) != USUAL_FIT:
        words += ["--fit", settings["fit"]]
    if settings.get("attributes"):
        words += ["--attributes", ",".join(map(str, settings["attributes"]))]
    if settings.get("left_out"):
        words.append("--skip-broken")
    return shlex.join(map(str, words))
