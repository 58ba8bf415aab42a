"""Write the packed pictures that have mattes as the folders that `clp-fit matte --data` reads, with a part held out.

    python -m experiments.matting.unpack_matting --data DIR --out DIR [--seed 0]

DIR of --data holds alpha_cutouts.h5, matting_images.h5, matting_masks.h5, tiny_imagenet100.h5, landscapes150.h5 and
waterbirds_like/; OUT gets train/ and held-out/, each with foregrounds/, backgrounds/, pictures/, masks/, boxed/ and
boxed.csv.

What is held out, so that scores there and on waterbirds_like are of things never seen:
- by source: all bird cut-outs, whichever part of waterbirds_like shows them; of coco256, birds.h5 and waterbirds_like
  nothing is written;
- by kind: a fifth of the other folders of cut-outs (dogs, fish, trees, ...), whole folders, by seed, and a fifth of the
  classes of tiny_imagenet100; of its other classes, the validation pictures;
- by picture: a fifth of the pets and of the people, by seed. A picture that is there twice, re-encoded or at another
  size, is written once: copies would land on both sides;
- landscapes: those marked as test, and those that stand behind a bird in val or test of waterbirds_like.

Backgrounds must be free of objects. Of pets and people it is the largest rectangle beside the mask, in the part of its
picture. CIFAR-10 has no boxes and its objects fill the frame; what lies beside a box of tiny_imagenet100 shows another
object in about a third of all cases (looked at). As backgrounds they would teach that objects are none: left out.
"""

from __future__ import annotations

import argparse
import os
import zlib
from pathlib import Path

import cv2
import numpy as np

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from experiments.common.packed import HELD_OUT, TRAIN, Packed, places_behind_tests, suffix, thumbnails
from experiments.matting.rectangles import largest_rectangle

FOLDERS = ("foregrounds", "backgrounds", "pictures", "masks", "boxed")
BOX_SHARE = (0.02, 0.90)  # of the picture's area: boxes outside tell little
BIRDS = "animals/birds"
SHARE = 0.2
TRIMAP = np.array([0, 255, 0, 128], np.uint8)  # Oxford's 1 object, 2 background, 3 unknown
CELL = 4  # pixels: free rectangles are sought on a grid of such cells
REST = 64  # shortest side of a background cut from beside an object, in pixels
ALIKE = 0.95  # correlation of two pictures' grey thumbnails: copies have 0.998 and more


def part_by_key(key: str, seed: int) -> str:
    """Return where everything of this key goes: a fifth is held out."""
    return HELD_OUT if rng_for(seed, zlib.crc32(key.encode()), "held out").random() < SHARE else TRAIN


def part_of_cutout(name: str, seed: int) -> str:
    """Return where a cut-out goes: birds are held out, of the rest whole folders."""
    folder = name.rpartition("/")[0]
    return HELD_OUT if folder == BIRDS else part_by_key(folder, seed)


def first_copies(packed: Packed) -> list[int]:
    """Return the rows without those whose picture came before, maybe re-encoded or at another size."""
    grey = thumbnails(packed, range(len(packed)), 16).mean(3).reshape(len(packed), -1)
    grey -= grey.mean(1, keepdims=True)
    grey /= np.linalg.norm(grey, axis=1, keepdims=True) + 1e-6
    copies = np.tril(grey @ grey.T > ALIKE, -1).any(1)
    return np.flatnonzero(~copies).tolist()


