"""clp-data waterbirds: birds on land and water, with a spurious background in training. MATTE -> PLAN -> COMPOSE.

The published set puts Caltech-UCSD Birds on Places: 95 % of the training birds on the place of their class, val and
test balanced within each class (Sagawa et al. 2020). This command makes such a set from any birds and any backgrounds,
in the layout that `datasets.waterbirds` reads. No bird and no background is in two splits.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import clp_aug
from clp_aug import boxing
from clp_aug.checking import Progress, no_progress
from clp_aug.contract import images
from clp_aug.contract.errors import InputError, TooManyFallbacks
from clp_aug.contract.schema import EMPTY, FALLBACK, FULL, OK, OUTCOMES
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import SPLITS
from clp_aug.datasets.mask_forms import MaskForm
from clp_aug.datasets.waterbirds import GROUPS, MASKS, RECIPE, TABLES
from clp_aug.datasets.waterbirds_names import PLACES
from clp_aug.engines import ENGINES, default_engine
from clp_aug.engines.starting import refuse_in_a_worker
from clp_aug.making.composing import composite, frame_cutout, layer_of, near_the_solid, resized
from clp_aug.making.folder import folder_made_beside
from clp_aug.making.foregrounds import ALPHA, GIVEN, MATTE, Bird, bytes_of, first_copies, pictures_under, read_birds
from clp_aug.making.shift import Composition, compose, draw_splits
from clp_aug.making.waterbirds_config import WaterbirdsConfig
from clp_aug.mattes import Matte, make_matte
from clp_aug.mattes.chain import read_finding

SQUARE = 224  # side of the square picture of a bird that a matte gets
QUALITY = 95  # JPEG
COLUMNS = ("img_id", "img_filename", "y", "split", "place", "place_filename", "bird_filename", "seed")
"""The published columns, then the bird and the seed of a row."""
PICTURES, FOUND = "images", ".mattes"


@dataclass(frozen=True)
class Outcome:
    """The result. groups: pictures per group in train, val and test; outcomes: number of birds by the outcome of their
    mask; sources: number of birds by the source of their mask; copies: birds and backgrounds that were left out as
    copies of another file.
    """

    path: Path
    groups: tuple[tuple[int, ...], ...]
    outcomes: dict[str, int]
    sources: dict[str, int]
    copies: int


@dataclass(frozen=True)
class Background:
    """One background. name: the folder that was given, and the path below it."""

    path: Path
    name: str


@dataclass(frozen=True)
class SquarePicture:
    """The picture of a bird that a matte gets, stretched to a square."""

    image: np.ndarray
    sample_id: int
    size: int = SQUARE
    alpha: None = None
    box: None = None


@dataclass
class Maker:
    """The work on one picture: for an int, the mask of that bird; for a Composition, its files."""

    config: WaterbirdsConfig
    birds: list[Bird]
    backgrounds: tuple[list[Background], ...]
    folder: Path

    def __call__(self, work: int | Composition) -> int:
        """Return the outcome of a mask, or the number of a picture that was written."""
        return self.look_at(work) if isinstance(work, int) else self.write(work)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "matte"}

    @cached_property
    def matte(self) -> Matte:
        """The matte, loaded once per process; without a matte `read_birds` refuses birds without a mask."""
        if self.config.matte is None:
            raise ValueError("no matte; give one for birds without a mask")
        return make_matte(self.config.matte)

    def matte_file(self, row: int) -> Path:
        """Return the path of a bird's matte while the set is made."""
        return self.folder / FOUND / f"{row:06d}.png"

    def look_at(self, row: int) -> int:
        """Return the outcome of a bird's mask; a computed matte is saved for `write`."""
        bird = self.birds[row]
        if bird.source != MATTE:
            alpha = self.alpha_of(row, self.picture_of(bird))
            return EMPTY if not alpha.any() else FULL if alpha.min() >= 0.5 else OK
        picture = self.picture_of(bird)
        squared = np.asarray(Image.fromarray(picture).resize((SQUARE, SQUARE), Image.Resampling.BILINEAR))
        finding = self.matte.find(SquarePicture(squared, row))
        if finding is None:
            return FALLBACK
        box, matte = read_finding(finding, SQUARE)
        outcome = boxing.judge(box, SQUARE, SQUARE)
        if outcome == OK:
            Image.fromarray(matte).save(self.matte_file(row))
        return outcome

    def picture_of(self, bird: Bird) -> np.ndarray:
        """Return the picture of a bird, uint8 (H, W, 3); for a cut-out, with the colours of its transparent pixels."""
        data = bytes_of(bird.path)
        if bird.source == ALPHA:
            picture = images.open_picture(data, str(bird.path))
            return np.asarray(images.converted(picture, "RGBA", str(bird.path)))[..., :3]
        return images.read_rgb(data, str(bird.path))

    def alpha_of(self, row: int, picture: np.ndarray) -> np.ndarray:
        """Return the alpha of a bird at the size of its picture: float32 (H, W) in [0, 1]."""
        bird = self.birds[row]
        path = self.matte_file(row) if bird.source == MATTE else bird.mask or bird.path
        read = MaskForm().read if bird.source == GIVEN else images.read_alpha
        alpha = read(bytes_of(path), str(path))
        if bird.source == MATTE:
            size = picture.shape[1::-1]
            return near_the_solid(np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BILINEAR)))
        if alpha.shape != picture.shape[:2]:
            raise InputError(
                f"mask {path}: {alpha.shape[1]} x {alpha.shape[0]} pixels for a picture of {picture.shape[1]} x"
                f" {picture.shape[0]}; give a mask of the picture's size"
            )
        return alpha

    def write(self, one: Composition) -> int:
        """COMPOSE: write the picture and the mask of one row."""
        bird, background = self.birds[one.bird], self.backgrounds[one.place][one.background]
        picture = self.picture_of(bird)
        layer = layer_of(picture, self.alpha_of(one.bird, picture))
        if bird.source == ALPHA:
            layer = frame_cutout(layer, rng_for(self.config.seed, one.number, "waterbirds frame"))
        behind = images.read_rgb(bytes_of(background.path), str(background.path))
        picture, mask = composite(resized(layer, self.config.size), behind)
        Image.fromarray(picture).save(self.folder / picture_name(one.number), quality=QUALITY, subsampling=0)
        Image.fromarray(mask).save(self.folder / MASKS / f"{one.number:06d}.png")
        return one.number


