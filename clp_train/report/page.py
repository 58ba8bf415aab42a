"""REPORT: one self-contained page of a finished run: headline, curves, table, where it looks, settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clp_aug.common.files import written_beside
from clp_aug.contract.errors import InputError
from clp_aug.contract.images import data_uri
from clp_train.evaluating.attention import Look, attention, inside_share
from clp_train.pictures.types import masks
from clp_train.report.curves import panels
from clp_train.report.table import Result, accuracy_table, percent

OPACITY, DIMMED = 0.85, 0.6  # of the strongest pixel of a heat map; of the grey picture under it


def write_page(run_folder: Path, out: Path, looks: Sequence[Look] = ()) -> None:
    """Write the page of the run in a folder to `out`: one HTML file without any outside resource or script.

    looks: pictures of one size for the contact sheet. The same run and looks give the same bytes. Raises InputError
    for a folder without a finished run or a disk that refuses.
    """
    import jinja2

    result = read_result(Path(run_folder))
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(resources.files(__package__).joinpath("page.html").read_text("utf-8"))
    page = template.render(
        title=f"{result['config']['method']} on {result['dataset']}",
        lead=lead(result),
        tiles=tiles(result),
        panels=panels(result),
        table=table_cells(result),
        looks=[shown(look, result["class_names"]) for look in looks],
        summary=looks_summary(looks),
        settings=settings(result),
    )
    with written_beside(Path(out)) as temporary:
        temporary.write_text(page, "utf-8")


def read_result(folder: Path) -> Result:
    """Return the result of a finished run as plain JSON. Raises InputError when the folder holds none."""
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: no result.json, so no finished run; train with clp-train --out {folder}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); train again") from None
    missing = {"config", "dataset", "history", "last", "selected"} - set(result if isinstance(result, dict) else ())
    if missing:
        raise InputError(f"{path}: not a result of clp-train, it lacks {', '.join(sorted(missing))}; train again")
    return result


def lead(result: Result) -> str:
    """Return the line below the title."""
    config = result["config"]
    parts = (config["model"], f"seed {config['seed']}", f"{result['last']['epoch']} epochs")
    return " · ".join((*parts, f"{result['seconds']:g} s of training", f"meta set {Path(config['meta']).name}"))


def tiles(result: Result) -> list[tuple[str, str, str]]:
    """Return the headline, (name, value, what it is of): test where there is a test split, else val.

    Of a data set with protocols: accuracy and mean precision of each.
    """
    snapshot = result["selected"] or result["last"]
    when = f"{'selected' if result['selected'] else 'last'} epoch {snapshot['epoch']}"
    protocols = {s: name for s, name in result.get("protocols", {}).items() if s in snapshot["metrics"]}
    if protocols:
        return [
            (f"{name}, {what}", percent(snapshot["metrics"][split][key]), f"{split}, {when}")
            for split, name in protocols.items()
            for what, key in (("accuracy", "average"), ("mean precision", "precision"))
        ]
    split = next((name for name in snapshot["metrics"] if name != "val"), "val")
    metrics = snapshot["metrics"][split]
    of = f"{split}, {when}"
    worst = "worst group" if result["has_groups"] else "worst class"
    return [
        (worst, percent(metrics["worst"]), of),
        ("average", percent(metrics["average"]), of),
        ("average, weighted as in training", percent(metrics["weighted_average"]), of),
    ]


def table_cells(result: Result) -> dict[str, Any]:
    """Return head, rows and note of the table that the command line prints."""
    table = accuracy_table(result)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    parts = next((i + 1 for i, row in enumerate(table.rows) if row.end_section), 0)
    return {
        "head": [column.header for column in table.columns],
        "sections": [rows[:parts], rows[parts:]],
        "note": table.caption,
    }


def settings(result: Result) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what the run was made with: (title, [(name, value)])."""
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
    """Say in one line how much of the maps lies in the boxes; empty without pictures."""
    if not looks:
        return ""
    maps = torch.stack([look.cam for look in looks])
    found = attention(maps, masks(torch.stack([look.box for look in looks]), *maps.shape[1:]))
    text = (
        f"{found.maps} pictures: on average {percent(found.inside)} of the map lies in the box, which takes"
        f" {percent(found.area)} of the picture; the maximum lies in it on {percent(found.pointing)}"
    )
    return text + (f"; left out, zero throughout: {found.zero}" if found.zero else "")


def shown(look: Look, class_names: Sequence[str]) -> dict[str, Any]:
    """Return what the template shows of one picture."""
    image = look.image.permute(1, 2, 0).numpy()
    height, width = image.shape[:2]
    share = inside_share(look.cam[None], masks(look.box[None], height, width)).item()
    x0, y0, x1, y1 = look.box.tolist()
    return {
        "picture": data_uri(image),
        "heat": data_uri(heated(image, look.cam.numpy())),
        "width": width,
        "height": height,
        "box": {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
        "label": class_names[int(look.label)],
        "predicted": class_names[int(look.predicted)],
        "right": int(look.label) == int(look.predicted),
        "share": "map is zero" if np.isnan(share) else f"{percent(share)} inside",
    }


def heated(image: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, 3): the picture in dark grey under its map, coloured and opaque by the share of its maximum.

    image: uint8 (H, W, 3); cam: float (H, W) >= 0. For the eye only: a map's own maximum is its unit.
    """
    from matplotlib import colormaps

    strength = cam / max(float(cam.max()), np.finfo(np.float32).tiny)
    colour = 255 * colormaps["inferno"](strength)[..., :3]
    grey = DIMMED * image.mean(2, keepdims=True)
    opacity = OPACITY * strength[..., None]
    return ((1 - opacity) * grey + opacity * colour).round().astype(np.uint8)
