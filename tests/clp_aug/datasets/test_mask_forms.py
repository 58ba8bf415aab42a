"""Masks in the forms in which people keep them: the same object comes out of all of them."""

import numpy as np
import pytest
from PIL import Image

from clp_aug.boxing import enclosing_box, foreground
from clp_aug.contract.errors import InputError
from clp_aug.datasets import folder
from clp_aug.datasets.annotation_settings import AnnotationSettings
from clp_aug.datasets.annotations import with_given
from tests.clp_aug.datasets.test_masks import OTHER_COLOURS

WIDTH, HEIGHT = 40, 30
INSIDE = (slice(8, 22), slice(10, 28))
VOC_COLOURS = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, *[0] * 750, 224, 224, 192]
INDEX, TRIMAP = {"masks_form": "index"}, {"masks_form": "trimap"}


def drawn(inside, outside=0, border=None, kind=np.uint8):
    """Return a mask with one value in the object, one outside and one two pixels around it."""
    values = np.full((HEIGHT, WIDTH), outside, kind)
    if border is not None:
        values[6:24, 8:30] = border
    values[INSIDE] = inside
    return values


def saved(values, mode=None, palette=None, suffix=".png", **options):
    """Return what writes a mask of these values below a folder, under a picture's name."""

    def save(place):
        picture = Image.fromarray(values, "P") if mode == "P" else Image.fromarray(values)
        if palette is not None:
            picture.putpalette(palette)
        path = place / "cat" / f"0{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        (picture.convert(mode) if mode not in (None, "P") else picture).save(path, **options)

    return save


def opacity(values):
    return np.dstack([np.full((HEIGHT, WIDTH, 3), 90, np.uint8), values])


OBJECT = drawn(255)
RED = np.stack([drawn(128), drawn(0), drawn(0)], 2)
NOISE = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH)).astype(np.uint8)
FORMS = {
    "0 and 255": (saved(OBJECT), {}),
    "0 and 1": (saved(drawn(1)), {}),
    "one bit": (saved(OBJECT, "1"), {}),
    "16 bits": (saved(drawn(65535, kind=np.uint16)), {}),
    "opacity": (saved(opacity(OBJECT)), {}),
    "RGB": (saved(OBJECT, "RGB"), {}),
    "JPEG": (saved(OBJECT, suffix=".jpg", quality=40), {}),
    "JPEG with dirt": (saved(np.where(OBJECT, 255 - NOISE, NOISE).astype(np.uint8), suffix=".jpeg", quality=60), {}),
    "TIFF": (saved(OBJECT, suffix=".tif"), {}),
    "GIF": (saved(OBJECT, suffix=".gif"), {}),
    "BMP": (saved(OBJECT, suffix=".bmp"), {}),
    "WebP": (saved(OBJECT, "RGB", suffix=".webp", lossless=True), {}),
    "palette of VOC": (saved(drawn(3, border=255), "P", VOC_COLOURS), {}),
    "palette of DAVIS": (saved(drawn(1), "P", VOC_COLOURS[:15]), {}),
    "black and white palette": (saved(drawn(1), "P", [0, 0, 0, 255, 255, 255]), {}),
    "another palette, as numbers": (saved(drawn(1), "P", OTHER_COLOURS), INDEX),
    "class numbers": (saved(drawn(3)), INDEX),
    "class numbers and void": (saved(drawn(15, border=255)), INDEX),
    "one of the classes": (saved(drawn(2, outside=7, border=1)), {**INDEX, "masks_object": "2"}),
    "two of the classes": (saved(np.where(np.arange(WIDTH) < 18, drawn(12), drawn(15, outside=0))),
                           {**INDEX, "masks_object": "15,12"}),
    "void that is named": (saved(drawn(255, outside=1)), {**INDEX, "masks_object": "255"}),
    "class numbers of 16 bits": (saved(drawn(1003, border=0, kind=np.uint16)), INDEX),
    "number 255 of 16 bits": (saved(drawn(255, kind=np.uint16)), INDEX),
    "numbers in three channels": (saved(drawn(2), "RGB"), INDEX),
    "colours of classes": (saved(RED), INDEX),
    "trimap of 1, 2, 3": (saved(drawn(1, outside=2)), TRIMAP),
    "dark, but soft": (saved(drawn(255, outside=1)), {"masks_form": "soft"}),
}  # fmt: skip


@pytest.fixture
def pictures(tmp_path):
    for name in ("cat/0.png", "dog/1.png"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "root" / name)
    return folder.load(tmp_path / "root")


def read(dataset, place, save, **settings):
    save(place / "m")
    return with_given(dataset, AnnotationSettings(masks=place / "m", **settings))


@pytest.mark.parametrize(("save", "settings"), FORMS.values(), ids=FORMS)
def test_the_same_object_in_every_form(pictures, tmp_path, save, settings):
    alpha = read(pictures, tmp_path, save, **settings).alpha(0)
    assert (alpha.shape, alpha.dtype) == ((HEIGHT, WIDTH), np.float32)
    assert 0 <= alpha.min() <= alpha.max() <= 1
    np.testing.assert_array_equal(alpha >= 0.5, OBJECT > 0)


