"""REPORT: where several runs look on the same pictures: Grad-CAM side by side, on originals of a shard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.errors import ClpError
from clp_aug.contract.schema import ORIGINAL
from clp_aug.contract.shards import ShardReader
from clp_train.evaluating.attention import Look, look_at
from clp_train.evaluating.metrics import predict
from clp_train.pictures.types import BoxedPictures
from clp_train.predicting.trained import load_classifier
from clp_train.report.compare_runs import Run, Runs
from clp_train.report.page import picture_entry

SHOWN = 12  # pictures


class Looks(NamedTuple):
    """Where the first run of each variant looks. shard: the source of the originals, None without one; by_run: name of
    a run -> its looks, all at the same pictures; remarks: why other runs have none, one line each.
    """

    shard: Path | None
    by_run: dict[str, list[Look]]
    remarks: list[str]


def looks_of(runs: Runs, audit_shard: Path | None, device: str, watch: Watch = unwatched) -> Looks:
    """Return where the runs look on a few originals of their shard, else of the audit set if there is one.

    For a variant of several runs only the first one is used. A run that cannot be shown gives a remark, not an error.
    """
    reader, remarks = shard_of(runs, audit_shard)
    by_run: dict[str, list[Look]] = {}
    if reader is None:
        return Looks(None, by_run, remarks)
    try:
        pictures = originals(reader, SHOWN)
    except ClpError as error:
        return Looks(None, by_run, [str(error)])
    for run in watch([runs.runs[variant.runs[0]] for variant in runs.variants], "LOOK"):
        found = look(run, pictures, device)
        if isinstance(found, str):
            remarks.append(f"{run.name}: {found}")
        else:
            by_run[run.name] = found
    return Looks(reader.path, by_run, remarks)


def shard_of(runs: Runs, audit_shard: Path | None) -> tuple[ShardReader | None, list[str]]:
    """Return the first shard of a run that exists and fits its data, else the audit set, and why there is none."""
    remarks = []
    paths = dict.fromkeys(Path(run.result["config"]["meta"]) for run in runs.runs)
    for path in [*paths, *([audit_shard] if audit_shard else [])]:
        try:
            reader = ShardReader(path)
        except ClpError as error:
            remarks.append(str(error))
            continue
        if reader.header.fingerprint == runs.first["fingerprint"]:
            return reader, []
        remarks.append(f"shard {path}: it now holds other pictures")
    return None, remarks


def originals(reader: ShardReader, most: int) -> BoxedPictures:
    """Return at most `most` originals of a shard, spread evenly over them. Raises InputError for a damaged picture."""
    tables = reader.tables
    rows = np.flatnonzero(tables["meta/kind"] == ORIGINAL)
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]
    images = np.stack([reader.image(int(row)) for row in rows])
    label, ids, group, box = (
        torch.from_numpy(tables[f"meta/{name}"][rows]).long() for name in ("label", "sample_id", "group", "box")
    )
    kind = torch.full((len(rows),), ORIGINAL, dtype=torch.uint8)
    return BoxedPictures(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), label, group, ids, box, kind)


def look(run: Run, pictures: BoxedPictures, device: str) -> list[Look] | str:
    """Return where a run looks on each picture, or why this cannot be shown. Classes are those that it predicts."""
    side = pictures.images.shape[2]
    try:
        classifier = load_classifier(run.folder, device)
        if classifier.about.size != side:
            return f"it takes pictures of {classifier.about.size} pixels, the shard's have {side}"
        place = next(classifier.parameters()).device
        on_device = pictures.to(place)
        summary, looks = look_at(classifier.network, on_device)
        if "no_map" in summary:
            return str(summary["no_map"])
        predicted = predict(classifier.network, on_device.images, classifier.judge).cpu()
    except ClpError as error:
        return str(error)
    return [each._replace(predicted=found) for each, found in zip(looks, predicted, strict=True)]


def sheet(looks: Looks, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the page's values: for each picture its own entry and [(name of a run, entry)] of every run."""
    columns = {name: [picture_entry(each, class_names) for each in some] for name, some in looks.by_run.items()}
    rows = zip(*columns.values(), strict=True)
    return [{"picture": row[0], "runs": list(zip(columns, row, strict=True))} for row in rows]
