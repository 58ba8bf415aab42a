"""LOAD: a shard and the data set it was made from, as uint8 in memory or mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import ORIGINAL, Header
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_aug.datasets.base import TRAIN, VAL, Dataset
from clp_train.batches import BoxedPictures, Pictures
from clp_train.cache import cached, path_of
from clp_train.config import TrainConfig
from clp_train.presets import check_shard


@dataclass(frozen=True)
class RunData:
    """All that a run reads. evaluation: the splits that have pictures, "val" and then the tests, by name; digest: of
    the shard's tables; protocols: test split -> what measuring on it is called, as the data set says; strata: split ->
    name -> which of its pictures are in it, bool (n,); weights: as `group_weights` says, of each group; wrong:
    which training labels are wrong, bool (N,), None if all are right, for reports alone; background: features of the
    training pictures without their objects, where those of a frozen body stand for pictures and a method asks for them.
    """

    header: Header
    train: BoxedPictures
    meta: BoxedPictures
    evaluation: dict[str, Pictures]
    group_names: tuple[str, ...]
    digest: str
    protocols: Mapping[str, str] = field(default_factory=dict)
    strata: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    weights: tuple[int, ...] = ()
    wrong: Tensor | None = None
    background: BoxedPictures | None = None


def unwatched(rows: Iterable, name: str) -> Iterable:
    """Go through rows without telling anybody."""
    return rows


def load(config: TrainConfig, watch: Callable[[Iterable, str], Iterable] = unwatched) -> RunData:
    """Read the shard, find its data set, and hold every picture of the run in memory, or in `config.cache`.

    watch: wraps the rows of each split ("train", "val", the tests) while they are read, for a progress bar. Raises
    InputError for a shard or data set that cannot be used or do not belong together, UsageError for a meta batch that
    is larger than the meta set and for a preset that is not for the shard.
    """
    shard = ShardReader(config.meta)
    header, tables = shard.header, shard.tables
    if config.preset is not None:
        check_shard(config.preset, header.dataset, header.settings)
    size, fit = geometry(shard)
    dataset = load_dataset(header.dataset, config.root)
    if dataset.fingerprint() != header.fingerprint:
        raise InputError(
            f"shard {config.meta}: made from another version of data set {header.dataset} (fingerprint"
            f" {header.fingerprint[:12]}, found {dataset.fingerprint()[:12]}); make the shard again or give its --root"
        )
    if config.meta_batch_size and config.meta_batch_size > len(shard):
        raise UsageError(f"--meta-batch-size {config.meta_batch_size}: the meta set holds {len(shard)} pictures")
    group_names = header.group_names or header.class_names

    def groups(group: np.ndarray, label: np.ndarray) -> np.ndarray:
        return group if header.group_names else label

    rows = dataset.rows_of(tables["train/sample_id"])
    if len(rows) < 2:
        raise InputError(f"shard {config.meta}: it lists {len(rows)} training pictures, expected at least 2")
    label = tables.get("train/label", dataset.samples.label[rows])
    wrong = label != dataset.samples.label[rows]
    group = groups(dataset.samples.group[rows], label)  # without groups the label trained on, which may be wrong
    chosen = spread(group, config.limit, config.seed)
    train = BoxedPictures(
        **vars(read(dataset, rows[chosen], size, fit, watch, "train", config.cache))
        | {"label": torch.from_numpy(label[chosen]), "group": torch.from_numpy(group[chosen]).long()},
        box=torch.from_numpy(tables["train/box"][chosen]).long(),
        kind=torch.full((len(chosen),), ORIGINAL, dtype=torch.uint8),
    )
    meta = BoxedPictures(
        images=torch.from_numpy(shard.images()).permute(0, 3, 1, 2).contiguous(),
        label=torch.from_numpy(tables["meta/label"]),
        group=torch.from_numpy(groups(tables["meta/group"], tables["meta/label"])).long(),
        sample_id=torch.from_numpy(tables["meta/sample_id"]),
        box=torch.from_numpy(tables["meta/box"]).long(),
        kind=torch.from_numpy(tables["meta/kind"]),
    )
    evaluation, strata = {}, {}
    for split, name in list(enumerate(dataset.splits))[VAL:]:
        held_out = dataset.samples.split == split
        held_out &= ~np.isin(dataset.samples.sample_id, tables["meta/sample_id"])
        if held_out.any():
            rows = np.flatnonzero(held_out)
            evaluation[name] = read(dataset, rows, size, fit, watch, name, config.cache)
            strata[name] = strata_of(dataset, rows)
    if not evaluation:
        raise InputError(
            f"data set {header.dataset}: no val and no test pictures to measure on; put some of each class under"
            " test/<class>/ beside train/<class>/, and make the shard again"
        )
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(table).tobytes() for table in tables.values())).hexdigest()
    weights = group_weights(dataset, tables, header.settings.get("imbalance") is not None)
    return RunData(
        header, train, meta, evaluation, tuple(group_names), digest, dataset.protocols, strata, weights,
        torch.from_numpy(wrong[chosen]) if wrong.any() else None,
    )  # fmt: skip


def group_weights(dataset: Dataset, tables: Mapping[str, np.ndarray], thinned: bool) -> tuple[int, ...]:
    """Return the pictures of each group, of each class where there are none, that the weighted average weighs it by.

    Those of the data set's train split, meta pictures and all, so that the average does not hang on the protocol: of
    Waterbirds 3498, 184, 56 and 1057, as published ones are weighted (Sagawa et al. 2020). thinned: a long tail was
    made of the split; then those that it left, and the meta pictures.
    """
    samples = dataset.samples
    rows = np.flatnonzero(samples.split == TRAIN)
    if thinned:
        ids = np.union1d(tables["train/sample_id"], tables["meta/sample_id"])
        rows = rows[np.isin(samples.sample_id[rows], ids)]
    groups, names = (
        (samples.group, dataset.group_names) if dataset.group_names else (samples.label, dataset.class_names)
    )
    return tuple(np.bincount(groups[rows], minlength=len(names)).tolist())


def strata_of(dataset: Dataset, rows: np.ndarray) -> dict[str, Tensor]:
    """Return which of some rows, int64 (n,), are in each stratum: name -> bool (n,)."""
    found = {}
    for names, index in dataset.strata.values():
        found |= {name: torch.from_numpy(index[rows] == k) for k, name in enumerate(names)}
    return found


def geometry(shard: ShardReader) -> tuple[int, str]:
    """Return the size and fit that a shard's pictures were read with. Raises InputError when it does not say."""
    settings = shard.header.settings
    size, fit = settings.get("size"), settings.get("fit")
    if not isinstance(size, int) or not isinstance(fit, str) or shard.shape[1:3] != (size, size):
        raise InputError(
            f"shard {shard.path}: settings say size {size!r}, fit {fit!r} for pictures of"
            f" {shard.shape[2]} x {shard.shape[1]}; make the shard again with clp-augment"
        )
    return size, fit


