"""LOAD: a shard and the data set it was made from, as uint8 in memory or mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import AUDIT, ORIGINAL, Header
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset, named_dataset
from clp_aug.datasets.base import TRAIN, VAL, Dataset
from clp_aug.datasets.unreadable import all_listed, leave_out
from clp_train.loading.cache import digest_of, load_or_fill, path_of
from clp_train.loading.crew_member import Fitted
from clp_train.loading.decoding import block_of, default_workers, read_in_order
from clp_train.loading.settings import DataSettings
from clp_train.loading.stored import meta_pictures
from clp_train.loading.views import VIEWS, read_views
from clp_train.pictures.types import BoxedPictures, Pictures

COUNTED_BYTES = 1 << 22  # of pictures that are counted at a time for statistics
SKIP = "make the shard again with clp-augment --skip-broken"
"""Another remedy for pictures that cannot be read."""


@dataclass(frozen=True)
class RunData:
    """All data that a run reads. evaluation: the splits that have pictures, "val" and then the tests, by name; digest:
    of the shard's tables; protocols: test split -> name of the protocol that it is measured with, from the data set;
    strata: split -> name -> which of its pictures are in it, bool (n,); weights: of each group, as `group_weights`
    returns them; wrong: which training labels are wrong, bool (N,), None if all are right, only for reports;
    background: features of the training pictures without their objects, if features of a frozen body replace the
    pictures and the method asks for them; names: of the pictures of each split of evaluation, from the data set; views:
    of `read_views`, None for none.
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
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    views: Pictures | None = None


def load(shard: ShardReader, settings: DataSettings, seed: int = 0, watch: Watch = unwatched) -> RunData:
    """Find the data set of a shard, and load every picture of the run into memory or `settings.cache`.

    seed: draws the pictures of `settings.limit`; watch: wraps the rows of each split ("train", "val", the tests) and
    of the meta set while they are read, for a progress bar. The result is the same for any number of
    `settings.workers`. Raises InputError if shard or data set cannot be used, or do not belong together.
    """
    header, tables = shard.header, shard.tables
    workers = settings.workers or default_workers()
    dataset = load_shard_dataset(shard, settings.root, settings.dataset)
    reader = Reader(dataset, *geometry(shard), watch, settings.cache, workers)
    views = None if settings.audit is None else read_views(settings.audit, shard, settings.cache, watch)
    train, wrong = training_pictures(shard, reader, settings.limit, seed)
    evaluation, strata = held_out_splits(shard, reader)
    digest = hashlib.sha256()
    for table in tables.values():
        digest.update(np.ascontiguousarray(table).data)
    return RunData(
        header, train, meta_pictures(shard, settings.cache, watch), evaluation,
        tuple(header.group_names or header.class_names), digest.hexdigest(), reader.dataset.protocols, strata,
        group_weights(reader.dataset, tables, header.settings.get("imbalance") is not None), wrong,
        names={split: names_of(reader.dataset, pictures) for split, pictures in evaluation.items()}, views=views,
    )  # fmt: skip


def names_of(dataset: Dataset, pictures: Pictures) -> list[str]:
    """Return the names of pictures of a data set."""
    return [dataset.samples.name[row] for row in dataset.rows_of(pictures.sample_id.numpy()).tolist()]


def digest_of_pictures(data: RunData) -> str:
    """Return sha256, in hexadecimal, over all pictures that a run learns from and is measured on.

    It reads pictures in memory once; the digests of cached pictures are known already.
    """
    streams = {"train": data.train, "meta": data.meta, **data.evaluation}
    streams |= {} if data.views is None else {VIEWS: data.views}
    return hashlib.sha256(repr([(k, digest_of(v.images)) for k, v in streams.items()]).encode()).hexdigest()


def load_shard_dataset(shard: ShardReader, root: Path | None, name: str | None = None) -> Dataset:
    """Return the data set that a shard was made from, without the pictures that the shard left out.

    name: of a plug-in data set, as the user gives it. Raises InputError for another version of the data set, and
    everything that `named_dataset` raises.
    """
    header = shard.header
    if AUDIT in header.settings:
        raise InputError(
            f"shard {shard.path}: it was made for clp-audit; expected a meta set: run clp-augment without --audit"
        )
    whole = load_dataset(named_dataset(header.dataset, name), root, names_in(shard, "attributes"))
    dataset = leave_out(whole, names_in(shard, "left_out"))
    if dataset.fingerprint() != header.fingerprint:
        raise InputError(
            f"shard {shard.path}: made from another version of data set {header.dataset} (fingerprint"
            f" {header.fingerprint[:12]}, found {dataset.fingerprint()[:12]}); make the shard again or give its --root"
        )
    return dataset


