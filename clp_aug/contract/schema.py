"""The contract: what one shard holds. Read this file first.

A shard is one HDF5 file. `META` rows are the meta pictures: originals, each with its counterfactuals and factuals.
`TRAIN` rows give every training picture its box (eq. 8 needs it) and the label it is trained with. `LOOK` is for people
only: the matte behind each original's box; training never reads it. All boxes are pixels of the picture as READ
delivers it at the shard's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = "1.1"
AUDIT_VERSION = "1.2"  # of shards for clp-audit only: they say which picture gave each background
READABLE = ("1.0", SCHEMA_VERSION, AUDIT_VERSION)  # 1.0 had neither digests nor seal
IMAGE_LAYOUT = "NHWC-uint8-RGB"

ORIGINAL, COUNTERFACTUAL, FACTUAL = 0, 1, 2
KINDS = ("original", "counterfactual", "factual")

OUTCOMES = ("ok", "empty", "full", "tiny", "fallback")
"""What happened to the box of the chosen matte: used; refused as empty; full, so one side was moved in (never for a box
of the user); refused as too small; or the matte gave none.
"""
OK, EMPTY, FULL, TINY, FALLBACK = range(5)

NO_FILL = "none"  # fills[0]: what an original has
GREY = 128  # the value that hides a region: 0.5 in [0, 1] is 127.5, which uint8 does not have
UNKNOWN_GROUP = -1
FITS = ("crop", "stretch", "stretch-crop")
"""How READ makes a picture square: its largest centred square; all of it; or, of all of it, the middle 224 of 256."""
MAX_SIDE = 2048  # pixels of a stored picture


@dataclass(frozen=True)
class Field:
    """One data set of a shard: its numpy type, its shape in letters, and what it means."""

    dtype: str
    shape: tuple[str | int, ...]
    meaning: str
    optional: bool = False


FIELDS: dict[str, Field] = {
    "meta/images": Field("u1", ("N", "H", "W", 3), "originals, counterfactuals, factuals; RGB"),
    "meta/label": Field("i8", ("N",), "true class y; a counterfactual keeps y and means 'not y' through kind"),
    "meta/kind": Field("u1", ("N",), "0 original, 1 counterfactual, 2 factual"),
    "meta/fill": Field("u1", ("N",), "index into the attribute fills"),
    "meta/box": Field("i4", ("N", 4), "x0, y0, x1, y1 in pixels, half open; inside = causal"),
    "meta/sample_id": Field("i8", ("N",), "the data set's id of the original; copies share it"),
    "meta/parent_id": Field("i8", ("N",), "sample id of the original that a copy was made from"),
    "meta/group": Field("i4", ("N",), "group index, -1 when unknown"),
    "meta/box_source": Field("u1", ("N",), "index into the attribute box_sources: which matte gave the box"),
    "meta/outcome": Field("u1", ("N",), "ok, empty, full, tiny, fallback"),
    "train/sample_id": Field("i8", ("M",), "ids of all training pictures, ascending"),
    "train/box": Field("i4", ("M", 4), "their boxes"),
    "train/box_source": Field("u1", ("M",), "as meta/box_source"),
    "train/outcome": Field("u1", ("M",), "as meta/outcome"),
    "train/label": Field("i8", ("M",), "the label as trained on, noise included", optional=True),
    "look/matte": Field("u1", ("K", "H", "W"), "matte of each original, 255 = foreground; for people", optional=True),
    "look/sample_id": Field("i8", ("K",), "whose matte it is", optional=True),
    "meta/digest": Field("u8", ("N",), "first 8 bytes of the sha256 of each picture's bytes", optional=True),
    "look/digest": Field("u8", ("K",), "the same of each matte", optional=True),
    "seal": Field("u1", (32,), "sha256 over attributes and tables; zeros until the shard is whole", optional=True),
}
AUDIT_FIELDS: dict[str, Field] = {
    "meta/background_id": Field("i8", ("N",), "id of the training row whose background it has, or -1", optional=True),
}
"""What a shard for clp-audit has in addition. Its training rows are the pictures that give backgrounds."""
ALL_FIELDS = {**FIELDS, **AUDIT_FIELDS}
AUDIT = "audit"  # the setting that only such a shard has
NO_BACKGROUND = -1
SEAL = "seal"
DIGESTS = {"meta/images": "meta/digest", "look/matte": "look/digest"}
"""Data set of pictures -> that of their digests."""

META = tuple(name for name in FIELDS if name.startswith("meta/") and name not in ("meta/images", "meta/digest"))
TRAIN = tuple(name for name in FIELDS if name.startswith("train/"))

JSON_ATTRIBUTES = ("class_names", "group_names", "fills", "box_sources", "settings", "matte")
TEXT_ATTRIBUTES = ("clp_schema", "image_layout", "dataset", "fingerprint", "tool_version")
INT_ATTRIBUTES = ("seed",)


@dataclass(frozen=True)
class Header:
    """The root attributes of a shard.

    settings: the run's configuration as plain JSON; matte: {"name", "sha256", "licence"} of the chosen back end;
    fingerprint: sha256 of the data set's table (ids, labels, groups, splits, names), not of its pixels.
    """

    dataset: str
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    fills: tuple[str, ...]
    box_sources: tuple[str, ...]
    settings: dict[str, Any]
    matte: dict[str, str | None]
    fingerprint: str
    seed: int
    tool_version: str
    clp_schema: str = SCHEMA_VERSION
    image_layout: str = IMAGE_LAYOUT
