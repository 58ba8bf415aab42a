"""Predictions of pictures as a CSV table, written while pictures are read: the pictures do not stay in memory."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.files import written_beside
from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.errors import InputError
from clp_train.evaluating.metrics import probabilities
from clp_train.evaluating.outputs import BATCH
from clp_train.evaluating.predictions import Predictions
from clp_train.evaluating.scores import Sure, join_sure, sure_of
from clp_train.loading.decoding import block_of, default_workers, read_in_order
from clp_train.predicting.pictures import UNKNOWN, Source
from clp_train.predicting.trained import TrainedClassifier

LISTED = 10  # most pictures that a message names


@dataclass
class Made:
    """What was predicted. rows: of the source, in order; predicted: int64 (n,), the class of each; sure: how sure the
    classifier is of them; broken: why pictures were passed over, a line each.
    """

    rows: list[int] = field(default_factory=list)
    parts: list[Tensor] = field(default_factory=list)
    sure_parts: list[Sure] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def predicted(self) -> Tensor:
        """The predicted classes, int64 (n,)."""
        return torch.cat(self.parts) if self.parts else torch.zeros(0, dtype=torch.int64)

    @property
    def sure(self) -> Sure:
        """How sure the classifier is of each."""
        return join_sure(self.sure_parts) if self.sure_parts else Sure(torch.zeros(0))


def write_predictions(
    path: Path,
    classifier: TrainedClassifier,
    source: Source,
    top: int | None = None,
    skip_broken: bool = False,
    watch: Watch = unwatched,
) -> Made:
    """Predict pictures and write one line per picture: file, label and group if any are known, predicted class, and the
    probabilities of all classes, or the `top` most likely classes with their probabilities.

    Raises InputError, in one line, for all pictures that cannot be read, unless they may be skipped; also if none can
    be read; DivergedError for a logit that is NaN.
    """
    made = Made()
    with written_beside(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = known_columns(source, classifier)
        writer.writerow(["file", *columns, "predicted", *share_columns(classifier.class_names, top)])
        for rows, predicted, shares in predict(classifier, source, made, skip_broken, watch):
            for row, c, values in zip(rows, predicted.tolist(), shares, strict=True):
                known = [name_of(column[row], names) for column, names in columns.values()]
                name = classifier.class_names[c]
                writer.writerow([source.names[row], *known, name, *share_values(values, classifier.class_names, top)])
        if not made.rows:
            raise refusal(made.broken, len(source), "")
    return made


def known_columns(source: Source, classifier: TrainedClassifier) -> dict[str, tuple[np.ndarray, Sequence[str]]]:
    """Return the columns of known facts of the pictures: name -> indices, and the names of the indices."""
    groups = classifier.about.group_names
    columns = {"label": (source.label, classifier.class_names)} if (source.label != UNKNOWN).any() else {}
    return columns | ({"group": (source.group, groups)} if groups and (source.group != UNKNOWN).any() else {})


def name_of(index: int, names: Sequence[str]) -> str:
    """Return the name of an index, "" for UNKNOWN."""
    return "" if index == UNKNOWN else names[index]


def share_columns(class_names: Sequence[str], top: int | None) -> list[str]:
    """Return the names of the columns of probabilities."""
    if top is None:
        return [f"p({name})" for name in class_names]
    return [title for k in range(1, top + 1) for title in (f"class_{k}", f"p_{k}")]


def share_values(shares: Tensor, class_names: Sequence[str], top: int | None) -> list[str]:
    """Return the probabilities of one picture, float32 (C,), as cells of the table."""
    if top is None:
        return [as_text(share) for share in shares.tolist()]
    values, order = torch.sort(shares, descending=True, stable=True)
    pairs = zip(order[:top].tolist(), values[:top].tolist(), strict=True)
    return [text for c, share in pairs for text in (class_names[c], as_text(share))]


def as_text(share: float) -> str:
    """Return a float32 as text that reads back as the same number."""
    return f"{share:.9g}"


def predict(
    classifier: TrainedClassifier, source: Source, made: Made, skip_broken: bool, watch: Watch
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield rows, predicted classes (n,) and probabilities (n, C) of pictures, in batches; store them in `made`."""
    waiting = deque[int]()

    def parts() -> Iterator[Tensor]:
        for rows, images in batches(readable(source, classifier.about.size, made.broken, skip_broken, watch)):
            waiting.extend(rows)
            yield images

    for predicted, shares in probabilities(classifier.network, parts(), classifier.judge, classifier.scale):
        rows = [waiting.popleft() for _ in range(len(predicted))]
        made.rows += rows
        made.parts.append(predicted)
        made.sure_parts.append(sure_of(predicted, shares))
        yield rows, predicted, shares


