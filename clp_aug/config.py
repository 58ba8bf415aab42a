"""The settings of clp-augment: one frozen dataclass, checked once, stored in every shard."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from clp_aug.common.settings import setting
from clp_aug.contract.errors import UsageError, pick
from clp_aug.contract.images import FITS
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.contract.validate import MAX_SIDE
from clp_aug.datasets import DATASETS
from clp_aug.engines import ENGINES
from clp_aug.fills import check_fill
from clp_aug.mattes import check_matte
from clp_aug.mattes.refine import check_refine
from clp_aug.protocol.settings import ProtocolSettings

MIN_SIDE = 8
FGSM_MODES = ("targeted", "untargeted")
CAGAN_LAYOUTS = ("own", "tf")
LOCAL = (
    "root",
    "masks",
    "boxes",
    "classifier",
    "cagan_weights",
    "lama_weights",
    "out",
    "max_fallback",
    "engine",
    "workers",
    "resume",
    "overwrite",
)
"""Where things are, who does the work, what is bearable: it changes no byte of a shard and is not stored in one."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(ProtocolSettings):
    """What clp-augment is asked to do. Raises UsageError, naming option, value and remedy, when it cannot be done.

    cf, f: fills of counterfactuals and factuals, mixed in equal shares; ratio: augmented pictures an original; size:
    side of the stored pictures in pixels, by default that of the data, at most 224; epsilon: FGSM's l_inf radius in
    [0, 1] pixel units; max_fallback: highest bearable share of pictures whose box is not the chosen matte's; refine:
    finer edges in the mattes kept for people. The protocol's settings: see `ProtocolSettings`.
    """

    dataset: str
    cf: tuple[str, ...] = ()
    f: tuple[str, ...] = ()
    ratio: int = setting(2, "Augmented pictures an original; counterfactual : factual = 1 : 1.", low=1, high=100)
    matte: str | None = None
    pad: int = setting(0, "Grow every box by so many pixels.", low=0, high=MAX_SIDE)
    refine: bool = setting(False, "Finer edges in the mattes kept for people; boxes do not change.")
    max_fallback: float = setting(0.5, "Share of pictures that may need another matte.", low=0, high=1)
    size: int | None = setting(None, "Side of the stored pictures in pixels.", low=MIN_SIDE, high=MAX_SIDE)
    fit: str = setting("crop", "How a picture becomes square: crop (centred) or stretch.", choices=FITS)
    epsilon: float = setting(0.5, "Radius of fgsm, l_inf, in [0, 1] pixel units.", low=1 / 255, high=1)
    fgsm: str = setting("targeted", "targeted (to a random other class) or untargeted.", choices=FGSM_MODES)
    cagan_layout: str = setting("own", "Of published weights: own, or tf.", choices=CAGAN_LAYOUTS)
    root: Path | None = None
    masks: Path | None = None
    boxes: Path | None = None
    classifier: Path | None = None
    cagan_weights: Path | None = None
    lama_weights: Path | None = None
    out: Path | None = None
    engine: str | None = None
    workers: int = setting(1, "Worker processes.", low=1, high=1024)
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        pick(DATASETS, self.dataset, "data set")
        object.__setattr__(self, "meta", self.meta_of(self.dataset))
        object.__setattr__(self, "meta_from", self.meta_from_of(self.dataset))
        if not self.cf and not self.f:
            raise UsageError("nothing to make: give counterfactual fills with --cf, factual ones with --f, or both")
        files = {"classifier": self.classifier, "lama": self.lama_weights}
        given = [name for name, file in files.items() if file is not None]
        for option, kind, names in (("--cf", COUNTERFACTUAL, self.cf), ("--f", FACTUAL, self.f)):
            for name in names:
                check_fill(name, kind, given)
            if len(set(names)) != len(names):
                raise UsageError(f"{option} {','.join(names)}: a fill stands there twice; name each once")
        if self.matte is not None:
            check_matte(self.matte)
        if self.refine:
            check_refine()
        if self.engine is not None:
            pick(ENGINES, self.engine, "engine")
        super().__post_init__()

    def stored(self) -> dict:
        """Return the settings that a shard keeps: everything but what is local to a machine, as plain JSON."""
        settings = {k: v for k, v in dataclasses.asdict(self).items() if k not in LOCAL}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}

    def shard_path(self) -> Path:
        """Return where the shard goes: --out, or shards/<dataset>-<cf>-<f>-seed<k>.h5."""
        parts = [self.dataset, *("+".join(fills) for fills in (self.cf, self.f) if fills), f"seed{self.seed}"]
        return self.out or Path("shards") / ("-".join(parts) + ".h5")
