"""READ: masks that come with pictures: which mask belongs to which picture, and whether the files are masks."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotation_words import AUTO, SOFT
from clp_aug.datasets.attached import Stored
from clp_aug.datasets.mask_forms import BY_ITSELF, FAINT, VOID, MaskForm, has_class_palette, is_jpeg
from clp_aug.datasets.names import files_below, is_folder, some

LOOKED_AT = 8  # files that are opened, spread over all, to check whether they are masks
SIDE = 64  # side in pixels of the shrunk mask for this check
SPREAD, COLOURED, DIFFERENT = 16, 0.2, 0.3
"""A photograph: this difference between channels in this share of its pixels, and this share of different colours."""
NUMBERS, WITH_VOID, PHOTOGRAPH, MASK = "numbers", "numbers with void", "photograph", "mask"
BY_NUMBER = "; if these are numbers, give --masks {} --masks-form index, or trimap for 1 object, 2 background, 3 border"
REASONS = {
    NUMBERS: ("is nearly black, like class numbers 1, 2, 3 or dark colours of a palette", BY_NUMBER),
    WITH_VOID: ("seems to have class numbers, and 255 where the class is unknown", f"{BY_NUMBER}; if not, soft"),
    PHOTOGRAPH: ("is a colour photograph", ""),
}
"""What a file looks like if it is no mask -> the reason in words, and the remedy."""


class NotMasks(InputError):
    """Raised for files in the place of masks that do not look like masks."""


@dataclass(frozen=True)
class MaskFiles:
    """The files below a folder of masks, not hidden, in the order of their paths: PNG files, and other files."""

    folder: Path
    masks: list[Path]
    others: list[Path]


def match_masks(names: Sequence[str], masks_dir: Path) -> dict[int, Path]:
    """Find the mask of each picture: the PNG at the same relative path, or, directly in the folder, of the same stem.

    names: relative paths of the pictures, one per row. Returns row -> file. If no PNG fits, other picture files are
    tried. A mask in a sub-folder is never matched by its stem: `dog/1.png` must not become the mask of `cat/1.jpg`.
    Raises InputError for a missing folder, for a mask that fits several pictures or a picture with several masks, if
    nothing matches, and for files that are no masks.
    """
    return match(names, mask_files(masks_dir), any_format=True)[0]


def mask_files(masks_dir: Path) -> MaskFiles:
    """List a folder of masks. Raises InputError for a folder that does not exist or cannot be read."""
    if not is_folder(masks_dir):
        raise InputError(f"masks: no folder {masks_dir}; expected PNG files with the names of the pictures")
    kinds: dict[bool, list[Path]] = {True: [], False: []}
    for path in files_below(masks_dir):
        if not path.name.startswith("."):
            kinds[path.suffix.lower() == ".png"].append(path)
    return MaskFiles(masks_dir, kinds[True], kinds[False])


def match(
    names: Sequence[str], files: MaskFiles, form: MaskForm = BY_ITSELF, any_format: bool = False
) -> tuple[dict[int, Path], tuple[str, ...]]:
    """Return row -> mask, as `match_masks` does, and remarks on how they are read.

    form: what their pixels mean; any_format: whether other picture files count if no PNG fits, because the user says
    that these are masks.
    """
    matches = pair(names, files.folder, files.masks)
    if not matches and any_format:
        others = [path for path in files.others if path.name.lower().endswith(images.SUFFIXES)]
        matches = pair(names, files.folder, others)
    if not matches:
        raise InputError(f"masks {files.folder}: {nothing_fits(files)}; expected e.g."
                         f" {os.path.splitext(names[0])[0]}.png for {names[0]}")  # fmt: skip
    masks = list(matches.values())
    check_masks(files.folder, masks, form)
    return matches, remarks_on(files.folder, masks, form)


def pair(names: Sequence[str], folder: Path, masks: Sequence[Path]) -> dict[int, Path]:
    """Return row -> mask for files below a folder; empty if nothing fits."""
    by_path, by_stem = defaultdict(list), defaultdict(list)
    for row, name in enumerate(names):
        key = os.path.splitext(name)[0]
        by_path[key].append(row)
        by_stem[key.rpartition("/")[2]].append(row)
    matches: dict[int, Path] = {}
    for mask in masks:
        key = os.path.splitext(mask.relative_to(folder).as_posix())[0]
        rows = by_path.get(key) or ([] if "/" in key else by_stem.get(key, []))
        if len(rows) > 1:
            raise InputError(
                f"mask {mask}: fits {len(rows)} pictures, {names[rows[0]]} and {names[rows[1]]};"
                " give pictures different names and mirror their folders under the masks"
            )
        for row in rows:
            if row in matches:
                raise InputError(f"picture {names[row]}: has two masks, {matches[row]} and {mask}; remove one")
            matches[row] = mask
    return matches


def nothing_fits(files: MaskFiles) -> str:
    """Return in words what is in a folder of masks if none fits a picture."""
    others = [path.relative_to(files.folder).as_posix() for path in files.others]
    if files.masks:
        return f"none of {len(files.masks)} PNG files fits a picture"
    if any(name.lower().endswith(images.SUFFIXES) for name in others):
        return f"no PNG file that fits, but {some(others)}: save masks as PNG, or name the folder with --masks"
    return f"no PNG file, but {some(others)}" if others else "no file in it"


def unused(files: MaskFiles, matches: dict[int, Path]) -> str | None:
    """Return a remark on masks that fit no picture and on files that are no PNG, None if there are none."""
    taken = set(matches.values())
    strays = [path for path in (*files.masks, *files.others) if path not in taken]
    if not strays:
        return None
    names = some(path.relative_to(files.folder).as_posix() for path in strays)
    return f"masks {files.folder}: {len(matches)} fit a picture, {len(strays)} files fit none or are no PNG: {names}"


def check_masks(folder: Path, masks: Sequence[Stored], form: MaskForm = BY_ITSELF) -> None:
    """Raise NotMasks if all of some files are no masks: class numbers, nearly black, or photographs.

    form: what their pixels mean; if it is named, some files are read in that form, and a file of another form raises
    InputError. Unreadable and black files do not count here: reading them later raises an error.
    """
    looks: dict[str, str] = {}  # look -> the first such file
    for path in sample(masks):
        if form.name not in (AUTO, SOFT):
            form.read(bytes_of(path), str(path))
            continue
        look = MASK if form.name == SOFT else look_at(path)
        if look == MASK:
            return
        if look is not None:
            looks.setdefault(look, path.relative_to(folder).as_posix())
    for look, name in looks.items():
        reason, remedy = REASONS[look]
        said = f"{name} {reason}; expected 255 where the object is and 0 elsewhere"
        raise NotMasks(f"masks {folder}: {said}{remedy.format(folder)}")


def sample(masks: Sequence[Stored]) -> Sequence[Stored]:
    """Return LOOKED_AT files or a few more, spread over all."""
    return masks[:: max(1, len(masks) // LOOKED_AT)]


def bytes_of(path: Stored) -> bytes:
    """Return the bytes of a mask file. Raises InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"mask {path}: cannot read ({error.strerror}); restore it") from None


