"""AUDIT DATA: how well pictures without their objects predict the label, and which pictures contradict this.

    boxes of the shard -> features without the object -> P(class | background), unseen -> figures -> verdict -> groups

A classifier that is fitted to all training pictures judges the held-out pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.errors import InputError
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets.base import TRAIN, FileDataset
from clp_aug.nets.devices import CPU
from clp_train.auditing.data_boxes import (
    UNKNOWN,
    Boxes,
    FindBoxes,
    background_features,
    held_out_rows,
    known_boxes,
    training_rows,
)
from clp_train.auditing.data_features import Eyes
from clp_train.auditing.data_figures import DataFigures, data_figures
from clp_train.auditing.data_groups import NO_GROUPS, Guess, guess_groups, strongest_against
from clp_train.auditing.data_judge import box_columns, evidence, for_label, judge_others, looks_like
from clp_train.auditing.data_verdict import TELLING, uncertain_share, verdict_on_data
from clp_train.auditing.verdict import Verdict
from clp_train.backgrounds.prior import background_log_prior
from clp_train.loading.data import geometry, load_shard_dataset
from clp_train.loading.decoding import default_workers

LISTED = 10  # pictures that are listed by name


@dataclass(frozen=True)
class DataAudit:
    """The result for a data set. n pictures: training pictures with a box in the shard, then held-out pictures.

    eyes: name of the source of features; boxes: of all n; rows: of the data set, int64 (n,); label: int64 (n,);
    is_train: bool (n,); likeness: int64 (n,), the class that each background looks like; own: float64 (n,), the
    evidence of the background for the picture's own label, in nats; shares: float32 (n, C), P(class | background);
    remarks: one line each.
    """

    class_names: tuple[str, ...]
    eyes: str
    boxes: Boxes
    rows: np.ndarray
    label: np.ndarray
    is_train: np.ndarray
    likeness: np.ndarray
    own: np.ndarray
    shares: np.ndarray
    figures: DataFigures
    verdict: Verdict
    guess: Guess
    remarks: tuple[str, ...] = ()

    @property
    def group_counts(self) -> np.ndarray:
        """Training pictures of each guessed group, int64 (C, values)."""
        return self.guess.counts(self.label, self.is_train, len(self.class_names))

    @property
    def against(self) -> np.ndarray:
        """Indices, int64, of training pictures with a background that speaks against their label, the strongest first;
        none if backgrounds say nothing about the label.
        """
        return strongest_against(self.own, self.is_train & self.is_telling)

    @property
    def is_telling(self) -> bool:
        """Whether backgrounds say something about the label."""
        return self.verdict.word in TELLING

    def name(self, i: int) -> str:
        """Return the name of picture i of the n."""
        return str(self.boxes.dataset.samples.name[self.rows[i]])


def audit_data(
    shard: ShardReader,
    eyes: Eyes,
    root: Path | None = None,
    dataset_name: str | None = None,
    *,
    find_boxes: FindBoxes | None = None,
    device: str = CPU,
    seed: int = 0,
    watch: Watch = unwatched,
) -> DataAudit:
    """Audit the data set of a shard. No model that was trained on it is needed.

    root, dataset_name: of the data set, as for clp-train; find_boxes: finds boxes of held-out pictures, as
    `clp_aug.library.find_boxes` does, None to leave these pictures out; device: of its matte; seed: of folds and
    resamples; watch: shows the progress. Memory holds the features of all pictures, not the pictures. Raises InputError
    for a shard of another data set, and for training pictures of a single class.
    """
    dataset = load_shard_dataset(shard, root, dataset_name)
    size, fit = geometry(shard)
    boxes = known_boxes(shard, dataset, size, fit, find_boxes or no_boxes, device)
    train, others = training_rows(boxes), held_out_rows(dataset) if find_boxes else np.zeros(0, np.int64)
    label = torch.from_numpy(dataset.samples.label[train])
    check_training(shard, label.numpy(), dataset.class_names)
    classes, workers = len(dataset.class_names), default_workers()
    features = background_features(eyes, boxes, train, "train", watch, workers)
    of_others = background_features(eyes, boxes, others, "held out", watch, workers)
    log_p = background_log_prior(features, label, classes, rng_for(seed, 0, "background"))
    box_log_p = background_log_prior(
        box_columns(boxes.box[train], size), label, classes, rng_for(seed, 0, "audit/boxes")
    )
    log_p_of_others = judge_others(features, label, of_others, classes, rng_for(seed, 0, "background"))
    figures = data_figures(log_p, box_log_p, label, seed)
    verdict = verdict_on_data(figures, boxes.outcome[train], dataset.class_names)
    rows, shift = np.concatenate([train, others]), evidence(torch.cat([log_p, log_p_of_others]), label)
    labels, is_train = dataset.samples.label[rows], dataset.samples.split[rows] == TRAIN
    likeness, own = looks_like(shift), for_label(shift, torch.from_numpy(labels))
    guess = guess_groups(verdict.word in TELLING, likeness, own, labels, is_train, dataset.class_names)
    shares = torch.cat([log_p, log_p_of_others]).exp().numpy()
    return DataAudit(
        dataset.class_names, eyes.name, boxes, rows, labels, is_train, likeness, own, shares, figures, verdict, guess,
        tuple(filter(None, (eyes.remark, *remarks_of(shard, boxes, others)))),
    )  # fmt: skip


def no_boxes(
    images: np.ndarray, matte: str, *, masks: Sequence[np.ndarray | None] | None, device: str
) -> tuple[np.ndarray, list[str]]:
    """Raise ValueError: no function that finds boxes was given."""
    raise ValueError(f"{len(images)} pictures without a box, and nothing that finds them")


def check_training(shard: ShardReader, label: np.ndarray, class_names: Sequence[str]) -> None:
    """Raise InputError unless there are training pictures of at least two classes."""
    there = np.unique(label)
    if len(there) < 2:
        only = f"all of class {class_names[there[0]]}" if len(there) else "none"
        raise InputError(
            f"shard {shard.path}: {len(label):,} training pictures, {only}; expected at least two classes, give a shard"
            " of all classes"
        )


def remarks_of(shard: ShardReader, boxes: Boxes, others: np.ndarray) -> list[str]:
    """Return notes for the user about the pictures and boxes, one line each."""
    dataset, remarks = boxes.dataset, []
    lacking = int(((dataset.samples.split == TRAIN) & (boxes.outcome == UNKNOWN)).sum())
    if lacking:
        remarks.append(f"{lacking:,} training pictures are not in the shard and were left out")
    if shard.header.settings.get("noise"):
        remarks.append("labels are those of the data set; the label noise of the shard is ignored")
    made_by = str(shard.header.matte.get("name"))
    if len(others) and made_by != boxes.matte:
        remarks.append(
            f"boxes of held-out pictures are by {boxes.matte}: the shard's matte {made_by} is a file or a plug-in"
        )
    elif len(others) and uncertain_share(boxes.outcome[others]) > 0.5:
        remarks.append("most boxes of held-out pictures are guesses, so their groups are guesses too")
    if not (isinstance(dataset, FileDataset) and dataset.loose):
        remarks.append(f"data set {dataset.name} has no picture files: people can read the table, but clp-augment"
                       " cannot")  # fmt: skip
    return remarks


def as_json(audit: DataAudit) -> dict[str, Any]:
    """Return the result as plain JSON: shares in [0, 1], gains in nats."""
    figures, names = audit.figures, audit.class_names
    train = int(audit.is_train.sum())
    against, likeness = audit.against, audit.likeness
    return {
        "dataset": audit.boxes.dataset.name,
        "classes": list(names),
        "features": audit.eyes,
        "pictures": {"train": train, "held_out": len(audit.rows) - train},
        "matte": audit.boxes.matte,
        "uncertain_boxes": uncertain_share(audit.boxes.outcome[audit.rows[audit.is_train]]),
        "verdict": audit.verdict.word,
        "evidence": list(audit.verdict.evidence),
        "chance": figures.chance,
        "largest_class": figures.largest,
        **{name: asdict(getattr(figures, name)) for name in ("background", "plain", "control", "beyond", "gain")},
        "recall": {name: asdict(each) for name, each in zip(names, figures.recall, strict=True)},
        "against": {
            "by_class": dict(zip(names, np.bincount(audit.label[against], minlength=len(names)).tolist(), strict=True)),
            "first": [
                {"file": audit.name(i), "label": names[audit.label[i]], "looks_like": names[likeness[i]],
                 "nats": float(audit.own[i])}
                for i in against[:LISTED].tolist()
            ],
        },
        "groups": groups_as_json(audit),
        "remarks": list(audit.remarks),
    }  # fmt: skip


def groups_as_json(audit: DataAudit) -> Mapping[str, Any]:
    """Return how groups were guessed, and their numbers of training pictures; empty if no groups were guessed."""
    guess = audit.guess
    if guess.made_of == NO_GROUPS:
        return {"made_of": NO_GROUPS, "train": {}}
    counts = audit.group_counts
    return {
        "made_of": guess.made_of,
        "train": {
            name: dict(zip(guess.values, counts[c].tolist(), strict=True)) for c, name in enumerate(audit.class_names)
        },
    }
