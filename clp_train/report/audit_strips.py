"""REPORT: single pictures of an audit, each under all its views, with the answers of the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from clp_aug.common.text import printable
from clp_aug.contract.images import data_uri
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.answers import Answers
from clp_train.auditing.audit import Audit
from clp_train.auditing.spreading import spread
from clp_train.auditing.views import BACKGROUND, MIX_OTHER, MIX_OWN, MIX_SAME, OBJECT, ORIGINALS, AuditSet
from clp_train.auditing.words import points

SIDE = 160  # pixels: larger pictures are shrunk for the page
MOST_DRAWS = 3  # of one kind of background
LONGEST = 60  # characters of a name; the title of the row has the whole name
OTHER_CLASS = "another class"
SIGNS = {
    (True, True): ("✓", "right"), (True, False): ("✗", "wrong"),
    (False, True): ("=", "same"), (False, False): ("≠", "other"),
}  # fmt: skip
"""(the object is present, the predicted class is its class) -> sign and mark."""


def named(name: str) -> str:
    """Return a name from outside as one line of at most LONGEST printable characters."""
    name = printable(name) or "(no name)"
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def choose(strata: np.ndarray, moved: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """Return at most `rows` of P pictures, int64 indices: half of them the pictures that the background moved most
    under any model, half spread over strata. Sorted by how much it moved them under the first model, most first.

    strata: int64 (P,), e.g. class and group; moved: float64 (P,) per model, NaN if unknown. Source: ours.
    """
    pictures = np.arange(len(strata))
    most = np.fmax.reduce(list(moved))
    first = np.argsort(-most, kind="stable")[: (rows + 1) // 2]  # NaN comes last
    first = first[np.isfinite(most[first])]
    rest = np.setdiff1d(pictures, first)
    chosen = np.union1d(first, rest[spread(strata[rest], rows - len(first))])
    return chosen[np.argsort(-moved[0][chosen], kind="stable")]


def strata_of(audit_set: AuditSet) -> np.ndarray:
    """Return a number for each pair of class and group, int64 (P,)."""
    return np.unique(np.stack([audit_set.label, audit_set.group]), axis=1, return_inverse=True)[1].reshape(-1)


def changes(audit_set: AuditSet, answers: Answers, i: int) -> bool:
    """Return whether the predicted class of picture i changes between backgrounds of its own and of other classes: some
    pair of these has two answers.
    """
    same, other = (audit_set.rows[view][i] for view in (MIX_SAME, MIX_OTHER))
    said, said_of_other = (answers.predicted[rows[rows >= 0]] for rows in (same, other))
    return bool((said[:, None] != said_of_other).any())


def change_tokens(changed: Sequence[bool]) -> list[str]:
    """Return the choices of the filter "prediction" that apply to a picture. changed: a bool for each model."""
    tokens = ["any" if any(changed) else "none"]
    if len(changed) == 2:
        tokens += [f"only-{m}" for m in (0, 1) if changed[m] and not changed[1 - m]]
        tokens += ["both"] if all(changed) else []
    return tokens


def strips(audits: Sequence[Audit], reader: ShardReader, chosen: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the template's values for each chosen picture; its views are read only then.

    audits: one or two models on one audit set; chosen: int64 indices of its pictures.
    """
    audit_set = audits[0].audit_set
    classes, donors = audit_set.class_names, donor_labels(reader)
    for place, i in enumerate(chosen.tolist()):
        label, group = int(audit_set.label[i]), int(audit_set.group[i])
        moved = [float(audit.figures.moved[i]) for audit in audits]
        original = audit_set.rows[ORIGINALS][i, 0]
        yield {
            "place": place,
            "id": int(audit_set.sample_id[i]),
            "label": label,
            "group": group,
            "class": named(classes[label]),
            "full": printable(classes[label]),
            "group_name": named(audit_set.group_names[group]) if 0 <= group < len(audit_set.group_names) else "",
            "moved": ["" if np.isnan(value) else f"{value:.4f}" for value in moved],
            "moved_text": [points(None if np.isnan(value) else value) for value in moved],
            "sure": [f"{audit.answers.of_predicted[original]:.4f}" for audit in audits],
            "changes": change_tokens([changes(audit_set, audit.answers, i) for audit in audits]),
            "parts": [
                (title, [cell(audits, reader, i, *view, donors) for view in views])
                for title, views in parts_of(audit_set)
            ],
        }


