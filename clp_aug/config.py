"""The settings of clp-augment: one frozen dataclass, checked once, stored in every shard."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.errors import UsageError, pick
from clp_aug.contract.images import FITS
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.contract.validate import MAX_SIDE
from clp_aug.datasets import DATASETS, DEFAULT_META, META_FROM_VAL
from clp_aug.datasets.split import check_img_max, check_meta, check_noise
from clp_aug.engines import ENGINES
from clp_aug.fills import check_fill
from clp_aug.mattes import check_matte
from clp_aug.mattes.refine import check_refine

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
class AugmentConfig:
    """What clp-augment is asked to do. Raises UsageError, naming option, value and remedy, when it cannot be done.

    cf, f: fills of counterfactuals and factuals, mixed in equal shares; ratio: augmented pictures an original;
    meta: "10/class", "10/group", "10/cluster" or "1000/balanced"; meta_from: "train" or "val"; imbalance:
    head-to-tail ratio of a long tail; img_max: what its largest class is counted in, "rest", "all" or a number; noise:
    "uniform:P", "flip:P" or "flip-similar:P"; size: side of the stored pictures in pixels, by default that of the
    data, at most 224; epsilon: FGSM's l_inf radius in [0, 1] pixel units; max_fallback: highest bearable share of
    pictures whose box is not the chosen matte's; refine: finer edges in the mattes kept for people; limit: at most so
    many training pictures.
    """

    dataset: str
    cf: tuple[str, ...] = ()
    f: tuple[str, ...] = ()
    ratio: int = 2
    meta: str | None = None
    meta_from: str | None = None
    keep_meta_in_train: bool = False
    imbalance: float | None = None
    img_max: str = "rest"
    noise: str | None = None
    noise_seed: int = 1
    limit: int | None = None
    matte: str | None = None
    pad: int = 0
    refine: bool = False
    max_fallback: float = 0.5
    size: int | None = None
    fit: str = "crop"
    epsilon: float = 0.5
    fgsm: str = "targeted"
    cagan_layout: str = "own"
    seed: int = 0
    root: Path | None = None
    masks: Path | None = None
    boxes: Path | None = None
    classifier: Path | None = None
    cagan_weights: Path | None = None
    lama_weights: Path | None = None
    out: Path | None = None
    engine: str | None = None
    workers: int = 1
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        pick(DATASETS, self.dataset, "data set")
        if self.meta is None:
            object.__setattr__(self, "meta", DEFAULT_META[self.dataset])
        if self.meta_from is None:
            object.__setattr__(self, "meta_from", "val" if self.dataset in META_FROM_VAL else "train")
        if not self.cf and not self.f:
            raise UsageError("nothing to make: give counterfactual fills with --cf, factual ones with --f, or both")
        files = {"classifier": self.classifier, "lama": self.lama_weights}
        given = [name for name, file in files.items() if file is not None]
        for option, kind, names in (("--cf", COUNTERFACTUAL, self.cf), ("--f", FACTUAL, self.f)):
            for name in names:
                check_fill(name, kind, given)
            if len(set(names)) != len(names):
                raise UsageError(f"{option} {','.join(names)}: a fill stands there twice; name each once")
        check_meta(self.meta)
        if self.noise is not None:
            check_noise(self.noise)
        if self.matte is not None:
            check_matte(self.matte)
        if self.refine:
            check_refine()
        if self.engine is not None:
            pick(ENGINES, self.engine, "engine")
        pick(dict.fromkeys(FITS), self.fit, "fit")
        pick(dict.fromkeys(CAGAN_LAYOUTS), self.cagan_layout, "layout of --cagan-weights")
        pick(dict.fromkeys(FGSM_MODES), self.fgsm, "FGSM mode")
        pick(dict.fromkeys(("train", "val")), self.meta_from, "source of meta pictures")
        check_img_max(self.img_max)
        self._check_numbers()

    def _check_numbers(self) -> None:
        ranges = {
            "ratio": (1, 100), "noise_seed": (0, 2**32 - 1), "seed": (0, 2**63 - 1), "pad": (0, MAX_SIDE),
            "max_fallback": (0, 1), "size": (MIN_SIDE, MAX_SIDE), "epsilon": (1 / 255, 1), "imbalance": (1, 1e6),
            "limit": (1, math.inf), "workers": (1, 1024),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # also refuses NaN
                raise UsageError(f"--{name.replace('_', '-')} {value}: expected {low:g} to {high:g}")

    def stored(self) -> dict:
        """Return the settings that a shard keeps: everything but what is local to a machine, as plain JSON."""
        settings = {k: v for k, v in dataclasses.asdict(self).items() if k not in LOCAL}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}

    def shard_path(self) -> Path:
        """Return where the shard goes: --out, or shards/<dataset>-<cf>-<f>-seed<k>.h5."""
        parts = [self.dataset, *("+".join(fills) for fills in (self.cf, self.f) if fills), f"seed{self.seed}"]
        return self.out or Path("shards") / ("-".join(parts) + ".h5")
