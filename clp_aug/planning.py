"""READ: everything that is decided before a picture is decoded: data set, protocol, size, mattes, copies, devices."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from clp_aug.auditing.split import Audited, audit_split
from clp_aug.checking import Progress, all_at_once, no_progress, readable, with_boxes_looked_at
from clp_aug.config import AugmentConfig
from clp_aug.contract.audits import MIXES
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import NO_FILL
from clp_aug.datasets import load_dataset, usual_meta
from clp_aug.datasets.annotations import with_given
from clp_aug.datasets.base import Dataset
from clp_aug.fills import fill_of
from clp_aug.fills.options import FillOptions
from clp_aug.mattes import Matte, make_chain
from clp_aug.nets.devices import AUTO, CPU, find_device
from clp_aug.placing import Devices, place_networks, try_on_device
from clp_aug.protocol.split import Split, make_split
from clp_aug.remarks import remarks_of
from clp_aug.sharding import Copy, plan_copies

LARGEST_DEFAULT, SMALLEST_DEFAULT, SAMPLED = 224, 8, 101


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before a picture is decoded."""

    config: AugmentConfig  # with size and matte filled in
    size: int
    matte: str
    dataset: Dataset
    split: Split
    copies: list[list[Copy]]  # per meta original, the copies to make
    fills: tuple[str, ...]
    chain: list[Matte]
    devices: Devices
    audited: Audited | None = None

    @property
    def rows_each(self) -> int:
        """Rows of the shard per original: itself and its copies."""
        return 1 + len(self.copies[0])

    @property
    def rows(self) -> int:
        """Meta rows of the shard: originals and copies."""
        return len(self.copies) + sum(map(len, self.copies))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know before reading any result, a line each."""
        of_device = (self.devices.remark,) if self.devices.remark else ()
        of_data = self.dataset.remarks if self.audited else remarks_of(self.dataset, self.split, self.config)
        return (*of_data, *of_device)


def read(config: AugmentConfig, progress: Progress = no_progress) -> Plan:
    """READ: load the data set, apply the protocol, and decide size, mattes and copies.

    Pictures are opened only for clusters of meta pictures, for flip-similar noise, for skip_broken, and to get the size
    of pictures with a box. Raises UsageError and InputError, before any work, for settings and data that do not fit.
    """
    if config.device not in (AUTO, CPU):
        find_device(config.device)  # a missing device is reported first
    dataset = load_dataset(config.dataset, config.root, config.attributes)
    dataset = with_given(dataset, config)
    if config.audit is None:
        config = dataclasses.replace(config, meta=config.meta or usual_meta(dataset))
    if len(dataset.class_names) < 2:
        raise InputError(f"data set {dataset.name}: it has one class, {dataset.class_names[0]}; a classifier needs two")
    if config.skip_broken:
        dataset = readable(dataset, config, progress)
    audited = None if config.audit is None else audit_split(dataset, config, config.limit, config.seed)
    with all_at_once(dataset, config, progress):
        split = make_split(dataset, config) if audited is None else audited.split
    labels, ids = dataset.samples.label[split.meta], dataset.samples.sample_id[split.meta]
    partnered = [name for name in config.fills if fill_of(name).partner]
    if partnered and len(np.unique(labels)) < 2:
        raise InputError(
            f"fill {partnered[0]!r} needs another class, but the meta set has only one; choose another fill"
        )
    matte = config.matte or ("given" if dataset.annotated else "hatt")
    if matte == "given" and not dataset.annotated:
        raise UsageError(
            f"--matte given: data set {dataset.name} has no masks or boxes; give --masks DIR or --boxes FILE"
        )
    with all_at_once(dataset, config, progress):
        if matte == "given":
            dataset = with_boxes_looked_at(dataset, np.union1d(split.train, split.meta), config, progress)
        size = config.size or default_size(dataset, split.meta)
    config = dataclasses.replace(config, matte=matte, size=size)
    if audited is None:
        copies = plan_copies(labels, ids, config.cf, config.f, config.ratio, config.seed)
    else:
        copies = audited.copies()
    for options in options_in_use(config).values():
        options.prepare()
        options.check(size, len(dataset.class_names))
    devices = place_networks(config, matte)
    try_on_device(config, devices, size, len(dataset.class_names))
    mixes = () if audited is None else MIXES
    fills = tuple(dict.fromkeys((NO_FILL, *config.fills, *mixes, "grey")))  # grey may replace any fill
    chain = make_chain(matte, devices.matte)
    return Plan(config, size, matte, dataset, split, copies, fills, chain, devices, audited)


def options_in_use(config: AugmentConfig) -> dict[str, FillOptions]:
    """Return the settings of the run's fills that have their own, by fill."""
    return {name: options for name, options in config.fill_options.items() if name in config.fills}


def default_size(dataset: Dataset, rows: np.ndarray) -> int:
    """Return the median shorter side of up to 101 pictures, from their headers, between 8 and 224 pixels."""
    sample = rows[np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).round().astype(int)]
    side = int(np.median([min(dataset.source_size(int(row))) for row in sample]))
    return min(max(side, SMALLEST_DEFAULT), LARGEST_DEFAULT)