def names_in(shard: ShardReader, setting: str) -> list[str]:
    """Return a setting of a shard that is a list of names, [] if it is missing. Raises InputError for other values."""
    names = shard.header.settings.get(setting, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"shard {shard.path}: setting {setting} is not a list of names; make the shard again with clp-augment"
        )
    return names


def training_pictures(
    shard: ShardReader, reader: Reader, limit: int | None, seed: int
) -> tuple[BoxedPictures, Tensor | None]:
    """Return the training pictures with labels, groups and boxes of the shard, and which labels are wrong, or None.

    If the data set has no groups, the groups are the training labels, which may be wrong. Raises InputError for a shard
    that lists fewer than two pictures.
    """
    samples, tables = reader.dataset.samples, shard.tables
    rows = reader.dataset.rows_of(tables["train/sample_id"])
    if len(rows) < 2:
        raise InputError(f"shard {shard.path}: it lists {len(rows)} training pictures, expected at least 2")
    label = tables.get("train/label", samples.label[rows])
    wrong = label != samples.label[rows]
    group = samples.group[rows] if shard.header.group_names else label
    selection = spread(group, limit, seed)
    pictures = reader(rows[selection], "train")
    columns = {"label": torch.from_numpy(label[selection]), "group": torch.from_numpy(group[selection]).long()}
    train = BoxedPictures(
        **vars(replace(pictures, **columns)),
        box=torch.from_numpy(tables["train/box"][selection]).long(),
        kind=torch.full((len(selection),), ORIGINAL, dtype=torch.uint8),
    )
    return train, torch.from_numpy(wrong[selection]) if wrong.any() else None


def held_out_splits(shard: ShardReader, reader: Reader) -> tuple[dict[str, Pictures], dict[str, dict[str, Tensor]]]:
    """Return val and each test split that has pictures, without those of the meta set, and their strata, by name.

    Raises InputError if both are empty.
    """
    dataset, evaluation, strata = reader.dataset, {}, {}
    of_meta = np.isin(dataset.samples.sample_id, shard.tables["meta/sample_id"])
    for split, name in list(enumerate(dataset.splits))[VAL:]:
        rows = np.flatnonzero((dataset.samples.split == split) & ~of_meta)
        if len(rows):
            evaluation[name] = reader(rows, name)
            strata[name] = strata_of(dataset, rows)
    if not evaluation:
        raise InputError(
            f"data set {shard.header.dataset}: no val or test pictures; expected some to measure on: put"
            " some of each class under test/<class>/ beside train/<class>/, and make the shard again"
        )
    return evaluation, strata


def group_weights(dataset: Dataset, tables: Mapping[str, np.ndarray], has_long_tail: bool) -> tuple[int, ...]:
    """Return each group's weight in the weighted average: its number of pictures; classes replace missing groups.

    The pictures of the data set's train split count, meta pictures included, so the average does not depend on the
    protocol. For Waterbirds they are 3498, 184, 56 and 1057, the weights of published averages (Sagawa et al. 2020).
    has_long_tail: the shard has cut the split to a long tail; then the pictures that it kept and the meta pictures
    count.
    """
    samples = dataset.samples
    rows = np.flatnonzero(samples.split == TRAIN)
    if has_long_tail:
        ids = np.union1d(tables["train/sample_id"], tables["meta/sample_id"])
        rows = rows[np.isin(samples.sample_id[rows], ids)]
    groups, names = (
        (samples.group, dataset.group_names) if dataset.group_names else (samples.label, dataset.class_names)
    )
    return tuple(np.bincount(groups[rows], minlength=len(names)).tolist())


def strata_of(dataset: Dataset, rows: np.ndarray) -> dict[str, Tensor]:
    """Return which of some rows, int64 (n,), are in each stratum: name -> bool (n,)."""
    members: dict[str, Tensor] = {}
    for names, index in dataset.strata.values():
        members |= {name: torch.from_numpy(index[rows] == k) for k, name in enumerate(names)}
    return members


