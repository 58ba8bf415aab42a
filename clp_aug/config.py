"""The settings of clp-augment: one frozen dataclass, checked once, stored in every shard."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from clp_aug.common.settings import setting
from clp_aug.contract.errors import UsageError, pick
from clp_aug.contract.schema import FITS, MAX_SIDE
from clp_aug.datasets import DATASETS
from clp_aug.engines import ENGINES
from clp_aug.fills import CF, FILLS, KIND_OPTIONS, F, check_fill, read_options
from clp_aug.fills.options import FillOptions
from clp_aug.mattes import MATTES, check_matte, check_refine, spelling
from clp_aug.nets.devices import AUTO, HELP
from clp_aug.protocol.settings import ProtocolSettings

MIN_SIDE = 8
LOCAL = (
    "root", "masks", "boxes", "out", "max_fallback", "engine", "workers", "resume", "overwrite", "skip_broken",
    "device",
)  # fmt: skip
"""Where things are, who does the work, what is bearable: it changes no byte of a shard and is not stored in one."""


def fills_of(kind: int) -> str:
    """Return the names of the fills that serve a kind, as a help text lists them."""
    return ", ".join(name for name, fill in FILLS.items() if kind in fill.kinds)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(ProtocolSettings):
    """What clp-augment is asked to do. Raises UsageError, naming setting, value and remedy, when it cannot be done.

    The protocol's settings are those of `ProtocolSettings`; options: settings that a fill has of its own, by name,
    e.g. {"epsilon": 0.1}.
    """

    dataset: str = setting(dataclasses.MISSING, "Which data set to READ.", choices=tuple(DATASETS))
    root: Path | None = setting(None, "Where it lies; else $CLP_DATA/<dataset>, else ./data/<dataset>.")
    cf: tuple[str, ...] = setting((), f"Counterfactual fills, mixed in equal shares: {fills_of(CF)}.")
    f: tuple[str, ...] = setting((), f"Factual fills, mixed in equal shares: {fills_of(F)}.")
    ratio: int = setting(2, "Augmented pictures an original; counterfactual : factual = 1 : 1.", low=1, high=100)
    matte: str | None = setting(None, f"Source of boxes: {', '.join(map(spelling, MATTES))}.", shown="given, else hatt")
    masks: Path | None = setting(None, "Folder of PNG masks named as the pictures, for --matte given.")
    boxes: Path | None = setting(None, "CSV of boxes (file,x0,y0,x1,y1; half-open pixels), for --matte given.")
    pad: int = setting(0, "Grow every box by so many pixels.", low=0, high=MAX_SIDE)
    refine: bool = setting(False, "Finer edges in the mattes kept for people; boxes do not change.")
    max_fallback: float = setting(0.5, "Share of pictures that may need another matte.", low=0, high=1)
    size: int | None = setting(
        None, "Side of the stored pictures in pixels.", low=MIN_SIDE, high=MAX_SIDE, shown="of the data, at most 224"
    )
    fit: str = setting("crop", "How a picture becomes square: crop (centred) or stretch.", choices=FITS)
    skip_broken: bool = setting(False, "Leave out pictures that cannot be read, and count them.")
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    device: str = setting(AUTO, HELP)
    out: Path | None = setting(None, "Shard to write.", shown="shards/<dataset>-<cf>-<f>-seed<k>.h5")
    workers: int = setting(1, "Worker processes.", low=1, high=1024)
    engine: str | None = setting(None, "serial or processes.", shown="by the number of workers")
    resume: bool = setting(False, "Go on with an unfinished run; finished blocks are not made again.")
    overwrite: bool = setting(False, "Replace a finished shard, or start an unfinished run anew.")

    def __post_init__(self) -> None:
        pick(DATASETS, self.dataset, "data set")
        object.__setattr__(self, "meta", self.meta_of(self.dataset))
        object.__setattr__(self, "meta_from", self.meta_from_of(self.dataset))
        super().__post_init__()
        if not self.fills:
            raise UsageError("nothing to make: give counterfactual fills with --cf, factual ones with --f, or both")
        for kind, names in ((CF, self.cf), (F, self.f)):
            for name in names:
                check_fill(name, kind)
            if len(set(names)) != len(names):
                raise UsageError(f"{KIND_OPTIONS[kind]} {','.join(names)}: a fill stands there twice; name each once")
        if self.matte is not None:
            check_matte(self.matte)
        if self.refine:
            check_refine()
        if self.engine is not None:
            pick(ENGINES, self.engine, "engine")
        read_options(self.options, self.fills)

    @property
    def fills(self) -> tuple[str, ...]:
        """The fills that are asked for, counterfactual ones first."""
        return (*self.cf, *self.f)

    @cached_property
    def fill_options(self) -> dict[str, FillOptions]:
        """The settings of every fill that has some of its own, whether it is asked for or not."""
        return read_options(self.options, self.fills)

    def stored(self) -> dict[str, object]:
        """Return the settings that a shard keeps: everything but what is local to a machine, as plain JSON."""
        settings = {k: v for k, v in dataclasses.asdict(self).items() if k not in (*LOCAL, "options")}
        for options in self.fill_options.values():
            settings |= options.stored()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}

    def shard_path(self) -> Path:
        """Return where the shard goes: --out, or shards/<dataset>-<cf>-<f>-seed<k>.h5."""
        parts = [self.dataset, *("+".join(fills) for fills in (self.cf, self.f) if fills), f"seed{self.seed}"]
        return self.out or Path("shards") / ("-".join(parts) + ".h5")