def picture_name(number: int) -> str:
    """Return the path of a picture below the set's root."""
    return f"{PICTURES}/{number:06d}.jpg"


def make(config: WaterbirdsConfig, progress: Progress = no_progress) -> Outcome:
    """Make the set in `config.out`, which exists only when complete. The bytes are the same for any number of workers.

    Raises InputError, UsageError and TooManyFallbacks, each with the reason and the remedy.
    """
    refuse_in_a_worker()
    with folder_made_beside(config.out) as folder:
        birds, bird_copies = read_birds(config.birds, config.classes, config.masks, config.matte is not None)
        backgrounds, place_copies = read_backgrounds(config)
        for name in (PICTURES, MASKS, FOUND):
            (folder / name).mkdir()
        maker = Maker(config, birds, backgrounds, folder)
        matte = vars(make_matte(config.matte).about) if config.matte else None
        with ENGINES[default_engine(config.workers)](maker, config.workers) as work:
            outcomes = np.fromiter(report_each(work(range(len(birds))), "MATTE", len(birds), progress), np.int64)
            usable = usable_birds(birds, outcomes, config)
            plan = plan_of(birds, usable, backgrounds, config)
            for _ in report_each(work(plan), "COMPOSE", len(plan), progress):
                pass
        for path in sorted((folder / FOUND).iterdir()):
            path.unlink()
        (folder / FOUND).rmdir()
        outcome = Outcome(
            config.out,
            group_counts(plan),
            {OUTCOMES[code]: n for code, n in sorted(Counter(outcomes.tolist()).items())},
            dict(Counter(birds[row].source for row in usable)),
            bird_copies + place_copies,
        )
        write_tables(folder, maker, plan, outcome, matte)
    return outcome


