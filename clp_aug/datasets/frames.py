"""READ: boxes in the frame of a picture: pixels or fractions, as shown (upright by its EXIF tag) or as stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from clp_aug.contract import images
from clp_aug.datasets.annotation_words import STORED

BORDER = 1.0  # pixels that a box may reach over the border of its picture, by rounding or by counting from 1
ROUNDING = 1e-6  # pixels over the border that are not reported
SNAP = 0.01  # pixels: a fraction this close to a whole pixel counts as whole, because files have six digits
Corners = tuple[float, float, float, float]
Turn = Callable[[Corners, float, float], Corners]

TURNED: dict[Image.Transpose, Turn] = {
    Image.Transpose.FLIP_LEFT_RIGHT: lambda b, w, h: (w - b[2], b[1], w - b[0], b[3]),
    Image.Transpose.FLIP_TOP_BOTTOM: lambda b, w, h: (b[0], h - b[3], b[2], h - b[1]),
    Image.Transpose.ROTATE_180: lambda b, w, h: (w - b[2], h - b[3], w - b[0], h - b[1]),
    Image.Transpose.TRANSPOSE: lambda b, w, h: (b[1], b[0], b[3], b[2]),
    Image.Transpose.TRANSVERSE: lambda b, w, h: (h - b[3], w - b[2], h - b[1], w - b[0]),
    Image.Transpose.ROTATE_90: lambda b, w, h: (b[1], w - b[2], b[3], w - b[0]),
    Image.Transpose.ROTATE_270: lambda b, w, h: (h - b[3], b[0], h - b[1], b[2]),
}
"""How Pillow turns a picture of w x h pixels -> the place of a box after the turn."""


@dataclass(frozen=True)
class Frame:
    """The frame that the boxes of one picture are in. width, height: of the picture as shown, upright, in pixels; turn:
    the turn that makes the frame upright, None if it is upright.
    """

    width: int
    height: int
    turn: Image.Transpose | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in the frame itself."""
        return (self.height, self.width) if self.turn in images.SIDEWAYS else (self.width, self.height)

    def place(self, box: Corners, relative: bool = False) -> tuple[Corners, bool] | None:
        """Return a box in pixels of the picture as shown, and whether it was clipped; None for a box outside.

        box: x0, y0, x1, y1, half open, in this frame; relative: as fractions of its sides. A box up to one pixel over
        the border is clipped. Source: ours.
        """
        width, height = self.size
        if relative:
            scaled = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
            box = tuple(round(v) if abs(v - round(v)) < SNAP else v for v in scaled)  # type: ignore[assignment]
        x0, y0, x1, y1 = box
        over = max(-x0, -y0, x1 - width, y1 - height)
        if over > 0:
            x0, y0, x1, y1 = box = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if over > BORDER or not (x0 < x1 and y0 < y1):
            return None
        turned = box if self.turn is None else TURNED[self.turn](box, width, height)
        return turned, over > ROUNDING


def frame_of(data: bytes, where: str, which: str) -> Frame:
    """Return the frame of a picture file, `shown` or `stored`. Raises InputError for a file that is no picture."""
    untagged = images.read_untagged_size(data)
    if untagged is not None:
        return Frame(*untagged)
    width, height = images.read_size(data, where)
    return Frame(width, height, images.read_turn(data) if which == STORED else None)
