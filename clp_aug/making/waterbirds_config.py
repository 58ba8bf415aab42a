"""The settings of clp-data waterbirds: one frozen dataclass, checked once."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError, UsageError
from clp_aug.datasets.waterbirds_names import PLACES, PUBLISHED
from clp_aug.mattes import check_matte


@dataclass(frozen=True)
class WaterbirdsConfig(Settings):
    """The settings of a set.

    birds, classes, masks: as in `read_birds`; land, water: folders of backgrounds, at any depth; matte: for birds
    without a mask; confounding: share of the training birds on the place of their class, in [0.5, 1]; shares: relative
    sizes of train, val and test; per_bird: pictures per bird; size: longer side of the pictures in pixels, None for
    that of the bird's picture; max_left_out: largest share of birds without a usable mask.
    """

    birds: Path = setting(MISSING, "Pictures of birds at any depth, or CUB_200_2011.", option=True)
    land: tuple[Path, ...] = setting(MISSING, "Folder of land backgrounds; may be repeated.", option=True)
    water: tuple[Path, ...] = setting(MISSING, "Folder of water backgrounds; may be repeated.", option=True)
    out: Path = setting(MISSING, "Folder to make; it exists only when it is complete.", option=True)
    masks: Path | None = setting(None, "Folder of PNG masks named like the birds; cut-outs need none.", option=True)
    matte: str | None = setting(None, "For birds without a mask: hatt[:FILE], grabcut or onnx:FILE.", option=True)
    classes: Path | None = setting(None, "CSV of birds (file,class[,split]); else folders give the class.", option=True)
    confounding: float = setting(
        0.95, "Share of training birds on the place of their class.", low=0.5, high=1, option=True
    )
    shares: tuple[int, ...] = setting(tuple(map(sum, PUBLISHED)), "Relative sizes of train, val and test.", option=True)
    per_bird: int = setting(1, "Pictures per bird; backgrounds are used in turn.", low=1, option=True)
    size: int | None = setting(
        None, "Longer side of the pictures in pixels.", low=16, shown="of the bird's picture", option=True
    )
    seed: int = setting(0, "Seed of splits, places and backgrounds.", low=0, option=True)
    max_left_out: float = setting(0.5, "Largest share of birds without a usable mask.", low=0, high=1, option=True)
    workers: int = setting(1, "Worker processes.", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for place in PLACES:
            folders = getattr(self, place)
            if not folders:
                raise UsageError(f"--{place}: give a folder of backgrounds")
            if len({folder.resolve().name for folder in folders}) < len(folders):
                raise UsageError(f"--{place}: two of its folders have the same name; rename one, or give their parent")
        if self.matte is not None:
            check_matte(self.matte)
            if self.matte in ("given", "centre"):
                raise UsageError(f"--matte {self.matte}: it finds no outline; choose hatt, grabcut or onnx:FILE")
        if len(self.shares) != 3 or min(self.shares) < 1:
            raise SettingError("shares", self.shares, "expected three whole numbers >= 1, for example 60,15,25")