def parts_of(audit_set: AuditSet) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """Return the parts of a strip: title, and its views as (caption, view, draw)."""
    has, fill = audit_set.rows, audit_set.settings.get("remove", "")
    alone = first_of(has, OBJECT), first_of(has, BACKGROUND, f"{BACKGROUND}{fill}")
    own = [("original", ORIGINALS, 0), ("object alone", alone[0], 0), ("background alone", alone[1], 0)]
    own += [("object pasted back", MIX_OWN, 0)]
    parts = [("The picture and its parts", own)]
    for title, view in (("Backgrounds of its own class", MIX_SAME), ("Backgrounds of other classes", MIX_OTHER)):
        draws = min(MOST_DRAWS, has[view].shape[1]) if view in has else 0
        parts.append((title, [("", view, draw) for draw in range(draws)]))
    parts = [(title, [each for each in views if each[1] in has]) for title, views in parts]
    return [part for part in parts if part[1]]


def first_of(views: Mapping[str, np.ndarray], begins: str, wished: str = "") -> str:
    """Return the view of this name, else the first whose name begins so; "" if there is none."""
    return wished if wished in views else next((view for view in views if view.startswith(begins)), "")


def donor_labels(reader: ShardReader) -> dict[int, int]:
    """Return the class of each picture that gives backgrounds, by sample id; empty if the shard does not store it."""
    tables = reader.tables
    if "train/label" not in tables:
        return {}
    return dict(zip(tables["train/sample_id"].tolist(), tables["train/label"].tolist(), strict=True))


def cell(
    audits: Sequence[Audit], reader: ShardReader, i: int, what: str, view: str, draw: int, donors: Mapping[int, int]
) -> dict[str, Any]:
    """Return the template's values for one view of picture i: pixels, box, caption, answers of all models.

    what: the caption, "" to name the picture that gave the background; donors: sample id -> class. A view that could
    not be made has neither pixels nor answers.
    """
    audit_set = audits[0].audit_set
    row, donor = int(audit_set.rows[view][i, draw]), int(audit_set.donor[view][i, draw])
    source = audit_set.class_names[donors[donor]] if donor in donors else f"sample {donor}"
    caption = what or (f"of {named(source)}" if row >= 0 else "could not be made")
    x0, y0, x1, y1 = (int(v) for v in audit_set.box[i])
    return {
        "uri": thumbnail(reader.image(row)) if row >= 0 else "",
        "caption": caption,
        "title": view if donor < 0 else f"{view}: background of sample {donor}",
        "box": {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0} if view == ORIGINALS else {},
        "answers": [
            answer(audit_set, audit.answers, i, row, not view.startswith(BACKGROUND)) for audit in audits if row >= 0
        ],
    }


def answer(audit_set: AuditSet, answers: Answers, i: int, row: int, has_object: bool) -> dict[str, str]:
    """Return the answer of a model to a row of picture i: sign, mark, class and its probability."""
    said = int(answers.predicted[row])
    sign, mark = SIGNS[has_object, said == int(audit_set.label[i])]
    name = named(audit_set.class_names[said]) if said >= 0 else OTHER_CLASS
    sure = f"{100 * answers.of_predicted[row]:.0f}\N{NO-BREAK SPACE}%"
    return {"sign": sign, "mark": mark, "name": name, "sure": sure}


def thumbnail(picture: np.ndarray) -> str:
    """Return uint8 (H, W, 3) as a compact data URI, shrunk to at most SIDE pixels."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    return data_uri(picture, compact=True)
