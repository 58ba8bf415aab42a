"""The settings of the user's own masks and boxes: their files, and how to read them."""

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
    """The files of --masks and --boxes, and how they are read; docs/how-to/boxes.md has the forms. Masks and boxes
    below the root of a data set are read with the defaults. Raises SettingError for an invalid value and for a setting
    without effect.
    """

    masks: Path | None = setting(None, "Folder of masks with the names of their pictures, for --matte given.")
    boxes: Path | None = setting(
        None, "Boxes, for --matte given: CSV (file,x0,y0,x1,y1; half-open pixels), COCO JSON, folder of YOLO or VOC."
    )
    boxes_form: str = setting(
        AUTO, f"Form of --boxes: {', '.join(FORM_NAMES)}; auto decides by suffix and header.", choices=FORM_NAMES
    )
    boxes_units: str | None = setting(
        None, "pixels, or relative: fractions of the picture's sides.", choices=(PIXELS, RELATIVE),
        shown="pixels; for YOLO relative",
    )  # fmt: skip
    boxes_several: str | None = setting(
        None, "If a picture has several boxes: use their union, the largest, or refuse.",
        choices=(UNION, LARGEST, REFUSE), shown="union; in a CSV refuse"
    )  # fmt: skip
    boxes_frame: str = setting(
        SHOWN, "Boxes fit pictures as shown (upright by EXIF) or as stored.", choices=(SHOWN, STORED)
    )
    masks_form: str = setting(
        AUTO, "Form of --masks: soft (brightness or opacity), index (class numbers), trimap (1 object, 2 background, 3"
        " border); auto: soft, or index for VOC's palette.", choices=MASK_FORMS
    )  # fmt: skip
    masks_object: str | None = setting(
        None, "Numbers of the object in index masks, e.g. 1 or 12,15.", shown="any but 0, and 255 of 8 bits"
    )
    masks_frame: str = setting(
        SHOWN, "Masks fit pictures as shown (upright by EXIF) or as stored.", choices=(SHOWN, STORED)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, field in fields_of(AnnotationSettings).items():
            what, value = name.partition("_")[0], getattr(self, name)
            if name != what and value != field.default and getattr(self, what) is None:
                reason = f"it says how to read --{what}, which is not given; give it, or leave this out"
                raise SettingError(name, value, reason)
        if self.masks_object is not None and self.masks_form != INDEX:
            reason = "it names numbers of index masks"
            raise SettingError("masks_object", self.masks_object, reason, {"masks_form": INDEX})
        numbers_of(self.masks_object)


def numbers_of(text: str | None) -> tuple[int, ...]:
    """Return the numbers of a list with commas, none for None. Raises SettingError for other text."""
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) <= NUMBER_OF_DIGITS for part in parts):
        raise SettingError("masks_object", text, "expected whole numbers separated by commas, for example 12,15")
    return tuple(sorted(set(map(int, parts))))


AS_BY_DEFAULT = AnnotationSettings()
