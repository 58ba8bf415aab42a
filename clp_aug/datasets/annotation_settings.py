"""The settings of masks and boxes that a user brings along: where they lie, and how they are meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clp_aug.common.settings import Settings, fields_of, setting
from clp_aug.contract.errors import SettingError
from clp_aug.datasets.annotation_words import (
    INDEX,
    LARGEST,
    MASK_FORMS,
    PIXELS,
    REFUSE,
    RELATIVE,
    SHOWN,
    STORED,
    UNION,
)
from clp_aug.datasets.box_forms import AUTO, FORMS

FORM_NAMES = (AUTO, *FORMS)
NUMBER_OF_DIGITS = 5  # of the largest number in a mask of 16 bits


@dataclass(frozen=True, kw_only=True)
class AnnotationSettings(Settings):
    """What --masks and --boxes name and how it is read; docs/how-to/boxes.md has the forms. What lies below the root of a data
    set is read as by default. Raises SettingError for a value that is none and for a setting without effect.
    """

    masks: Path | None = setting(None, "Folder of masks named as the pictures, for --matte given.")
    boxes: Path | None = setting(
        None, "Boxes, for --matte given: CSV (file,x0,y0,x1,y1; half-open pixels), COCO JSON, folder of YOLO or VOC."
    )
    boxes_form: str = setting(
        AUTO, f"Form of --boxes: {', '.join(FORM_NAMES)}; auto goes by suffix and header.", choices=FORM_NAMES
    )
    boxes_units: str | None = setting(
        None, "pixels, or relative: shares of the picture's sides.", choices=(PIXELS, RELATIVE), shown="pixels; of YOLO"
        " relative"
    )  # fmt: skip
    boxes_several: str | None = setting(
        None, "Of several boxes of a picture: their union, the largest, or refuse them.",
        choices=(UNION, LARGEST, REFUSE), shown="union; in a CSV refuse"
    )  # fmt: skip
    boxes_frame: str = setting(
        SHOWN, "Boxes are of pictures as shown (upright by EXIF) or as stored.", choices=(SHOWN, STORED)
    )
    masks_form: str = setting(
        AUTO, "Form of --masks: soft (brightness or opacity), index (class numbers), trimap (1 object, 2 background, 3"
        " border); auto: soft, of VOC's palette index.", choices=MASK_FORMS
    )  # fmt: skip
    masks_object: str | None = setting(
        None, "Numbers of the object in index masks, e.g. 1 or 12,15.", shown="any but 0, and 255 of 8 bits"
    )
    masks_frame: str = setting(
        SHOWN, "Masks are of pictures as shown (upright by EXIF) or as stored.", choices=(SHOWN, STORED)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, field in fields_of(AnnotationSettings).items():
            what, value = name.partition("_")[0], getattr(self, name)
            if name != what and value != field.default and getattr(self, what) is None:
                reason = f"it says how --{what} is read, and there is none; give it or drop this"
                raise SettingError(name, value, reason)
        if self.masks_object is not None and self.masks_form != INDEX:
            reason = "it names numbers of index masks"
            raise SettingError("masks_object", self.masks_object, reason, {"masks_form": INDEX})
        numbers_of(self.masks_object)


def numbers_of(text: str | None) -> tuple[int, ...]:
    """Return the numbers that a comma list names, none for None. Raises SettingError for other text."""
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) <= NUMBER_OF_DIGITS for part in parts):
        raise SettingError("masks_object", text, "expected whole numbers with commas between them, 12,15 for instance")
    return tuple(sorted(set(map(int, parts))))


AS_BY_DEFAULT = AnnotationSettings()