def geometry(shard: ShardReader) -> tuple[int, str]:
    """Return the size and fit that a shard's pictures were read with. Raises InputError if its settings lack them."""
    settings = shard.header.settings
    size, fit = settings.get("size"), settings.get("fit")
    if not isinstance(size, int) or not isinstance(fit, str) or shard.shape[1:3] != (size, size):
        raise InputError(
            f"shard {shard.path}: its settings have size {size!r} and fit {fit!r} for pictures of"
            f" {shard.shape[2]} x {shard.shape[1]}; make the shard again with clp-augment"
        )
    return size, fit


@dataclass(frozen=True)
class Reader:
    """Reads pictures of a data set through the fixed resize and crop; watch: as in `load`.

    cache: folder for decoded pictures, kept as a memory-mapped file that is read page by page; None for memory;
    workers: threads or processes that read them.
    """

    dataset: Dataset
    size: int
    fit: str
    watch: Watch
    cache: Path | None
    workers: int = 1

    def __call__(self, rows: np.ndarray, name: str) -> Pictures:
        """Return the pictures of some rows, int64 (n,); name: of their split, for the progress bar."""
        samples = self.dataset.samples
        images = self.in_memory(rows, name) if self.cache is None else self.cached(rows, name, self.cache)
        label = samples.label[rows]
        group = samples.group[rows] if self.dataset.group_names else label
        columns = (np.asarray(v, np.int64) for v in (label, group, samples.sample_id[rows]))
        return Pictures(images, *map(torch.from_numpy, columns))

    def in_memory(self, rows: np.ndarray, name: str) -> Tensor:
        """Decode the pictures of some rows: uint8 (n, 3, size, size)."""
        images = np.empty((len(rows), 3, self.size, self.size), np.uint8)
        for i, picture in enumerate(self.decoded(rows, name)):
            images[i] = picture
        return torch.from_numpy(images)

    def cached(self, rows: np.ndarray, name: str, cache: Path) -> Tensor:
        """Return the same from the cache; files are decoded only if the same content is not cached yet."""
        with all_listed(self.dataset, rows, SKIP):
            key = (self.dataset.fingerprint(), self.dataset.digest(rows), rows.tolist(), self.size, self.fit)
        shape = (len(rows), 3, self.size, self.size)
        return load_or_fill(path_of(cache, *key), shape, np.uint8, lambda start: self.decoded(rows[start:], name))

    def decoded(self, rows: np.ndarray, name: str) -> Iterator[np.ndarray]:
        """Yield the pictures of some rows, uint8 (3, size, size) each."""
        read = Fitted(self.dataset, self.size, self.fit)
        pictures = read_in_order(read, rows, self.workers, block_of(3 * self.size**2))
        with all_listed(self.dataset, rows, SKIP), closing(pictures):
            for _, picture in zip(self.watch(rows, name), pictures, strict=True):
                yield picture


def spread(group: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """Return at most `limit` row numbers, ascending, taken in turn from every group until it has none left."""
    if limit is None or limit >= len(group):
        return np.arange(len(group))
    shuffled = rng_for(seed, 0, "limit").permutation(len(group))
    turn = np.empty(len(group), np.int64)  # rank of the row within its group
    for g in np.unique(group):
        members = shuffled[group[shuffled] == g]
        turn[members] = np.arange(len(members))
    return np.sort(np.lexsort((group, turn))[:limit])


def channel_statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel of uint8 (N, 3, H, W), in [0, 1] units, std >= 1e-3.

    Levels are counted on the device of the pictures, some pictures at a time; a mapped file is read once.
    """
    count = torch.zeros(3, 256, dtype=torch.int64)
    for part in images.split(max(1, COUNTED_BYTES // images.shape[1:].numel())):
        count += torch.stack([torch.bincount(part[:, c].flatten(), minlength=256) for c in range(3)]).cpu()  # exact
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for share in count.double():
        share /= share.sum()
        mean.append(float((share * levels).sum()))
        std.append(max(float((share * (levels - mean[-1]).square()).sum().sqrt()), 1e-3))
    return mean, std