def read(dataset: Dataset, rows: np.ndarray, size: int, fit: str, watch, name: str, cache: Path | None) -> Pictures:
    """Read the pictures of some rows, int64 (n,), through the fixed resize and crop; watch and name as in `load`.

    cache: folder where decoded pictures stay as a memory-mapped file, read back page by page; None for memory.
    """
    shape, samples = (len(rows), 3, size, size), dataset.samples

    def fill(images: np.ndarray) -> None:
        for i, row in enumerate(watch(rows, name)):
            images[i] = dataset.image(int(row), size, fit).transpose(2, 0, 1)

    if cache is None:
        images = np.empty(shape, np.uint8)
        fill(images)
    else:
        key = (dataset.fingerprint(), dataset.stamp(rows), rows.tolist(), size, fit)
        images = cached(path_of(cache, *key), shape, np.uint8, fill)
    label = samples.label[rows]
    group = samples.group[rows] if dataset.group_names else label
    columns = (np.asarray(v, np.int64) for v in (label, group, samples.sample_id[rows]))
    return Pictures(torch.from_numpy(images), *map(torch.from_numpy, columns))


def spread(group: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """Return at most `limit` row numbers, ascending, taken in turn from every group until it has none left."""
    if limit is None or limit >= len(group):
        return np.arange(len(group))
    shuffled = rng_for(seed, 0, "limit").permutation(len(group))
    turn = np.empty(len(group), np.int64)  # the how-manieth of its group a row is
    for g in np.unique(group):
        members = shuffled[group[shuffled] == g]
        turn[members] = np.arange(len(members))
    return np.sort(np.lexsort((group, turn))[:limit])


def channel_statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel of uint8 (N, 3, H, W), in [0, 1] units, std >= 1e-3."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in range(3):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()  # exact, without a float copy
        share /= share.sum()
        mean.append(float((share * levels).sum()))
        std.append(max(float((share * (levels - mean[-1]).square()).sum().sqrt()), 1e-3))
    return mean, std
