"""Boxes and fills of pictures in memory, for loops of one's own: what clp-augment does to each picture of a shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from clp_aug.checking import Progress, no_progress
from clp_aug.config import AugmentConfig
from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError, pick
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, KINDS, OUTCOMES
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_aug.fills import check_fill, fill_of, infill, read_options
from clp_aug.fills.scene import Materials, Scene
from clp_aug.mattes import check_matte, make_chain
from clp_aug.mattes.chain import locate_all
from clp_aug.mattes.picture import Decoded
from clp_aug.nets.devices import AUTO, CPU, find_device
from clp_aug.pipeline import augment

OWN_CLASS, OTHER_CLASS = 0, 1
NO_SETTINGS: Mapping[str, object] = {}


def find_boxes(
    images: Sequence[np.ndarray] | np.ndarray,
    matte: str = "hatt",
    *,
    masks: Sequence[np.ndarray | None] | None = None,
    pad: int = 0,
    device: str = CPU,
) -> tuple[np.ndarray, list[str]]:
    """Return the box of the object in each picture, int32 (N, 4), half-open pixels, and what became of the matte.

    images: square, uint8 (N, S, S, 3) RGB, or a list of such; matte: a name of `clp-augment --matte`; masks: what comes
    with each picture, for matte "given", float (S, S) in [0, 1], or None; pad: pixels by which boxes grow; device: of
    the matte's network. Outcomes are names of the contract: "ok", "full", cut to the gate, or why another matte stepped
    in ("empty", "tiny", "fallback"). Raises UsageError for an unknown matte, InputError for arrays of another form.
    """
    check_matte(matte)
    pictures = [Decoded(check_image(image, square=True), i) for i, image in enumerate(images)]
    if masks is not None:
        pictures = [Decoded(p.image, p.sample_id, check_mask(m, p.size)) for p, m in zip(pictures, masks, strict=True)]
    if not pictures:
        return np.zeros((0, 4), np.int32), []
    located = locate_all(pictures, make_chain(matte, place_of(device)), pad)
    return np.array([one.box for one in located], np.int32), [OUTCOMES[one.outcome] for one in located]


def fill(
    image: np.ndarray,
    box: Box | Sequence[int] | np.ndarray,
    name: str,
    seed: int = 0,
    *,
    kind: str | None = None,
    others: Sequence[tuple[np.ndarray, Sequence[int]]] = (),
    settings: Mapping[str, object] = NO_SETTINGS,
    device: str = CPU,
) -> np.ndarray:
    """Return a copy of a picture, uint8 (H, W, 3), whose object or background is filled; other pixels stay as they are.

    image: uint8 (H, W, 3) RGB; box: x0, y0, x1, y1, half-open pixels; name: of a fill; kind: "counterfactual", which
    hides what is in the box, or "factual", which hides all else, the first that the fill serves if None; others:
    pictures of other classes with their boxes, for fills that take from these; settings: the fill's own; device: of its
    network. Where the box leaves no background to take from, the hole is grey. The same seed gives the same pixels.
    Raises UsageError for an unknown name, kind or setting, InputError for arrays and boxes that are none.
    """
    kinds = {KINDS[each]: each for each in (COUNTERFACTUAL, FACTUAL)}
    chosen = fill_of(name).kinds[0] if kind is None else pick(kinds, kind, "kind")
    check_fill(name, chosen)
    options = read_options(settings, (name,)).get(name)
    scene = Scene(check_image(image), check_box(box, image), OWN_CLASS)
    partners = [Scene(check_image(other), check_box(b, other), OTHER_CLASS) for other, b in others]
    if fill_of(name).partner and not partners:
        raise InputError(f"fill {name}: it takes from pictures of other classes; give some as others = [(image, box)]")

    def in_turn(label: int, rng: np.random.Generator) -> Iterator[Scene]:
        return (partners[i] for i in rng.permutation(len(partners)))

    materials = Materials(in_turn, device=place_of(device))
    return infill(name, chosen, scene, rng_for(seed, 0, name), materials, options)[0]


def place_of(device: str) -> str:
    """Return the device that a name stands for, "auto" among them. Raises SettingError for one that is not there."""
    return CPU if device == CPU else str(find_device(device))


def check_image(image: np.ndarray, square: bool = False) -> np.ndarray:
    """Return a picture. Raises InputError for an array that is none."""
    right = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not right or not image.size or (square and image.shape[0] != image.shape[1]):
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"picture: {what}; expected uint8 {'(S, S, 3)' if square else '(H, W, 3)'} RGB")
    return image


def check_mask(mask: np.ndarray | None, size: int) -> np.ndarray | None:
    """Return a mask as float32 (size, size). Raises InputError for an array that is none."""
    if mask is None:
        return None
    values = np.asarray(mask, np.float32)
    if values.shape != (size, size) or not (values.min() >= 0 and values.max() <= 1):
        raise InputError(
            f"mask: {values.shape}, {values.min():g} to {values.max():g}; expected ({size}, {size}) in [0, 1]"
        )
    return values


def check_box(box: Box | Sequence[int] | np.ndarray, image: np.ndarray) -> Box:
    """Return a box as whole numbers. Raises InputError for one that is not inside the picture."""
    height, width = image.shape[:2]
    values = tuple(int(value) for value in box)
    if len(values) != 4 or values != tuple(box):
        raise InputError(f"box {tuple(box)}: expected x0, y0, x1, y1, whole pixels, half open")
    x0, y0, x1, y1 = values
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            f"box {values}: it is not inside {width} x {height} pixels; expected x0, y0, x1, y1, half open"
        )
    return x0, y0, x1, y1


def write_boxes(
    dataset: str,
    root: Path | None,
    out: Path,
    *,
    matte: str | None = None,
    masks: Path | None = None,
    boxes: Path | None = None,
    size: int | None = None,
    meta: str | None = None,
    workers: int = 1,
    device: str = AUTO,
    progress: Progress = no_progress,
) -> Path:
    """Write a shard that holds the box of every training picture and no infill, as `clp-augment --ratio 0` does, and
    return its path. An unfinished one is gone on with; for one that is there already `open_shard` is enough.

    dataset, root, matte, masks, boxes, size, meta, workers, device: as of clp-augment; progress: (title, total) ->
    context with a function that is told how many pictures were done. Raises what clp-augment raises.
    """
    config = AugmentConfig(
        dataset=dataset, root=root, out=out, matte=matte, masks=masks, boxes=boxes, size=size, meta=meta, ratio=0,
        workers=workers, device=device, resume=True,
    )  # fmt: skip
    return augment(config, progress).path


def open_shard(path: Path | str) -> ShardReader:
    """Return a shard that clp-augment wrote, checked: its tables in memory, its pictures read when asked for.

    Raises InputError for a file that is none, or that is damaged.
    """
    return ShardReader(path)
