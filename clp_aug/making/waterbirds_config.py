"""The settings of clp-data waterbirds: one frozen dataclass, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.errors import UsageError
from clp_aug.datasets.waterbirds import PLACES, PUBLISHED
from clp_aug.mattes import check_matte


@dataclass(frozen=True)
class WaterbirdsConfig:
    """The settings of a set.

    birds, classes, masks: as `read_birds` takes them; land, water: folders of backgrounds, at any depth; matte: for
    birds without a mask; confounding: share of the training birds before the place of their own, in [0.5, 1]; shares:
    relative sizes of train, val and test; per_bird: pictures a bird; size: longer side of the pictures in pixels, that
    of the bird's picture when None; max_left_out: share of the birds that may lack a usable matte.
    """

    birds: Path
    land: tuple[Path, ...]
    water: tuple[Path, ...]
    out: Path
    masks: Path | None = None
    classes: Path | None = None
    matte: str | None = None
    confounding: float = 0.95
    shares: tuple[int, ...] = tuple(map(sum, PUBLISHED))
    per_bird: int = 1
    size: int | None = None
    seed: int = 0
    max_left_out: float = 0.5
    workers: int = 1

    def __post_init__(self) -> None:
        for place in PLACES:
            folders = getattr(self, place)
            if not folders:
                raise UsageError(f"--{place}: give a folder of backgrounds")
            if len({folder.resolve().name for folder in folders}) < len(folders):
                raise UsageError(f"--{place}: two of its folders have the same name; rename one, or give their parent")
        if self.matte is not None:
            check_matte(self.matte)
            if self.matte in ("given", "centre"):
                raise UsageError(f"--matte {self.matte}: finds no outline; choose hatt, grabcut or onnx:FILE")
        if not 0.5 <= self.confounding <= 1:
            raise UsageError(f"--confounding {self.confounding}: expected a share from 0.5 to 1")
        if len(self.shares) != 3 or min(self.shares) < 1:
            raise UsageError(f"--shares {','.join(map(str, self.shares))}: expected three whole numbers >= 1, 60,15,25")
        for name, low in (("per_bird", 1), ("size", 16), ("seed", 0), ("workers", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise UsageError(f"--{name.replace('_', '-')} {value}: expected a whole number >= {low}")
        if not 0 <= self.max_left_out <= 1:
            raise UsageError(f"--max-left-out {self.max_left_out}: expected a share from 0 to 1")
