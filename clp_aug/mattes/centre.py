"""centre: a centred box, the last resort and the baseline that every matte has to beat."""

from __future__ import annotations

from clp_aug.contract import boxes
from clp_aug.contract.boxes import Box
from clp_aug.mattes import About, PictureLike


class Centre:
    """A box around the centre with 60 % of each side; it does not use the picture."""

    about = About("centre")

    def find(self, picture: PictureLike) -> Box:
        """Return the centred box."""
        return boxes.centred(picture.size, picture.size)
