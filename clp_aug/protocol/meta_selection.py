"""Protocol: choose the meta set, the same number of pictures per class or per group, drawn by seed."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import Dataset
from clp_aug.protocol.specs import parse_meta


def choose(dataset: Dataset, spec: str, candidates: np.ndarray, seed: int, leave: int = 0) -> np.ndarray:
    """Draw the meta set.

    candidates: rows to draw from, in any order; seed: >= 0; leave: number of candidates of each class that must remain
    (1 if they are training pictures). Returns rows, int64, in the order of their ids. Each class or group draws with
    its own generator, so a further picture of a class does not change other classes. For "cluster" see
    `clusters.choose_clustered`. Raises UsageError for a count that does not fit the classes, groups that the data set
    does not have, and too few candidates. Source: ours.
    """
    per_class = dataset.samples.label[candidates]
    parsed = parse_meta(spec)
    if parsed.per == "group":
        if not dataset.group_names:
            raise UsageError(f"meta set {spec}: data set {dataset.name} has no groups; use {parsed.count}/class")
        cells, names, count = dataset.samples.group[candidates], dataset.group_names, parsed.count
    else:
        cells, names, count = per_class, dataset.class_names, parsed.count
    if parsed.per == "balanced":
        if count % len(names):
            raise UsageError(f"meta set {spec}: {count} is no multiple of the {len(names)} classes; use one")
        count //= len(names)

    what = "group" if parsed.per == "group" else "class"
    draws = []
    for cell, name in enumerate(names):
        have = np.asarray(candidates)[cells == cell]
        if len(have) < count:
            raise UsageError(_too_few(spec, what, name, len(have), count, 0))
        draws.append(rng_for(seed, cell, "meta").permutation(dataset.samples.ascending(have))[:count])
    rows = dataset.samples.ascending(np.concatenate(draws))

    taken = np.bincount(dataset.samples.label[rows], minlength=len(dataset.class_names))
    have = np.bincount(per_class, minlength=len(dataset.class_names))
    for label in np.flatnonzero(have - taken < leave):
        raise UsageError(_too_few(spec, "class", dataset.class_names[label], have[label], taken[label], leave))
    return rows


def _too_few(spec: str, what: str, name: str, have: int, count: int, leave: int) -> str:
    need = f"{count + leave} are needed" + (f" ({count} for meta, {leave} left to train on)" if leave else "")
    remedy = "ask for fewer with --meta" + (", or --keep-meta-in-train" if leave else "")
    if what == "group" and not have:
        remedy = f"take {count}/class"
    return f"meta set {spec}: {what} {name!r} has {have} pictures to draw from, {need}; {remedy}"
