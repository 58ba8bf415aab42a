"""The settings of clp-augment: one frozen dataclass, checked once, stored in every shard."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from clp_aug.auditing.settings import AuditSettings
from clp_aug.common.plugins import Plugin, label, records, short
from clp_aug.common.settings import fields_of, setting
from clp_aug.contract.audits import BACKGROUND_ALONE, OBJECT_ALONE
from clp_aug.contract.errors import SettingError, UsageError
from clp_aug.contract.schema import AUDIT, FITS, MAX_SIDE
from clp_aug.datasets import DATASETS, check_attributes, short_of
from clp_aug.datasets import plugin_of as dataset_plugin
from clp_aug.datasets.annotation_settings import AnnotationSettings
from clp_aug.fills import CF, FILLS, KIND_OPTIONS, F, check_fill, read_options
from clp_aug.fills import plugin_of as fill_plugin
from clp_aug.fills.options import FillOptions, key_of
from clp_aug.mattes import MATTES, check_matte, check_refine, spelling
from clp_aug.mattes import plugin_of as matte_plugin
from clp_aug.nets.devices import AUTO, HELP
from clp_aug.protocol.settings import ProtocolSettings

MIN_SIDE = 8
MOST_WORKERS = 1024
LOCAL = (
    "root", "out", "max_fallback", "engine", "address", "workers", "resume", "overwrite", "skip_broken",
    "device", *fields_of(AnnotationSettings),
)  # fmt: skip
"""Settings of places, workers and tolerances. They change no byte of a shard and are not stored in it."""

NOT_OF_AUDITS = ("cf", "f", "ratio", "meta", "meta_from", "keep_meta_in_train", "imbalance", "noise")
"""Settings of a meta set. An audit has none of them."""


def fills_of(kind: int) -> str:
    """Return the names of the fills that serve a kind, as a help text lists them."""
    return ", ".join(name for name, fill in FILLS.items() if kind in fill.kinds)


def check_engine(name: str | None, address: str | None) -> None:
    """Raise UsageError unless the engine is known and its packages are installed, SettingError for an address without
    ray.
    """
    if name is None and address is None:
        return
    from clp_aug.engines import RAY, engine_of

    if name is not None:
        engine_of(name)
    if address is not None and name != RAY:
        raise SettingError("address", address, "it has no effect without a cluster", {"engine": RAY})


def check_labels(fills: tuple[str, ...]) -> None:
    """Raise UsageError for two plug-ins that a shard would call by the same name: files of one name in two folders."""
    for name in fills:
        others = [other for other in fills if other != name and label(other) == label(name)]
        if others:
            raise UsageError(f"fills {name} and {others[0]}: a shard would call both {label(name)}; rename a file")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(ProtocolSettings, AnnotationSettings, AuditSettings):
    """The settings of clp-augment. Raises UsageError, with setting, value and remedy, if the run is not possible.

    `ProtocolSettings` has the settings of the protocol, `AuditSettings` those of an audit; options: a fill's own
    settings by name, e.g. {"epsilon": 0.1}.
    """

    dataset: str = setting(dataclasses.MISSING, "Which data set to READ.", choices=tuple(DATASETS), own="data set")
    root: Path | None = setting(None, "Its folder; else $CLP_DATA/<dataset>, else ./data/<dataset>.")
    attributes: tuple[str, ...] = setting(
        (), "For --dataset table or wds: columns whose values form groups with the label, or none.",
        shown="column group, else all attribute columns",
    )  # fmt: skip
    cf: tuple[str, ...] = setting((), f"Counterfactual fills, mixed in equal shares: {fills_of(CF)}.")
    f: tuple[str, ...] = setting((), f"Factual fills, mixed in equal shares: {fills_of(F)}.")
    ratio: int = setting(
        2, "Augmented pictures per original, counterfactual : factual = 1 : 1; 0 for boxes alone.", low=0, high=100
    )
    matte: str | None = setting(None, f"Source of boxes: {', '.join(map(spelling, MATTES))}.", shown="given, else hatt")
    pad: int = setting(0, "Grow every box by this number of pixels on each side.", low=0, high=MAX_SIDE)
    refine: bool = setting(False, "Finer edges in the mattes that are kept for viewing; boxes do not change.")
    max_fallback: float = setting(0.5, "Largest share of pictures that may need another matte.", low=0, high=1)
    size: int | None = setting(
        None, "Side of the stored pictures in pixels.", low=MIN_SIDE, high=MAX_SIDE, shown="of the data, at most 224"
    )
    fit: str = setting(
        "crop", "How a picture becomes square: crop (centred), stretch, or stretch-crop, the middle 224 of 256 pixels.",
        choices=FITS,
    )  # fmt: skip
    skip_broken: bool = setting(False, "Leave out pictures that cannot be read, and count them.")
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    device: str = setting(AUTO, HELP)
    out: Path | None = setting(None, "Shard to write.", shown="shards/<dataset>-<cf>-<f>-seed<k>.h5")
    workers: int = setting(1, "Worker processes.", low=1, high=MOST_WORKERS)
    engine: str | None = setting(None, "serial, processes or ray.", shown="by the number of workers")
    address: str | None = setting(
        None, "For --engine ray: the cluster, as host:port, or auto.", shown="one that is started here"
    )  # fmt: skip
    resume: bool = setting(False, "Go on with an unfinished run; finished blocks are not made again.")
    overwrite: bool = setting(False, "Replace a finished shard, or start an unfinished run again.")

    def __post_init__(self) -> None:
        dataset_plugin(self.dataset)
        check_attributes(self.dataset, self.attributes)
        if self.audit is None:
            object.__setattr__(self, "meta", self.meta_of(self.dataset))
            object.__setattr__(self, "meta_from", self.meta_from_of(self.dataset))
        super().__post_init__()
        self.check_audit()
        self.check_something_to_make()
        for kind, names in ((CF, self.cf), (F, self.f)):
            for name in names:
                check_fill(name, kind)
            if len(set(map(label, names))) != len(names):
                raise UsageError(f"{KIND_OPTIONS[kind]} {','.join(names)}: a fill is named twice; name each once")
        check_labels(self.fills)
        if self.matte is not None:
            check_matte(self.matte)
        if self.refine:
            check_refine()
        check_engine(self.engine, self.address)
        read_options(self.options, self.fills)

    def check_audit(self) -> None:
        """Raise UsageError for settings of a meta set beside --audit."""
        for name in NOT_OF_AUDITS if self.audit is not None else ():
            if getattr(self, name) not in (fields_of(AugmentConfig)[name].default, None):
                raise UsageError(
                    f"--{name.replace('_', '-')} has no effect with --audit, which makes its own views of the pictures"
                    " as they are; leave one of the two out"
                )

    def check_something_to_make(self) -> None:
        """Raise UsageError if there is nothing to make (no fills, boxes or audit), and for fills beside --ratio 0."""
        if self.audit is None and self.ratio and not self.fills:
            raise UsageError(
                "nothing to make: give counterfactual fills with --cf, factual ones with --f, or both; --ratio 0 makes"
                " boxes alone, --audit a shard for clp-audit"
            )
        if self.audit is None and not self.ratio and self.fills:
            raise SettingError("ratio", 0, "it makes boxes alone; leave out --cf and --f, or give another ratio")

    @property
    def fills(self) -> tuple[str, ...]:
        """The fills that are asked for, counterfactual ones first."""
        if self.audit is not None:
            return tuple(dict.fromkeys((*BACKGROUND_ALONE, self.remove, *OBJECT_ALONE)))
        return (*self.cf, *self.f)

    @cached_property
    def fill_options(self) -> dict[str, FillOptions]:
        """The settings of every fill that has some of its own, whether it is asked for or not."""
        return read_options(self.options, self.fills)

    def stored(self) -> dict[str, object]:
        """Return the settings that a shard keeps: everything but what is local to a machine, as plain JSON."""
        settings = {k: v for k, v in dataclasses.asdict(self).items() if k not in (*LOCAL, "options")}
        settings |= {"dataset": label(self.dataset)} | {k: tuple(map(label, settings[k])) for k in ("cf", "f")}
        for name in fields_of(AuditSettings):
            del settings[name]  # what an audit is of is known when its data set is read
        if not self.attributes:
            del settings["attributes"]  # as in shards of versions without it
        for name, options in self.fill_options.items():
            settings |= {key_of(name, key): value for key, value in options.stored().items()}
        plugins = records(self.plugins())
        settings |= {"plugins": plugins} if plugins else {}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}

    def plugins(self) -> list[Plugin | None]:
        """Return the plug-ins that decide what is in the shard; None for a registered name."""
        matte = None if self.matte is None else matte_plugin(self.matte)
        return [dataset_plugin(self.dataset), matte, *map(fill_plugin, dict.fromkeys(self.fills))]

    def shard_path(self) -> Path:
        """Return where the shard goes: --out, or shards/<dataset>-<cf>-<f>-seed<k>.h5."""
        fills = ["+".join(map(short, names)) for names in (self.cf, self.f) if names]
        if self.audit is not None or not self.ratio:
            fills = ["boxes" if self.audit is None else AUDIT]
        parts = [short_of(self.dataset), *fills, f"seed{self.seed}"]
        return self.out or Path("shards") / ("-".join(parts) + ".h5")
