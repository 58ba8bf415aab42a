"""Make the sets of `experiments.fresh.fresh` of packed pictures, each as a data set `table` with masks.

    python -m experiments.fresh.make_sets --data DIR --out DIR [--sets pets ...] [--size 160] [--seed 0]

- pets: cats indoors, dogs outdoors (95 % of the training pictures); scenes of Tiny-ImageNet.
- breeds: the same scenes behind two breeds of cats, Abyssinians indoors and Bengals outdoors.
- cutouts-80, -90, -99: photographed animals before forests, plants before seas, in so many percent.
- two: people before reefs and warm, pets before towns and cold: 95 % by place, 90 % by colour, each drawn for itself.
- two-breeds: the same shortcuts, for Abyssinians and Bengals.

On pets and two plain cross entropy leaves little to gain, as a body that was trained on ImageNet knows cats and dogs;
the sets of breeds were added for that reason.

No object and no background serves two splits. In val and test every place, and every colour, is as common as the other
within each class. DIR of --data holds alpha_cutouts.h5, landscapes150.h5, matting_images.h5, matting_masks.h5 and
tiny_imagenet100.h5. OUT gets a folder a set: table.csv, made_of.csv (object and background), images/ and masks/.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import h5py
import numpy as np
from PIL import Image

from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import SPLITS
from clp_aug.making.composing import composite, frame_cutout, layer_of, resized
from clp_aug.making.folder import folder_made_beside
from clp_aug.making.shift import Composition, compose, draw_splits, other_place
from experiments.common.packed import Packed
from experiments.fresh.framing import fits, frame_picture
from experiments.matting.unpack_matting import first_copies

SHARES = (60, 15, 25)  # of train, val and test, by objects
QUALITY = 95  # JPEG
EDGE = 2.0  # pixels: alpha is 1 where the background is so much farther than the object, 0 the other way round
INDOORS, OUTDOORS = ("altar", "desk"), ("cliff dwelling", "steel arch bridge")
REEF, TOWN = ("brain coral", "jellyfish"), ("gondola", "thatch")
"""Scenes of Tiny-ImageNet in which neither people nor pets are common."""
LEFT_OUT = ("animals/birds/", "animals/mammals/bears/toys/")  # of the cut-outs
COLOURS = ("warm", "cold")
CAST = {"warm": (1.2, 1.0, 0.75), "cold": (0.75, 0.95, 1.2)}  # on red, green and blue
Reader = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Thing:
    """An object. layer: reads float32 (h, w, 4), colours times alpha, and alpha; whole: whether it may stand anywhere,
    or is cut where its picture ends.
    """

    name: str
    label: int
    layer: Reader
    whole: bool


@dataclass(frozen=True)
class Place:
    """A background. read: reads uint8 (H, W, 3) RGB."""

    name: str
    read: Reader


@dataclass(frozen=True)
class Kind:
    """What a set is made of.

    Class c stands before place c in a share `place` of its training pictures, and has colour c in a share `colour`, or
    no picture has a cast for None; copies: pictures an object.
    """

    classes: tuple[str, str]
    places: tuple[str, str]
    things: Callable[[Path], list[Thing]]
    scenes: Callable[[Path], tuple[list[Place], list[Place]]]
    copies: int
    place: float
    colour: float | None = None


def rgb(packed: Packed, row: int) -> np.ndarray:
    """Return a picture: uint8 (H, W, 3) RGB."""
    return cv2.cvtColor(packed.pixels(row, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def alpha_of_trimap(trimap: np.ndarray) -> np.ndarray:
    """Return alpha, float32 (H, W): a half where object and background are as near.

    trimap: uint8 (H, W), 1 object, 2 background, 3 unknown.
    """
    to_object, to_background = (cv2.distanceTransform((trimap != k).astype(np.uint8), cv2.DIST_L2, 5) for k in (1, 2))
    return (0.5 + (to_background - to_object) / (2 * EDGE)).clip(0, 1).astype(np.float32)


def matted(data: Path, kind: str, label: Callable[[str], int]) -> list[Thing]:
    """Return people ("human/") or pets ("pet/") by their masks, without copies and what fills its frame.

    label: what tells the class of a name.
    """
    pictures, masks = Packed(data / "matting_images.h5"), Packed(data / "matting_masks.h5")
    mask_of = {name: row for row, name in enumerate(masks.names)}

    def alpha(row: int) -> np.ndarray:
        mask = masks.pixels(mask_of[pictures.names[row]], cv2.IMREAD_GRAYSCALE)
        return alpha_of_trimap(mask) if kind == "pet/" else mask / np.float32(255)

    def layer(row: int) -> np.ndarray:
        return layer_of(rgb(pictures, row), alpha(row))

    rows = [row for row in first_copies(pictures) if pictures.names[row].startswith(kind) and fits(alpha(row))]
    return [Thing(pictures.names[row], label(pictures.names[row]), partial(layer, row), False) for row in rows]


def cats_and_dogs(data: Path) -> list[Thing]:
    """Return cats, 0, and dogs, 1: the Oxford pets write breeds of cats with a capital letter."""
    return matted(data, "pet/", lambda name: int(name.removeprefix("pet/")[0].islower()))


def breeds_of_cats(data: Path) -> list[Thing]:
    """Return Abyssinians, 0, and Bengals, 1."""
    cats = [thing for thing in cats_and_dogs(data) if thing.label == 0]
    return [replace(thing, label=int(thing.name.startswith("pet/Bengal"))) for thing in cats]


def people_and_pets(data: Path) -> list[Thing]:
    """Return people, 0, and pets, 1."""
    return matted(data, "human/", lambda name: 0) + matted(data, "pet/", lambda name: 1)


def animals_and_plants(data: Path) -> list[Thing]:
    """Return the cut-outs that are no birds and no toys: animals, 0, and plants, mushrooms and fruit, 1."""
    packed = Packed(data / "alpha_cutouts.h5")

    def layer(row: int) -> np.ndarray:
        picture = cv2.cvtColor(packed.pixels(row), cv2.COLOR_BGRA2RGBA)
        return layer_of(picture[..., :3], picture[..., 3] / np.float32(255))

    rows = [(row, name) for row, name in enumerate(packed.names) if not name.startswith(LEFT_OUT)]
    return [Thing(name, int(not name.startswith("animals/")), partial(layer, row), True) for row, name in rows]


def landscapes(data: Path) -> tuple[list[Place], list[Place]]:
    """Return forests and seas."""
    packed = Packed(data / "landscapes150.h5")
    rows = [np.flatnonzero(packed.columns["is_water"] == water) for water in (False, True)]
    forests, seas = ([Place(packed.names[r], partial(rgb, packed, r)) for r in some.tolist()] for some in rows)
    return forests, seas


def scenes(*families: Sequence[str]) -> Callable[[Path], tuple[list[Place], list[Place]]]:
    """Return what reads two families of scenes of Tiny-ImageNet, by the names of their classes."""

    def read(data: Path) -> tuple[list[Place], list[Place]]:
        packed = Packed(data / "tiny_imagenet100.h5")
        with h5py.File(data / "tiny_imagenet100.h5") as file:
            names = json.loads(file.attrs["names"])
        first, second = (
            [
                Place(f"{name}/{row}", partial(rgb, packed, row))
                for name in family
                for row in np.flatnonzero(packed.columns["label"] == names.index(name)).tolist()
            ]
            for family in families
        )
        return first, second

    return read


def cutouts(percent: int) -> Kind:
    """Return the set of cut-outs with so many percent of the training pictures before the place of their class."""
    return Kind(("animal", "plant"), ("forest", "sea"), animals_and_plants, landscapes, 16, percent / 100)


KINDS = {
    "pets": Kind(("cat", "dog"), ("indoors", "outdoors"), cats_and_dogs, scenes(INDOORS, OUTDOORS), 4, 0.95),
    "breeds": Kind(
        ("abyssinian", "bengal"), ("indoors", "outdoors"), breeds_of_cats, scenes(INDOORS, OUTDOORS), 5, 0.95
    ),
    **{f"cutouts-{percent}": cutouts(percent) for percent in (80, 90, 99)},
    "two": Kind(("person", "pet"), ("reef", "town"), people_and_pets, scenes(REEF, TOWN), 4, 0.95, 0.9),
    "two-breeds": Kind(("abyssinian", "bengal"), ("reef", "town"), breeds_of_cats, scenes(REEF, TOWN), 6, 0.95, 0.9),
}


def colours_of(plan: Sequence[Composition], share: float, seed: int) -> list[int]:
    """Return the colour of every picture: in training that of its class in a share of each group, else in half."""
    cells: dict[tuple[int, int, int], list[int]] = {}
    for row, one in enumerate(plan):
        cells.setdefault((one.split, one.label, one.place), []).append(row)
    colour = [one.label for one in plan]
    for number, ((split, label, _), rows) in enumerate(sorted(cells.items())):
        order = rng_for(seed, number, "fresh colour").permutation(rows)
        for row in order[: other_place(len(rows), split, share)]:
            colour[row] = 1 - label
    return colour


def with_cast(picture: np.ndarray, colour: str) -> np.ndarray:
    """Return a picture with a colour cast, uint8 (H, W, 3) RGB."""
    return (picture * np.array(CAST[colour])).clip(0, 255).round().astype(np.uint8)


def make(name: str, data: Path, out: Path, size: int, seed: int) -> Path:
    """Make one set in `out`, which appears when it is complete, unless it is there; return it."""
    if out.exists():
        return out
    kind = KINDS[name]
    things, places = kind.things(data), kind.scenes(data)
    label = np.array([thing.label for thing in things])
    split = draw_splits(label, [None] * len(label), SHARES, seed)
    plan = compose(label, split, [*map(len, places)], kind.place, kind.copies, seed)
    colour = [None] * len(plan) if kind.colour is None else colours_of(plan, kind.colour, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_made_beside(out) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        rows, sources = [], []
        for one, cast in zip(plan, colour, strict=True):
            thing, place = things[one.bird], places[one.place][one.background]
            rng = rng_for(seed, one.number, "fresh frame")
            layer = frame_cutout(thing.layer(), rng) if thing.whole else frame_picture(thing.layer(), rng)
            picture, mask = composite(resized(layer, size), place.read())
            picture = picture if cast is None else with_cast(picture, COLOURS[cast])
            file, mask_file = f"images/{one.number:05d}.jpg", f"masks/{one.number:05d}.png"
            Image.fromarray(picture).save(folder / file, quality=QUALITY, subsampling=0)
            Image.fromarray(mask).save(folder / mask_file)
            attributes = [kind.places[one.place], *([] if cast is None else [COLOURS[cast]])]
            rows.append([file, kind.classes[one.label], SPLITS[one.split], mask_file, *attributes])
            sources.append([file, thing.name, place.name])
        columns = ["file", "label", "split", "mask", "place", *([] if kind.colour is None else ["colour"])]
        write(folder / "table.csv", columns, rows)
        write(folder / "made_of.csv", ["file", "object", "background"], sources)
    return out


def write(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """Write a table."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def main() -> None:
    """Make the sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.sets:
        print(make(name, arguments.data, arguments.out / f"{name}-{arguments.size}", arguments.size, arguments.seed))


if __name__ == "__main__":
    main()