def test_the_border_of_a_trimap_is_half(pictures, tmp_path):
    annotated = read(pictures, tmp_path, saved(drawn(1, outside=2, border=3)), **TRIMAP)
    np.testing.assert_array_equal(annotated.alpha(0), drawn(1, border=128 / 255, kind=np.float32))
    inside = enclosing_box(foreground(annotated.alpha(0, 30)))
    assert inside == (3, 6, 25, 24), "the border is in the box"


def test_what_is_cut_or_read_as_numbers_is_told(pictures, tmp_path):
    save, _ = FORMS["palette of VOC"]
    said = "files with the palette of VOC hold class numbers: any but 0 and 255 is the object"
    assert read(pictures, tmp_path / "a", save).remarks[-1] == f"masks {tmp_path / 'a' / 'm'}: {said}"
    annotated = read(pictures, tmp_path / "b", FORMS["JPEG with dirt"][0])
    assert annotated.remarks[-1].endswith("JPEG files are cut at half their brightness, because JPEG blurs edges")
    assert set(np.unique(annotated.alpha(0))) == {0, 1}
    assert read(pictures, tmp_path / "c", FORMS["0 and 255"][0]).remarks == pictures.remarks


def test_a_palette_of_voc_may_be_meant_as_brightness(pictures, tmp_path):
    save = saved(drawn(3), "P", VOC_COLOURS)
    soft = read(pictures, tmp_path, save, masks_form="soft").alpha(0)
    assert 0.4 < soft.max() < 0.5
    assert read(pictures, tmp_path, save).alpha(0).max() == 1


NUMBERS = "/m --masks-form index, or trimap for 1 object, 2 background, 3 border"
REFUSED = {
    "class numbers": (saved(drawn(3)), {}, NUMBERS),
    "a trimap": (saved(drawn(1, outside=2, border=3)), {}, NUMBERS),
    "dark colours of another palette": (saved(drawn(1), "P", OTHER_COLOURS), {}, NUMBERS),
    "class numbers with void": (saved(drawn(15, border=255)), {},
                                "seems to have class numbers, and 255 where the class is unknown; expected 255 where"),
    "no trimap": (saved(drawn(1, border=4)), TRIMAP, "values 0, 1, 4; expected in a trimap 1 object, 2 background, 3"),
    "colours in a trimap": (saved(RED), TRIMAP, "colours (RGB), no numbers; expected a palette or grey levels"),
    "colours by number": (saved(RED), {**INDEX, "masks_object": "3"}, "colours (RGB), no numbers; expected a palette"),
    "JPEG of numbers": (saved(drawn(3), suffix=".jpg"), INDEX, "a JPEG, which blurs numbers into others; expected"),
    "JPEG trimap": (saved(drawn(1, outside=2), suffix=".jpg"), TRIMAP, "a JPEG, which blurs numbers into others"),
}  # fmt: skip


@pytest.mark.parametrize(("save", "settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_ambiguous_or_of_another_form_is_refused_at_once(pictures, tmp_path, save, settings, message):
    with pytest.raises(InputError) as raised:
        read(pictures, tmp_path, save, **settings)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_png_masks_come_first_and_other_formats_where_there_is_none(pictures, tmp_path):
    saved(OBJECT)(tmp_path / "m")
    saved(255 - OBJECT, suffix=".jpg")(tmp_path / "m")
    annotated = with_given(pictures, AnnotationSettings(masks=tmp_path / "m"))
    assert annotated.annotations.masks[0].suffix == ".png"
    assert "files fit none or are no PNG: cat/0.jpg" in annotated.remarks[-1]


def test_the_form_of_masks_counts_in_the_digest(pictures, tmp_path):
    save, _ = FORMS["class numbers"]
    digests = [
        read(pictures, tmp_path, save, **settings).annotations_digest()
        for settings in (INDEX, {**INDEX, "masks_object": "3"}, {**INDEX, "masks_frame": "stored"})
    ]
    assert len(set(digests)) == 3


def test_masks_below_the_root_that_need_a_word_do_not_stop_training(tmp_path):
    """Training reads no masks; clp-augment asks how they are meant, and takes the answer."""
    for name in ("cat/0.png", "dog/1.png"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "root" / name)
    saved(drawn(1, outside=2))(tmp_path / "root" / "masks")
    dataset = folder.load(tmp_path / "root")
    assert not dataset.annotated
    with pytest.raises(InputError, match=rf"give --masks {tmp_path}/root/masks --masks-form index, or trimap for 1"):
        with_given(dataset, AnnotationSettings())
    told = with_given(dataset, AnnotationSettings(masks=tmp_path / "root" / "masks", **TRIMAP))
    np.testing.assert_array_equal(told.alpha(0), OBJECT > 0)
    assert with_given(told, AnnotationSettings()) is told
