"""Procedural foregrounds: ellipses, polygons and strokes with sharp, blurred or frayed edges."""

from __future__ import annotations

import cv2
import numpy as np

Place = tuple[int, int, int, int]
"""Left, top, width, height in pixels of the picture; it may reach over its borders."""

LONGEST = 1.25  # of the picture's side; without it thin things would reach far out
OVERHANG = 0.3  # fraction of its own side that a thing may stick out
SUBPIXEL = 4  # fractional bits of OpenCV's coordinates


def place(share: float, aspect: float, size: int, rng: np.random.Generator) -> Place:
    """Return a random place of a thing whose rectangle covers `share` of a (size, size) picture.

    aspect: width over height. A thing longer than 1.25 sides is made smaller; up to 30 % of each of its sides may lie
    outside the picture.
    """
    width, height = np.sqrt(share * aspect) * size, np.sqrt(share / aspect) * size
    shrink = min(1.0, LONGEST * size / max(width, height))
    width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
    left, top = (rng.uniform(-OVERHANG * n, size - (1 - OVERHANG) * n) for n in (width, height))
    return round(left), round(top), width, height


def ellipse(rng: np.random.Generator) -> np.ndarray:
    """Return 64 corners of a circle, float (64, 2) in [-1, 1]; the place stretches it, `outline` rotates it."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.stack([np.cos(angle), rng.uniform(0.4, 1) * np.sin(angle)], 1)


def polygon(rng: np.random.Generator) -> np.ndarray:
    """Return the corners of a star-shaped polygon, float (3 to 9, 2) in [-1, 1]."""
    corners = int(rng.integers(3, 10))
    angle = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    return np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.45, 1, (corners, 1))


def stroke(rng: np.random.Generator) -> np.ndarray:
    """Return the outline of a thick curve, float (96, 2): a cubic Bezier curve of varying width."""
    t = np.linspace(0, 1, 48)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    line = weights @ rng.uniform(-1, 1, (4, 2))
    along = np.gradient(line, axis=0)
    across = along[:, ::-1] * (-1, 1) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    ends = rng.uniform(0.08, 0.25, 2)
    width = np.linspace(ends[0], ends[1], 48)[:, None]
    return np.concatenate([line + across * width, (line - across * width)[::-1]])


OUTLINES = {"ellipse": ellipse, "polygon": polygon, "stroke": stroke}
EDGES = ("sharp", "blurred", "frayed")


def outline(kind: str, where: Place, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one shape that fills its place, rotated at random: float32 (size, size) in [0, 1], smooth at its edge."""
    points = OUTLINES[kind](rng)
    turn = rng.uniform(0, 2 * np.pi)
    points = points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    low, high = points.min(0), points.max(0)
    points = (points - low) / np.maximum(high - low, 1e-9) * where[2:] + where[:2]
    canvas = np.zeros((size, size), np.uint8)
    corners = (points * (1 << SUBPIXEL)).round().astype(np.int32)
    cv2.fillPoly(canvas, [corners], 255, cv2.LINE_AA, SUBPIXEL)
    return canvas.astype(np.float32) / 255


def soften(alpha: np.ndarray, edge: str, rng: np.random.Generator) -> np.ndarray:
    """Return alpha, float32 (S, S) in [0, 1], with another edge; sharp leaves it as it is.

    blurred: by a Gaussian of up to 2 % of the side; frayed: shifted by smooth noise of up to 4 % of the side.
    """
    size = len(alpha)
    if edge == "blurred":
        return np.clip(cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.002, 0.02) * size), 0, 1)
    if edge == "frayed":
        cells = int(rng.integers(8, 33))
        noise = cv2.resize(rng.uniform(-1, 1, (cells, cells, 2)), (size, size), interpolation=cv2.INTER_CUBIC)
        rows, columns = np.mgrid[:size, :size]
        reach = rng.uniform(0.01, 0.04) * size
        across, down = columns + reach * noise[..., 0], rows + reach * noise[..., 1]
        return cv2.remap(alpha, across.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR)
    return alpha
