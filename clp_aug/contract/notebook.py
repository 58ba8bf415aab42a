"""What a notebook shows of an open shard: its numbers and a few small pictures, as one piece of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clp_aug.contract.errors import InputError
from clp_aug.contract.images import data_uri
from clp_aug.contract.schema import AUDIT, COUNTERFACTUAL, FACTUAL, KINDS, ORIGINAL, OUTCOMES

if TYPE_CHECKING:
    from clp_aug.contract.shards import ShardReader

FAMILIES = 4  # originals that are shown, each with a counterfactual and a factual
SIDE = 64  # pixels, at most, of a picture in the output: larger ones are made smaller
NAMED = 6  # names in a line, before "and 94 more"
HEIGHT = 72  # pixels of a picture on the screen


def shard_html(reader: ShardReader) -> str:
    """Return the HTML of a shard: size, kinds, classes, fills, sources of boxes, and a few pictures as data URIs.

    All texts of the shard are escaped. A picture that cannot be read is named as damaged: no error is raised for it.
    """
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th><td style="text-align: left">{escape(text)}</td></tr>'
        for name, text in facts(reader)
    )
    pictures = "".join(f'<td style="vertical-align: top">{family(reader, i)}</td>' for i in chosen(reader))
    table = f"<table><tbody>{rows}</tbody></table>"
    return f"<div><b>{escape(reader.path.name)}</b>{table}<table><tbody><tr>{pictures}</tr></tbody></table></div>"


def facts(reader: ShardReader) -> Iterator[tuple[str, str]]:
    """Yield the numbers of a shard as (name, text)."""
    header, tables = reader.header, reader.tables
    is_original = tables["meta/kind"] == ORIGINAL
    height, width = reader.shape[1:3]
    purpose = "audit set" if AUDIT in header.settings else "meta set"
    yield "data set", f"{header.dataset}, {purpose}, seed {header.seed}"
    yield "size", f"{len(reader):,} pictures of {width} x {height} pixels, {file_size(reader)}"
    yield "kinds", listed(tables["meta/kind"], KINDS)
    yield "classes", listed(tables["meta/label"][is_original], header.class_names)
    yield "fills", listed(tables["meta/fill"][~is_original], header.fills)
    for name, part in (("meta boxes", "meta"), ("training boxes", "train")):
        source, outcome = tables[f"{part}/box_source"], tables[f"{part}/outcome"]
        if part == "meta":
            source, outcome = source[is_original], outcome[is_original]
        yield name, f"from {listed(source, header.box_sources)}; {listed(outcome, OUTCOMES)}"


def listed(index: np.ndarray, names: Sequence[str]) -> str:
    """Return how often each name occurs: "ring 20, cross 20"; of many names the first NAMED."""
    numbers, counts = np.unique(index, return_counts=True)
    texts = [f"{names[int(k)]} {n:,}" for k, n in zip(numbers[:NAMED], counts[:NAMED], strict=True)]
    more = len(numbers) - len(texts)
    return (", ".join(texts) or "none") + (f" and {more:,} more" if more else "")


def file_size(reader: ShardReader) -> str:
    """Return the size of the file in words; a file that was removed has none."""
    try:
        return f"{reader.path.stat().st_size / 1e6:.1f} MB"
    except OSError:
        return "the file was removed"


def chosen(reader: ShardReader) -> list[int]:
    """Return the rows of at most FAMILIES originals, of as many classes as there are, in the order of the classes."""
    originals = np.flatnonzero(reader.tables["meta/kind"] == ORIGINAL)
    label = reader.tables["meta/label"][originals]
    order = np.argsort(label, kind="stable")
    first = np.searchsorted(label[order], label[order])
    turn = np.arange(len(order)) - first  # its place among the originals of its class
    some = order[np.argsort(turn, kind="stable")][:FAMILIES]
    return [int(originals[i]) for i in some[np.argsort(label[some], kind="stable")]]


def family(reader: ShardReader, original: int) -> str:
    """Return the HTML of one original, with its first counterfactual and its first factual where it has these."""
    header, tables = reader.header, reader.tables
    name = header.class_names[int(tables["meta/label"][original])]
    captions: Mapping[int, str] = {COUNTERFACTUAL: f"not {name}", FACTUAL: name}
    parts = [picture(reader, original, name, "original")]
    is_child = tables["meta/parent_id"] == tables["meta/sample_id"][original]
    for kind, caption in captions.items():
        for i in np.flatnonzero(is_child & (tables["meta/kind"] == kind))[:1]:
            parts.append(picture(reader, int(i), caption, header.fills[int(tables["meta/fill"][i])]))
    return "".join(parts)


def picture(reader: ShardReader, row: int, caption: str, note: str) -> str:
    """Return the HTML of one picture with two lines below."""
    below = f'<small style="display: block">{escape(caption)}<br>{escape(note)}</small>'
    try:
        uri = data_uri(small(reader.image(row)), compact=True)
    except (InputError, OSError):
        return f"<p>row {row} is damaged</p>{below}"
    style = f"height: {HEIGHT}px; image-rendering: pixelated; margin: 0"
    return f'<img src="{uri}" style="{style}" alt="{escape(caption)}, {escape(note)}">{below}'


def small(image: np.ndarray) -> np.ndarray:
    """Return a picture of at most SIDE pixels a side, uint8 (h, w, 3), from uint8 (H, W, 3)."""
    height, width = image.shape[:2]
    if max(height, width) <= SIDE:
        return image
    scale = SIDE / max(height, width)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
