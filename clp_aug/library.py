"""Boxes and fills of pictures in memory, for your own loops: the steps of clp-augment for each picture of a shard."""

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
    """Return the box of the object in each picture, int32 (N, 4), half-open pixels, and the outcome of the matte.

    images: square, uint8 (N, S, S, 3) RGB, or a list of (S, S, 3); matte: a name of `clp-augment --matte`; masks: the
    mask of each picture, for matte "given", float (S, S) in [0, 1], or None; pad: pixels by which boxes grow on each
    side; device: of the matte's network. Outcomes are names of the contract: "ok", "full" (one side was moved in), or
    the reason why another matte was used ("empty", "tiny", "fallback"). Raises UsageError for an unknown matte,
    InputError for arrays of another form.
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
    """Return a copy of a picture, uint8 (H, W, 3), with its object or background filled; other pixels do not change.

    image: uint8 (H, W, 3) RGB; box: x0, y0, x1, y1, half-open pixels; name: of a fill; kind: "counterfactual" hides the
    box, "factual" hides everything else, None is the first kind that the fill serves; others: pictures of other classes
    with their boxes, for fills that use them; settings: the fill's own; device: of its network. If the box leaves no
    background to take pixels from, the hole is grey. The same seed gives the same pixels. Raises UsageError for an
    unknown name, kind or setting, InputError for invalid arrays and boxes.
    """
    kinds = {KINDS[each]: each for each in (COUNTERFACTUAL, FACTUAL)}
    chosen = fill_of(name).kinds[0] if kind is None else pick(kinds, kind, "kind")
    check_fill(name, chosen)
    options = read_options(settings, (name,)).get(name)
    scene = Scene(check_image(image), check_box(box, image), OWN_CLASS)
    partners = [Scene(check_image(other), check_box(b, other), OTHER_CLASS) for other, b in others]
    if fill_of(name).partner and not partners:
        raise InputError(f"fill {name}: it needs pictures of other classes; give some as others = [(image, box)]")

    def in_turn(label: int, rng: np.random.Generator) -> Iterator[Scene]:
        return (partners[i] for i in rng.permutation(len(partners)))

    materials = Materials(in_turn, device=place_of(device))
    return infill(name, chosen, scene, rng_for(seed, 0, name), materials, options)[0]


def place_of(device: str) -> str:
    """Return the device of a name, which may be "auto". Raises SettingError for a missing device."""
    return CPU if device == CPU else str(find_device(device))


def check_image(image: np.ndarray, square: bool = False) -> np.ndarray:
    """Return a picture. Raises InputError for any other array."""
    right = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not right or not image.size or (square and image.shape[0] != image.shape[1]):
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"picture: {what}; expected uint8 {'(S, S, 3)' if square else '(H, W, 3)'} RGB")
    return image


def check_mask(mask: np.ndarray | None, size: int) -> np.ndarray | None:
    """Return a mask as float32 (size, size). Raises InputError for any other array."""
    if mask is None:
        return None
    values = np.asarray(mask, np.float32)
    if values.shape != (size, size) or not (values.min() >= 0 and values.max() <= 1):
        raise InputError(
            f"mask: {values.shape}, {values.min():g} to {values.max():g}; expected ({size}, {size}) in [0, 1]"
        )
    return values


def check_box(box: Box | Sequence[int] | np.ndarray, image: np.ndarray) -> Box:
    """Return a box as whole numbers. Raises InputError for a box that is not inside the picture."""
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
    """Write a shard with the box of every training picture and without fills, like `clp-augment --ratio 0`, and return
    its path. An unfinished shard is continued.

    For a finished shard call `open_shard` instead. dataset, root, matte, masks, boxes, size, meta, workers, device: as
    in clp-augment; progress: (title, total) -> context whose value is called with the number of pictures done. Raises
    the errors of clp-augment.
    """
    config = AugmentConfig(
        dataset=dataset, root=root, out=out, matte=matte, masks=masks, boxes=boxes, size=size, meta=meta, ratio=0,
        workers=workers, device=device, resume=True,
    )  # fmt: skip
    return augment(config, progress).path


def open_shard(path: Path | str) -> ShardReader:
    """Return a checked shard of clp-augment: its tables in memory, its pictures read on request.

    Raises InputError for a file that is no shard, or is damaged.
    """
    return ShardReader(path)
