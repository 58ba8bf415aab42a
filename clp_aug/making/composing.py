"""One composite: an object with its alpha on a background that covers the frame. Pixels only, no files."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from clp_aug import boxing

CUTOUT_SHARE = (0.15, 0.45)  # of the frame's area, for the box of a cut-out
MARGIN = 1.05  # a cut-out's frame is at least its longer side times this
NEAR = 0.02  # of the picture's longer side


def layer_of(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return colours times alpha, and alpha: float32 (H, W, 4), colours in [0, 255], alpha in [0, 1].

    image: uint8 (H, W, 3) RGB; alpha: float (H, W) in [0, 1]. Premultiplied, so that hidden colours of transparent
    pixels do not bleed in when the layer is resized.
    """
    alpha = alpha.astype(np.float32)[..., None]
    return np.concatenate([image * alpha, alpha], axis=2)


def near_the_solid(alpha: np.ndarray) -> np.ndarray:
    """Return a matte without haze far from its object, which would show the old background: float32 (H, W).

    alpha: float (H, W) in [0, 1]. It does not change up to NEAR of the longer side from the solid part, and is 0 beyond
    three times that distance.
    """
    reach = max(1, round(NEAR * max(alpha.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * reach + 1, 4 * reach + 1))
    near = cv2.dilate(boxing.foreground(alpha).astype(np.uint8), disc).astype(np.float32)
    return alpha.astype(np.float32) * cv2.blur(near, (2 * reach + 1, 2 * reach + 1), borderType=cv2.BORDER_REPLICATE)


def frame_cutout(layer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put a cut-out, without the empty rows and columns around it, at a random place of a square frame.

    layer: float32 (h, w, 4), with some alpha. Returns float32 (S, S, 4): the box of the cut-out covers a share of the
    frame drawn from CUTOUT_SHARE, less if its longer side would not fit. Raises ValueError for a layer without alpha.
    Source: ours.
    """
    box = boxing.enclosing_box(layer[..., 3] > 0)
    if box is None:
        raise ValueError("a cut-out that is transparent everywhere; expected some alpha above 0")
    x0, y0, x1, y1 = box
    cut = layer[y0:y1, x0:x1]
    height, width = cut.shape[:2]
    side = round(max((height * width / rng.uniform(*CUTOUT_SHARE)) ** 0.5, MARGIN * max(height, width)))
    y, x = rng.integers(side - height + 1), rng.integers(side - width + 1)
    frame = np.zeros((side, side, 4), np.float32)
    frame[y : y + height, x : x + width] = cut
    return frame


def resized(layer: np.ndarray, longest: int | None) -> np.ndarray:
    """Return the layer with a longer side of `longest` pixels, unchanged for None: float32 (h, w, 4)."""
    height, width = layer.shape[:2]
    if longest is None or longest == max(height, width):
        return layer
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(layer, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def covering(background: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the largest centred part of a background that has the frame's shape, resized to it.

    background: uint8 (H, W, 3). Returns uint8 (height, width, 3).
    """
    scale = min(background.shape[0] / height, background.shape[1] / width)
    h, w = height * scale, width * scale
    top, left = (max(0.0, (side - part) / 2) for side, part in zip(background.shape[:2], (h, w), strict=True))
    window = (left, top, min(left + w, background.shape[1]), min(top + h, background.shape[0]))  # rounding goes beyond
    return np.asarray(Image.fromarray(background).resize((width, height), Image.Resampling.BILINEAR, box=window))


def composite(layer: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the layer on the background, uint8 (h, w, 3), and its mask, uint8 (h, w).

    layer: float32 (h, w, 4); background: uint8 (H, W, 3). Source: alpha blending, as in Sagawa et al. (2020).
    """
    behind = covering(background, *layer.shape[:2])
    alpha = layer[..., 3:]
    picture = layer[..., :3] + behind * (1 - alpha)
    return (picture.clip(0, 255).round().astype(np.uint8), (alpha[..., 0] * 255).clip(0, 255).round().astype(np.uint8))
