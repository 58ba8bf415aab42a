"""REPORT: one self-contained page of a finished run: headline, curves, table, where it looks, settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.files import written_beside
from clp_aug.contract.errors import InputError
from clp_aug.contract.images import data_uri
from clp_train.evaluating.attention import Look, attention, inside_share
from clp_train.pictures.types import masks
from clp_train.report.confusions import confusions_in, layout
from clp_train.report.curves import panels
from clp_train.report.table import Result, accuracy_table, percent
from clp_train.report.template import rendered

NONE: Mapping[str, Tensor] = {}
OPACITY, DIMMED = 0.85, 0.6  # of the strongest pixel of a heat map; brightness of the grey picture below

RESULT_PARTS = {
    "class_names", "config", "dataset", "fingerprint", "group_names", "has_groups", "history", "last", "meta_kinds",
    "seconds", "selected", "shard_settings", "train_group_counts", "versions",
}  # fmt: skip


def write_page(run_folder: Path, out: Path, looks: Sequence[Look] = ()) -> None:
    """Write the page of the run in a folder to `out`, as `write_result_page` does.

    Raises InputError for a folder without a finished run, with tables of predictions of another, or a disk that
    refuses.
    """
    result = read_result(Path(run_folder))
    write_result_page(result, out, looks, confusions_in(Path(run_folder), result))


def write_result_page(
    result: Result, out: Path, looks: Sequence[Look] = (), confusions: Mapping[str, Tensor] = NONE
) -> None:
    """Write the page of a result to `out`: one HTML file without any outside resource or script.

    looks: pictures of one size for the contact sheet; confusions: matrix by split, int64 (C, C). The same
    run and looks give the same bytes. Raises InputError
    when the disk refuses.
    """
    values = {
        **parts_of(result),
        "confusions": [layout(counts, result["class_names"], split) for split, counts in confusions.items()],
        "looks": [picture_entry(look, result["class_names"]) for look in looks],
        "summary": looks_summary(looks),
    }
    page = rendered("page.html", values)
    with written_beside(Path(out)) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))  # a path may have bytes that are not text


def parts_of(result: Result) -> dict[str, Any]:
    """Return the template's values that come from the result alone, by name."""
    return {
        "title": f"{result['config']['method']} on {result['dataset']}",
        "lead": lead(result),
        "tiles": tiles(result),
        "panels": panels(result),
        "table": table_cells(result),
        "no_map": (result.get("attention") or {}).get("no_map", ""),
        "settings": settings(result),
    }


def read_result(folder: Path) -> Result:
    """Return the result of a finished run as plain JSON, checked so that a page can be made from it.

    Raises InputError for a folder without a result, or for a result with a part of the wrong kind.
    """
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: no result.json, so no finished run; train with clp-train --out {folder}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); train again") from None
    missing = RESULT_PARTS - set(result if isinstance(result, dict) else ())
    if missing:
        raise InputError(f"{path}: not a result of clp-train, it lacks {', '.join(sorted(missing))}; train again")
    with result_of_a_run(folder):
        parts_of(result)
    return result