def report_each(results: Iterator[int], stage: str, total: int, progress: Progress) -> Iterator[int]:
    """Yield results and report the progress of each."""
    with progress(stage, total) as advance:
        for result in results:
            advance(1)
            yield result


def read_backgrounds(config: WaterbirdsConfig) -> tuple[tuple[list[Background], ...], int]:
    """Return the backgrounds of each place, and the number of those left out as copies.

    Raises InputError for a picture that is given for both places.
    """
    listed = [
        (p, Background(path, (Path(folder.resolve().name) / path.relative_to(folder)).as_posix()))
        for p, place in enumerate(PLACES)
        for folder in getattr(config, place)
        for path in pictures_under(folder, f"--{place}")
    ]
    both = {b.path.resolve() for p, b in listed if p == 0} & {b.path.resolve() for p, b in listed if p == 1}
    if both:
        raise InputError(f"{min(both)}: it is given as --land and as --water; give each picture for one place only")
    kept = [listed[row] for row in first_copies([background.path for _, background in listed])]
    return tuple([b for p, b in kept if p == place] for place in range(len(PLACES))), len(listed) - len(kept)


def usable_birds(birds: list[Bird], outcomes: np.ndarray, config: WaterbirdsConfig) -> list[int]:
    """Return the rows of the birds that have a usable mask.

    outcomes: codes of the contract. Raises TooManyFallbacks if too few are left for a set.
    """
    left_out = np.flatnonzero(outcomes != OK)
    if len(left_out) > config.max_left_out * len(birds) or len(left_out) == len(birds):
        why = ", ".join(f"{n} {OUTCOMES[code]}" for code, n in sorted(Counter(outcomes[left_out].tolist()).items()))
        raise TooManyFallbacks(
            f"{len(left_out):,} of {len(birds):,} birds have no usable mask ({why}), first {birds[left_out[0]].name},"
            f" more than --max-left-out {config.max_left_out:g}; give --masks DIR or another --matte"
        )
    return np.flatnonzero(outcomes == OK).tolist()


def plan_of(
    birds: list[Bird], usable: list[int], backgrounds: tuple[list[Background], ...], config: WaterbirdsConfig
) -> list[Composition]:
    """Return the pictures to make of the usable birds; their `bird` is a row of all birds."""
    label = np.array([birds[row].label for row in usable])
    split = draw_splits(label, [birds[row].split for row in usable], config.shares, config.seed)
    plan = compose(label, split, [*map(len, backgrounds)], config.confounding, config.per_bird, config.seed)
    return [Composition(c.number, usable[c.bird], c.label, c.split, c.place, c.background) for c in plan]


def group_counts(plan: list[Composition]) -> tuple[tuple[int, ...], ...]:
    """Return the pictures of each group in train, val and test."""
    counts = Counter((c.split, 2 * c.label + c.place) for c in plan)
    return tuple(tuple(counts[split, group] for group in range(len(GROUPS))) for split in range(len(SPLITS)))


def write_tables(
    folder: Path, maker: Maker, plan: list[Composition], outcome: Outcome, matte: dict[str, Any] | None
) -> None:
    """Write metadata.csv, one row per picture, and recipe.json: settings, counts, hash of the matte, version."""
    config = maker.config
    with open(folder / TABLES[0], "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for c in plan:
            place, bird = maker.backgrounds[c.place][c.background].name, maker.birds[c.bird].name
            table.writerow((c.number, picture_name(c.number), c.label, c.split, c.place, place, bird, config.seed))
    recipe = {
        "made by": f"clp-data waterbirds {clp_aug.__version__}",
        "is": "made anew, not the published Waterbirds",
        "settings": {
            "matte": matte, "confounding": config.confounding, "shares": config.shares,
            "per_bird": config.per_bird, "size": config.size, "seed": config.seed,
        },
        "groups": {SPLITS[s]: dict(zip(GROUPS, counts, strict=True)) for s, counts in enumerate(outcome.groups)},
        "masks": outcome.sources,
        "outcomes": outcome.outcomes,
        "copies left out": outcome.copies,
    }  # fmt: skip
    (folder / RECIPE).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
