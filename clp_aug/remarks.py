"""What a user should know about the data before reading results: how they were read, how the protocol changes them."""

from __future__ import annotations

import numpy as np

from clp_aug.config import AugmentConfig
from clp_aug.datasets.base import TRAIN, VAL, Dataset
from clp_aug.protocol.split import Split

LARGE = 0.25  # share of the training pictures; a meta set of at least this size gets a remark


def remarks_of(dataset: Dataset, split: Split, config: AugmentConfig) -> tuple[str, ...]:
    """Return the remarks, a line each; empty if there are none."""
    remarks, label = list(dataset.remarks), dataset.samples.label
    if config.limit is not None and len(split.train) == config.limit:
        remarks.append("--limit draws as evenly as possible from groups or classes: a bias or long tail shrinks")
    lacking = split.report.get("meta_missing", 0)
    if lacking:
        remarks.append(f"{lacking} pictures of --meta {config.meta} are missing from the meta set")
    for number in np.setdiff1d(label[split.train], label[split.meta]):
        remarks.append(f"class {dataset.class_names[number]} has no meta picture")
    if config.meta_from == "val" and len(split.val):
        gone = len(np.setdiff1d(label[split.meta], label[split.val]))
        if gone:
            remarks.append(f"val has no pictures left for {gone} classes: epochs are selected by the others")
    if not len(split.val) and not len(split.test):
        remarks.append("no val and no test pictures: clp-train can measure no accuracy")
    elif not len(split.val) and (dataset.samples.split == VAL).any():
        remarks.append("no val pictures are left: no epoch can be selected, the last one is used")
    whole = int((dataset.samples.split == TRAIN).sum())
    shared = "meta_in_train" in split.report
    if config.meta_from == "train" and not shared and len(split.meta) >= LARGE * whole:
        share = f"{len(split.meta)} of {whole} training pictures"
        remarks.append(f"the meta set takes {share}; a smaller --meta leaves more for training")
    return tuple(remarks)
