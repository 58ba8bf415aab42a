"""given: the masks or boxes that come with the data set, or that --masks and --boxes attach."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.mattes import About, PictureLike


class Given:
    """A box is preferred to a mask of the same picture; None if the picture has neither."""

    about = About("given")

    def find(self, picture: PictureLike) -> np.ndarray | Box | None:
        """Return the picture's own box or mask."""
        return picture.box if picture.box is not None else picture.alpha