def remarks_on(folder: Path, masks: Sequence[Stored], form: MaskForm) -> tuple[str, ...]:
    """Return remarks on files that are read in a special way."""
    if form.name != AUTO:
        return ()
    remarks, beginnings = [], []
    for path in sample(masks):
        try:
            beginnings.append(path.read_bytes())
        except OSError:  # reading it later raises an error
            continue
    if any(map(has_class_palette, beginnings)):
        remarks.append("files with the palette of VOC hold class numbers: any but 0 and 255 is the object")
    if any(map(is_jpeg, beginnings)):
        remarks.append("JPEG files are cut at half their brightness, because JPEG blurs edges")
    return tuple(f"masks {folder}: {remark}" for remark in remarks)


def look_at(path: Stored) -> str | None:
    """Return what a file looks like: MASK, or one of REASONS; None for a file that is broken, or black everywhere."""
    try:
        data = path.read_bytes()
        if has_class_palette(data):
            return MASK
        alpha = images.read_alpha(data, str(path))
        picture = images.open_picture(data, str(path))
        rgb = images.to_rgb(picture, str(path))
    except (OSError, InputError):
        return None
    if not alpha.any():
        return None
    if alpha.max() < FAINT and alpha.min() < alpha.max():
        return NUMBERS
    if has_void(picture):
        return WITH_VOID
    grey = np.asarray(rgb.convert("L"), np.float32) / 255
    pixels = np.asarray(rgb.resize((SIDE, SIDE), Image.Resampling.NEAREST)).reshape(-1, 3)
    coloured = (np.ptp(pixels.astype(int), axis=1) > SPREAD).mean() > COLOURED
    varied = len(np.unique(pixels, axis=0)) > DIFFERENT * min(len(pixels), rgb.width * rgb.height)
    return PHOTOGRAPH if coloured and varied and np.array_equal(alpha, grey) else MASK  # else its opacity counts


def has_void(picture: Image.Image) -> bool:
    """Return whether a mask has classes with a void border: levels 0, low, 255, and more low ones than 255."""
    if picture.mode != "L":
        return False
    counts = np.bincount(np.asarray(picture).ravel(), minlength=VOID + 1)
    low, between, void = counts[1 : int(FAINT * VOID)].sum(), counts[int(FAINT * VOID) : VOID].sum(), counts[VOID]
    return bool(counts[0] and void and not between and low > void)