def beside(picture: np.ndarray, busy: np.ndarray) -> np.ndarray | None:
    """Return the largest part of a picture without a busy pixel, or None if it is small. busy: bool (H, W)."""
    height, width = (n // CELL for n in busy.shape)
    cells = busy[: height * CELL, : width * CELL].reshape(height, CELL, width, CELL).any((1, 3))
    found = largest_rectangle(~cells)
    if found is None or min(found[2] - found[0], found[3] - found[1]) * CELL < REST:
        return None
    x0, y0, x1, y1 = (n * CELL for n in found)
    return picture[y0:y1, x0:x1]


def png(pixels: np.ndarray) -> bytes:
    """Encode without loss."""
    return cv2.imencode(".png", pixels)[1].tobytes()


def write(out: Path, part: str, folder: str, name: str, data: bytes) -> None:
    """Write one file; folders in its name become part of it."""
    (out / part / folder / name.replace("/", "_")).write_bytes(data)


def cutouts(data: Path, out: Path, seed: int) -> None:
    """Write the cut-outs as foregrounds."""
    packed = Packed(data / "alpha_cutouts.h5")
    for row, name in enumerate(packed.names):
        write(out, part_of_cutout(name, seed), "foregrounds", name, packed.bytes_of(row))


def naturals(data: Path, out: Path, seed: int) -> None:
    """Write pets and people with their masks, and what lies beside them as backgrounds."""
    packed, masks = Packed(data / "matting_images.h5"), Packed(data / "matting_masks.h5")
    mask_of = {name: row for row, name in enumerate(masks.names)}
    for row in first_copies(packed):
        name, encoded = packed.names[row], packed.bytes_of(row)
        part, mask = part_by_key(name, seed), masks.pixels(mask_of[name], cv2.IMREAD_GRAYSCALE)
        mask = TRIMAP[mask] if name.startswith("pet/") else mask
        write(out, part, "pictures", name + suffix(encoded), encoded)
        write(out, part, "masks", name + ".png", png(mask))
        rest = beside(packed.pixels(row, cv2.IMREAD_COLOR), mask > 12)
        if rest is not None:
            write(out, part, "backgrounds", f"beside/{name}.png", png(rest))


def landscapes(data: Path, out: Path) -> None:
    """Write forests and seas as backgrounds."""
    packed = Packed(data / "landscapes150.h5")
    kept_back = packed.columns["is_test"].astype(bool) | places_behind_tests(packed, data / "waterbirds_like")
    for row, name in enumerate(packed.names):
        write(out, HELD_OUT if kept_back[row] else TRAIN, "backgrounds", f"landscape/{name}", packed.bytes_of(row))


def boxed(data: Path, out: Path, seed: int) -> None:
    """Write pictures of Tiny-ImageNet with their drawn boxes."""
    packed = Packed(data / "tiny_imagenet100.h5")
    boxes, label, is_val = (packed.columns[name] for name in ("box_xyxy", "label", "is_val"))
    lines = {part: ["file,x0,y0,x1,y1"] for part in (TRAIN, HELD_OUT)}
    for row in range(len(packed)):
        x0, y0, x1, y1 = box = boxes[row].astype(int).tolist()
        share = max(0, x1 - x0) * max(0, y1 - y0) / 64**2
        if max(box) > 64 or not BOX_SHARE[0] <= share <= BOX_SHARE[1]:
            continue
        part = HELD_OUT if is_val[row] else part_by_key(f"tiny class {label[row]}", seed)
        name = f"{label[row]:02d}_{row:05d}.jpg"
        write(out, part, "boxed", name, packed.bytes_of(row))
        lines[part].append(f"{name},{x0},{y0},{x1},{y1}")
    for part, rows in lines.items():
        (out / part / "boxed.csv").write_text("\n".join(rows) + "\n")


def unpack(data: Path, out: Path, seed: int) -> None:
    """Write both parts; the folder appears when it is complete. Raises UsageError when it exists already."""
    if out.exists():
        raise UsageError(f"{out}: exists already; give a new folder or remove it")
    beside_out = out.with_name(f"{out.name}.tmp-{os.getpid()}")
    for part in (TRAIN, HELD_OUT):
        for folder in FOLDERS:
            (beside_out / part / folder).mkdir(parents=True)
    cutouts(data, beside_out, seed)
    naturals(data, beside_out, seed)
    landscapes(data, beside_out)
    boxed(data, beside_out, seed)
    os.replace(beside_out, out)


def main() -> None:
    """Unpack, then count what lies where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    unpack(arguments.data, arguments.out, arguments.seed)
    for part in (TRAIN, HELD_OUT):
        counts = {folder: len(list((arguments.out / part / folder).iterdir())) for folder in FOLDERS}
        print(f"{arguments.out / part}: " + ", ".join(f"{count} {folder}" for folder, count in counts.items()))


if __name__ == "__main__":
    main()
