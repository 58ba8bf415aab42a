"""READ: the words that settings of masks and boxes take. No numpy here: every --help reads them."""

UNION, LARGEST, REFUSE = "union", "largest", "refuse"
"""Of several boxes of a picture: the box around them, the largest, or none."""
PIXELS, RELATIVE = "pixels", "relative"
"""What the numbers of a box are."""
SHOWN, STORED = "shown", "stored"
"""The picture that boxes and masks are of: upright by its EXIF tag, or as it lies in the file."""
AUTO, SOFT, INDEX, TRIMAP = "auto", "soft", "index", "trimap"
MASK_FORMS = (AUTO, SOFT, INDEX, TRIMAP)
"""What the pixels of a mask mean."""
