"""What a user should know of the data before reading any figure: how they were read, what the protocol does to them."""

from __future__ import annotations

import numpy as np

from clp_aug.config import AugmentConfig
from clp_aug.datasets.base import TRAIN, VAL, Dataset
from clp_aug.protocol.split import Split

LARGE = 0.25  # share of the training pictures from which on a meta set is said to be large


def remarks_of(dataset: Dataset, split: Split, config: AugmentConfig) -> tuple[str, ...]:
    """Return the remarks, a line each; none where there is nothing to say."""
    remarks, label = list(dataset.remarks), dataset.samples.label
    if config.limit is not None and len(split.train) == config.limit:
        remarks.append("--limit draws as evenly from groups or classes as it can: a bias or a long tail shrinks")
    lacking = split.report.get("meta_missing", 0)
    if lacking:
        remarks.append(f"the meta set lacks {lacking} of the pictures that --meta {config.meta} asks for")
    for number in np.setdiff1d(label[split.train], label[split.meta]):
        remarks.append(f"class {dataset.class_names[number]} has no meta picture")
    if config.meta_from == "val" and len(split.val):
        gone = len(np.setdiff1d(label[split.meta], label[split.val]))
        if gone:
            remarks.append(f"val has no picture left of {gone} classes: epochs are selected on the others")
    if not len(split.val) and not len(split.test):
        remarks.append("no val and no test pictures: clp-train will have nothing to measure on")
    elif not len(split.val) and (dataset.samples.split == VAL).any():
        remarks.append("no val pictures are left: no epoch can be selected, the last one counts")
    whole = int((dataset.samples.split == TRAIN).sum())
    shared = "meta_in_train" in split.report
    if config.meta_from == "train" and not shared and len(split.meta) >= LARGE * whole:
        share = f"{len(split.meta)} of {whole} training pictures"
        remarks.append(f"the meta set takes {share}; a smaller --meta leaves more to train on")
    return tuple(remarks)
