"""READ: the values of the settings of masks and boxes. No numpy here: every --help imports them."""

UNION, LARGEST, REFUSE = "union", "largest", "refuse"
"""If a picture has several boxes: the box around them, the largest, or an error."""
PIXELS, RELATIVE = "pixels", "relative"
"""Units of a box."""
SHOWN, STORED = "shown", "stored"
"""Boxes and masks fit the picture that is upright by its EXIF tag, or the picture as it is in the file."""
AUTO, SOFT, INDEX, TRIMAP = "auto", "soft", "index", "trimap"
MASK_FORMS = (AUTO, SOFT, INDEX, TRIMAP)
"""What the pixels of a mask mean."""