def batches(pictures: Iterable[tuple[int, np.ndarray]]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield rows and pictures, uint8 (n, 3, size, size), in batches as large as those of EVALUATE."""
    rows: list[int] = []
    images: list[np.ndarray] = []
    for row, image in pictures:
        rows.append(row)
        images.append(image.transpose(2, 0, 1))
        if len(rows) == BATCH:
            yield rows, torch.from_numpy(np.stack(images))
            rows, images = [], []
    if rows:
        yield rows, torch.from_numpy(np.stack(images))


def readable(
    source: Source, size: int, broken: list[str], skip_broken: bool, watch: Watch
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield row and picture, uint8 (size, size, 3), of those that can be read; store in `broken` why others cannot.

    Raises InputError that names all pictures that cannot be read, unless they may be skipped.
    """

    def read(row: int) -> Any:
        try:
            return source.read(row)
        except InputError as error:
            return error

    order = np.arange(len(source))
    found = read_in_order(read, order, default_workers(), block_of(3 * size**2))
    with closing(found):
        for row, picture in zip(watch(range(len(source)), "PREDICT"), found, strict=True):
            if isinstance(picture, InputError):
                broken.append(str(picture))
            elif skip_broken or not broken:
                yield row, picture
    if broken and not skip_broken:
        raise refusal(broken, len(source), ", or give --skip-broken")


def refusal(broken: Sequence[str], looked_at: int, remedy: str) -> InputError:
    """Return one line that counts the pictures that cannot be read and names the first of them."""
    if len(broken) == 1 and looked_at > 1:
        return InputError(broken[0] + remedy)
    reasons = [why.rpartition("; ")[0] or why for why in broken[:LISTED]]
    more = f" ... and {len(broken) - LISTED:,} more" if len(broken) > LISTED else ""
    return InputError(
        f"{len(broken):,} of {looked_at:,} pictures cannot be read: {', '.join(reasons)}{more}; replace them or remove"
        f" them{remedy}"
    )


def write_labelled(
    path: Path, names: Sequence[str], columns: dict[str, list[Any]], class_names: Sequence[str], found: Predictions
) -> None:
    """Write predictions of pictures with labels, one line each, with the probabilities of predicted class and label.

    columns: known facts of each picture: id, label, group. Raises InputError when the disk refuses.
    """
    text = io.StringIO(newline="")
    writer: Any = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *columns, "predicted", "p_predicted", "p_label"])
    shares = ([as_text(p) for p in values.tolist()] for values in (found.of_predicted, found.of_label))
    predicted = [class_names[c] for c in found.predicted.tolist()]
    writer.writerows(zip(names, *columns.values(), predicted, *shares, strict=True))
    with written_beside(path) as temporary:
        temporary.write_bytes(text.getvalue().encode())


def read_labelled(file: IO[str]) -> Iterator[tuple[str, str]]:
    """Yield label and predicted class of each line of a table that `write_labelled` wrote. Raises ValueError."""
    reader = csv.DictReader(file)
    if not {"label", "predicted"} <= set(reader.fieldnames or ()):
        raise ValueError("no columns label and predicted")
    for line in reader:
        if not line.get("label") or not line.get("predicted"):
            raise ValueError("a line without label or predicted class")
        yield line["label"], line["predicted"]
