"""Square frames about the objects of photographs, which may be cut by the ends of their pictures. Pixels only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clp_aug import boxing

ROOM = (1.15, 1.7)  # a frame's side is so many times the longer side of its object
NEAR = 1  # pixels from the end of a picture: its object is cut there
FULL = 0.9  # of a frame: an object whose box takes more is left out


class Span(NamedTuple):
    """Where an object lies in one direction of its picture of some length, half open, in pixels."""

    low: int
    high: int
    length: int

    @property
    def cut_low(self) -> bool:
        """Whether the first end cuts it."""
        return self.low <= NEAR

    @property
    def cut_high(self) -> bool:
        """Whether the second end cuts it."""
        return self.high >= self.length - NEAR


def spans_of(alpha: np.ndarray) -> tuple[Span, Span] | None:
    """Return where the solid part of an alpha, float (H, W), lies down and across; None where nothing is solid."""
    box = boxing.enclosing_box(boxing.foreground(alpha))
    return None if box is None else (Span(box[1], box[3], alpha.shape[0]), Span(box[0], box[2], alpha.shape[1]))


def side_of(spans: tuple[Span, Span], room: float) -> int:
    """Return the side of a square frame: so many times the object's longer side, and at most that of the picture in a
    direction in which both ends cut the object.
    """
    most = [span.length for span in spans if span.cut_low and span.cut_high]
    return min(most + [round(max(span.high - span.low for span in spans) * room)])


def fits(alpha: np.ndarray) -> bool:
    """Return whether there is an object in a picture that leaves some of its frame free. alpha: float (H, W)."""
    spans = spans_of(alpha)
    if spans is None:
        return False
    side = side_of(spans, ROOM[0])
    down, across = (min(span.high - span.low, side) for span in spans)
    return down * across <= FULL * side**2


def frame_picture(layer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put the object of a picture into a square frame, so that what its picture cuts off stays cut at the frame.

    layer: float32 (h, w, 4), with some solid alpha. Returns float32 (S, S, 4), with S of `side_of` for a number drawn
    from ROOM. Where no end cuts the object it lies anywhere. Raises ValueError for a layer that is not solid anywhere.
    """
    spans = spans_of(layer[..., 3])
    if spans is None:
        raise ValueError("a layer that is solid nowhere; expected an object")
    side = side_of(spans, rng.uniform(*ROOM))
    starts = [start_of(span, side, rng) for span in spans]
    frame = np.zeros((side, side, 4), np.float32)
    (top, left), (bottom, right) = starts, (start + side for start in starts)
    part = layer[max(top, 0) : bottom, max(left, 0) : right]
    y, x = max(-top, 0), max(-left, 0)
    frame[y : y + part.shape[0], x : x + part.shape[1]] = part
    return frame


def start_of(span: Span, side: int, rng: np.random.Generator) -> int:
    """Return where a frame of a side begins in the picture, below 0 where it begins before it."""
    if span.cut_low != span.cut_high:
        return 0 if span.cut_low else span.length - side
    least, most = sorted((span.low, span.high - side))
    return (least + most) // 2 if span.cut_low else int(rng.integers(least, most + 1))
