"""The contact sheet: one self-contained page of originals, mattes, boxes, counterfactuals and factuals."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from clp_aug.common.files import remove_leftovers, written_beside
from clp_aug.common.locks import held_for
from clp_aug.contract import schema
from clp_aug.contract.draws import first_draws
from clp_aug.contract.images import data_uri
from clp_aug.contract.shards import ShardReader
from clp_aug.inspecting.summary import group_name, lines, summarise


def write_sheet(reader: ShardReader, path: Path, rows: int = 200) -> int:
    """Write one HTML page without external resources: a row per original, at most `rows`; return the number of rows.

    Rows are spread evenly over classes and groups; the same shard gives the same page. Only pictures of these rows are
    read. Raises InputError for a damaged picture or a disk that refuses.
    """
    import jinja2

    summary = summarise(reader)
    originals = choose(reader, rows)
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
        resources.files(__package__).joinpath("sheet.html").read_text("utf-8")
    )
    page = template.stream(
        summary=summary,
        lines=lines(summary),
        filters=_filters(reader, originals),
        charts=_charts(summary),
        shown=len(originals),
        originals=summary["kinds"].get(schema.KINDS[schema.ORIGINAL], 0),
        height=reader.shape[1],
        width=reader.shape[2],
        rows=_rows(reader, originals),
    )
    path = Path(path)
    with held_for(path) if os.path.isdir(path.parent) else nullcontext():
        remove_leftovers(path)
        with written_beside(path) as temporary:
            page.dump(str(temporary), encoding="utf-8", errors="replace")  # a file may have a name that is not UTF-8
    return len(originals)


def choose(reader: ShardReader, rows: int) -> np.ndarray:
    """Return the meta rows of at most `rows` originals, int64, sorted by class, group and id.

    Every class and group gives one original, then a second, and so on, in an order drawn by id. A last round that does
    not fit is spread evenly over the groups that still have originals.
    """
    tables = reader.tables
    originals = np.flatnonzero(tables["meta/kind"] == schema.ORIGINAL)
    ids, group, label = (tables[f"meta/{name}"] for name in ("sample_id", "group", "label"))
    lottery = first_draws(0, ids[originals], "look")
    originals = originals[np.lexsort((lottery, group[originals], label[originals]))]
    stratum = np.stack([label[originals], group[originals]])
    starts = np.flatnonzero(np.append(True, (np.diff(stratum) != 0).any(0)))
    turn = np.arange(len(originals)) - np.repeat(starts, np.diff(np.append(starts, len(originals))))
    last = np.searchsorted(np.cumsum(np.bincount(turn)), rows, side="right")  # the round that does not fit
    left = rows - int((turn < last).sum())
    round_ = np.flatnonzero(turn == last)
    if left < len(round_):
        round_ = round_[np.arange(left) * len(round_) // max(left, 1)]
    chosen = originals[np.concatenate([np.flatnonzero(turn < last), round_])]
    return chosen[np.lexsort((ids[chosen], group[chosen], label[chosen]))]


def _rows(reader: ShardReader, originals: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the values of the template for each original; pictures as data URIs, read one row at a time."""
    tables = reader.tables
    looks = tables.get("look/sample_id", originals[:0])
    shown = np.flatnonzero(np.isin(looks, tables["meta/sample_id"][originals]))
    matte_of = dict(zip(looks[shown].tolist(), shown.tolist(), strict=True))
    order = np.argsort(tables["meta/parent_id"], kind="stable")
    parents = tables["meta/parent_id"][order]
    for i in originals:
        sample = int(tables["meta/sample_id"][i])
        family = order[slice(*np.searchsorted(parents, [sample, sample + 1]))]
        copies = {
            kind: [_picture(reader, int(j)) for j in family if tables["meta/kind"][j] == kind]
            for kind in (schema.COUNTERFACTUAL, schema.FACTUAL)
        }
        matte = reader.matte(matte_of[sample]) if sample in matte_of else None
        yield {
            **_picture(reader, int(i)),
            "matte": None if matte is None else data_uri(matte),
            "counterfactuals": copies[schema.COUNTERFACTUAL],
            "factuals": copies[schema.FACTUAL],
        }


def _picture(reader: ShardReader, i: int) -> dict[str, Any]:
    header, tables = reader.header, reader.tables
    return {
        "uri": data_uri(reader.image(i)),
        "id": int(tables["meta/sample_id"][i]),
        "class": header.class_names[tables["meta/label"][i]],
        "group": group_name(header, int(tables["meta/group"][i])),
        "fill": header.fills[tables["meta/fill"][i]],
        "outcome": schema.OUTCOMES[tables["meta/outcome"][i]],
        "source": header.box_sources[tables["meta/box_source"][i]],
        "box": [int(v) for v in tables["meta/box"][i]],
    }


def _filters(reader: ShardReader, originals: np.ndarray) -> dict[str, list[str]]:
    """Return the choices of each filter: the names that occur among the rows on the page, in the shard's order."""
    header, tables = reader.header, reader.tables
    copies = np.isin(tables["meta/parent_id"], tables["meta/sample_id"][originals])
    copies &= tables["meta/kind"] != schema.ORIGINAL
    names = {
        "class": [header.class_names[k] for k in np.unique(tables["meta/label"][originals])],
        "group": [group_name(header, int(k)) for k in np.unique(tables["meta/group"][originals])],
        "fill": [header.fills[k] for k in np.unique(tables["meta/fill"][copies])],
        "outcome": [schema.OUTCOMES[k] for k in np.unique(tables["meta/outcome"][originals])],
    }
    return {name: list(dict.fromkeys(values)) for name, values in names.items()}


def _charts(summary: dict[str, Any]) -> list[tuple[str, list[tuple[str, int, float]]]]:
    """Return the bars of the header: (title, [(name, count, share of all in %)])."""
    charts = []
    for title, key in (("Fills", "fills"), ("Meta outcomes", "meta_outcomes"), ("Train outcomes", "train_outcomes")):
        total = sum(summary[key].values())
        charts.append((title, [(name, n, round(100 * n / total, 2)) for name, n in summary[key].items()]))
    return charts