@contextmanager
def result_of_a_run(folder: Path) -> Iterator[None]:
    """Turn errors from a stored result with a part of the wrong kind into one line. Raises InputError."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{folder / 'result.json'}: not a result of clp-train ({type(error).__name__}: {error}); train again"
        ) from None


def lead(result: Result) -> str:
    """Return the line below the title."""
    config = result["config"]
    parts = (config["model"], f"seed {config['seed']}", f"{result['last']['epoch']} epochs")
    return " · ".join((*parts, f"{result['seconds']:g} s of training", f"meta set {Path(config['meta']).name}"))


def tiles(result: Result) -> list[tuple[str, str, str]]:
    """Return the headline, (name, value, source): from test if there is a test split, else from val.

    For a data set with protocols: accuracy and mean precision of each.
    """
    snapshot = result["selected"] or result["last"]
    moment = f"{'selected' if result['selected'] else 'last'} epoch {snapshot['epoch']}"
    protocols = {s: name for s, name in result.get("protocols", {}).items() if s in snapshot["metrics"]}
    if protocols:
        return [
            (f"{name}, {measure}", percent(snapshot["metrics"][split][key]), f"{split}, {moment}")
            for split, name in protocols.items()
            for measure, key in (("accuracy", "average"), ("mean precision", "precision"))
        ]
    split = next((name for name in snapshot["metrics"] if name != "val"), "val")
    metrics = snapshot["metrics"][split]
    source = f"{split}, {moment}"
    worst = "worst group" if result["has_groups"] else "worst class"
    return [
        (worst, percent(metrics["worst"]), source),
        ("average", percent(metrics["average"]), source),
        ("average, weighted as in training", percent(metrics["weighted_average"]), source),
    ]


def table_cells(result: Result) -> dict[str, Any]:
    """Return head, rows and note of the table that the command line prints."""
    table = accuracy_table(result)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    parts = next((i + 1 for i, row in enumerate(table.rows) if row.end_section), 0)
    return {
        "head": [str(column.header) for column in table.columns],
        "sections": [[list(map(str, row)) for row in section] for section in (rows[:parts], rows[parts:])],
        "note": str(table.caption),
    }


def settings(result: Result) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the settings of the run: (title, [(name, value)])."""
    data = {
        "dataset": result["dataset"],
        "fingerprint": result["fingerprint"][:12],
        "training pictures": sum(result["train_group_counts"]),
        **{f"meta {kind}s": n for kind, n in result["meta_kinds"].items()},
    }
    sections = {
        "Training": result["config"],
        "Data": data,
        "Shard": result["shard_settings"],
        "Versions": result["versions"],
    }
    return [(title, [(k, plain(v)) for k, v in values.items()]) for title, values in sections.items()]


def plain(value: object) -> str:
    """Return a JSON value as text; a dash for none."""
    if value in (None, "", []):
        return "–"
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    return value if isinstance(value, str) else json.dumps(value)


def looks_summary(looks: Sequence[Look]) -> str:
    """Return one line about the share of the maps inside the boxes; empty without pictures."""
    if not looks:
        return ""
    maps = torch.stack([look.cam for look in looks])
    summary = attention(maps, masks(torch.stack([look.box for look in looks]), *maps.shape[1:]))
    text = (
        f"{summary.maps} pictures: on average {percent(summary.inside)} of the map lies in the box, which takes"
        f" {percent(summary.area)} of the picture; the maximum lies in it on {percent(summary.pointing)}"
    )
    return text + (f"; left out, zero throughout: {summary.zero}" if summary.zero else "")


def picture_entry(look: Look, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the template's values for one picture."""
    image = look.image.permute(1, 2, 0).numpy()
    height, width = image.shape[:2]
    share = inside_share(look.cam[None], masks(look.box[None], height, width)).item()
    x0, y0, x1, y1 = look.box.tolist()
    return {
        "picture": data_uri(image),
        "heat": data_uri(heat_map(image, look.cam.numpy())),
        "width": width,
        "height": height,
        "box": {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
        "label": class_names[int(look.label)],
        "predicted": class_names[int(look.predicted)],
        "right": int(look.label) == int(look.predicted),
        "share": "map is zero" if np.isnan(share) else f"{percent(share)} inside",
    }


def heat_map(image: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, 3): the picture in dark grey under its map, coloured and opaque by the share of its maximum.

    image: uint8 (H, W, 3); cam: float (H, W) >= 0. For people only: each map is scaled by its own maximum.
    """
    from matplotlib import colormaps

    strength = cam / max(float(cam.max()), np.finfo(np.float32).tiny)
    colour = 255 * colormaps["inferno"](strength)[..., :3]
    grey = DIMMED * image.mean(2, keepdims=True)
    opacity = OPACITY * strength[..., None]
    return ((1 - opacity) * grey + opacity * colour).round().astype(np.uint8)
