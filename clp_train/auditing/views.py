"""AUDIT: the pictures of an audit shard by view: nine views of each audited picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clp_aug.contract.audits import MIX_OTHER, MIX_OWN, MIX_SAME, MIXES, AuditHeader, View, header_of
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import AUDIT, COUNTERFACTUAL, NO_BACKGROUND
from clp_aug.contract.shards import ShardReader
from clp_train.loading.views import first_rows

__all__ = ["BACKGROUND", "MIX_OTHER", "MIX_OWN", "MIX_SAME", "OBJECT", "ORIGINALS", "AuditSet", "read_audit_set"]

ORIGINALS = "original"
OBJECT, BACKGROUND = "object alone, ", "background alone, "
"""Beginnings of the names of views that show one of the two: "object alone, grey", "background alone, cagan"."""
NONE = -1  # as a donor: the picture has no background of another picture
REMEDY = "make one with clp-augment --audit"


@dataclass(frozen=True)
class AuditSet:
    """The tables of an audit shard, P audited pictures. Pictures themselves stay in the shard.

    settings: of the shard, as in its header: split, backgrounds (the split they come from), draws,
    pool, paste, remove; label, group (-1 unknown), sample_id: int64 (P,); box: int32 (P, 4), half-open pixels; outcome:
    uint8 (P,), of the contract; rows: view -> rows of /meta/images, int64 (P, draws of that view), -1 if the picture
    lacks this view, because a fill had no background to use; donor: view -> sample ids, shaped like rows, of the
    pictures that gave the backgrounds, -1 for none.
    """

    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    settings: Mapping[str, Any]
    label: np.ndarray
    group: np.ndarray
    sample_id: np.ndarray
    box: np.ndarray
    outcome: np.ndarray
    rows: Mapping[str, np.ndarray]
    donor: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.label)


def read_audit_set(reader: ShardReader) -> AuditSet:
    """Return the tables of an audit shard. Raises InputError for a shard that is not an audit set, or that holds other
    views than its header says.
    """
    header, tables = reader.header, reader.tables
    if AUDIT not in header.settings:
        raise InputError(f"shard {reader.path}: it is a meta set without the views of an audit; {REMEDY}")
    try:
        made = header_of(header.settings[AUDIT])
        first = first_rows(made, tables)
    except ValueError as error:
        raise InputError(
            f"shard {reader.path}: it holds other views than those of an audit ({error}); {REMEDY}"
        ) from None
    rows, donor = {ORIGINALS: first[:, None]}, {ORIGINALS: np.full((len(first), 1), NO_BACKGROUND)}
    fills = np.array(header.fills)[tables["meta/fill"]]
    for name, places in places_of(made).items():
        at = first[:, None] + places
        asked = made.views()[places[0] - 1].fill
        rows[name] = np.where(fills[at] == asked, at, NONE)
        donor[name] = np.where(rows[name] == NONE, NO_BACKGROUND, tables["meta/background_id"][at])
    label, group, sample_id, box, outcome = (
        tables[f"meta/{name}"][first] for name in ("label", "group", "sample_id", "box", "outcome")
    )
    return AuditSet(
        header.class_names, header.group_names, asdict(made), label, group, sample_id, box, outcome, rows, donor
    )


def places_of(made: AuditHeader) -> dict[str, np.ndarray]:
    """Return for each view, by name, how many rows after its original it is stored."""
    places: dict[str, list[int]] = {}
    for place, view in enumerate(made.views(), 1):
        places.setdefault(name_of(view), []).append(place)
    return {name: np.array(some) for name, some in places.items()}


def name_of(view: View) -> str:
    """Return the name of a view."""
    if view.fill in MIXES:
        return view.fill
    return (BACKGROUND if view.kind == COUNTERFACTUAL else OBJECT) + view.fill
