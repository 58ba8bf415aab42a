"""Boxes and masks of turned pictures: where the object is in the stored pixels, it is found in the shown ones."""

import numpy as np
import pytest
from PIL import Image

from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.datasets import folder
from clp_aug.datasets.annotation_settings import AnnotationSettings
from clp_aug.datasets.annotations import with_given
from clp_aug.datasets.frames import TURNED, Frame, frame_of
from tests.clp_aug.datasets import box_writers as writers

WIDTH, HEIGHT = writers.WIDTH, writers.HEIGHT
BOX = (3, 4, 20, 9)
SUFFIXES = (".png", ".jpg", ".tif", ".webp")


def enclosing(solid):
    """Return the box of True pixels."""
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def turned_pictures(root, suffix):
    """Write a picture of every orientation, an object in the same stored pixels; a second class makes it a set."""
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[images.ORIENTATION] = orientation
        path = root / "cat" / f"{orientation}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stored).save(path, exif=exif, **({"quality": 95} if suffix != ".png" else {}))
    return folder.load(root, hold_out=False)


@pytest.mark.parametrize("turn", TURNED, ids=lambda turn: turn.name)
def test_boxes_turn_as_pictures_do(turn):
    rng = np.random.default_rng(0)
    for _ in range(50):
        width, height = rng.integers(2, 12, 2).tolist()
        x0, y0 = int(rng.integers(0, width)), int(rng.integers(0, height))
        box = (x0, y0, int(rng.integers(x0 + 1, width + 1)), int(rng.integers(y0 + 1, height + 1)))
        solid = np.zeros((height, width), np.uint8)
        solid[box[1] : box[3], box[0] : box[2]] = 1
        after = Image.fromarray(solid).transpose(turn)
        shown = Frame(*after.size, turn)
        assert shown.size == (width, height)
        assert shown.place(box) == (enclosing(np.asarray(after)), False)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_boxes_and_masks_of_stored_pixels_are_where_the_object_is_shown(tmp_path, suffix):
    dataset = turned_pictures(tmp_path / "root", suffix)
    boxes = writers.coco(tmp_path, dict.fromkeys(dataset.samples.name, BOX))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    for name in dataset.samples.name:
        path = tmp_path / "masks" / f"{name[: -len(suffix)]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    settings = AnnotationSettings(
        boxes=boxes, boxes_frame="stored", masks=tmp_path / "masks", masks_frame="stored"
    )  # fmt: skip
    annotated = with_given(dataset, settings)
    for row in range(8):
        shown = annotated.image(row)[..., 0] > 127
        assert annotated.box(row) == enclosing(shown)
        np.testing.assert_array_equal(annotated.alpha(row) > 0.5, shown)


def test_shares_of_the_stored_picture(tmp_path):
    dataset = turned_pictures(tmp_path / "root", ".png")
    labels = writers.yolo(tmp_path, dict.fromkeys(dataset.samples.name, BOX))
    annotated = with_given(dataset, AnnotationSettings(boxes=labels, boxes_frame="stored"))
    for row in range(8):
        assert annotated.box(row) == enclosing(annotated.image(row)[..., 0] > 127)


def test_by_default_boxes_are_of_the_shown_picture_and_what_fits_the_stored_one_alone_is_told(tmp_path):
    dataset = turned_pictures(tmp_path / "root", ".jpg")
    (tmp_path / "b.csv").write_text("file,x0,y0,x1,y1\ncat/6.jpg,1,2,30,40\ncat/8.jpg,2,2,39,9\n")
    annotated = with_given(dataset, AnnotationSettings(boxes=tmp_path / "b.csv"))
    assert annotated.box(5) == (1, 2, 30, 40)
    with pytest.raises(InputError, match=r"not inside its 30 x 40 .*; it fits the picture as stored: --boxes-frame st"):
        annotated.box(7)
    stored = with_given(dataset, AnnotationSettings(boxes=tmp_path / "b.csv", boxes_frame="stored"))
    with pytest.raises(InputError, match=r"not inside its 40 x 30 .*; it fits the picture as shown: --boxes-frame sho"):
        stored.box(5)
    sized = with_given(dataset, AnnotationSettings(boxes=writers.coco(tmp_path, {"cat/6.jpg": BOX})))
    with pytest.raises(InputError, match=r"40 x 30 pixels by its boxes' file \(.*annotation 0\), but 30 x 40 here; give"
                                         r" --boxes-frame stored"):  # fmt: skip
        sized.box(5)


def test_masks_of_another_shape_are_refused_in_either_frame(tmp_path):
    dataset = turned_pictures(tmp_path / "root", ".png")
    (tmp_path / "m" / "cat").mkdir(parents=True)
    Image.new("L", (WIDTH, HEIGHT), 255).save(tmp_path / "m" / "cat" / "6.png")
    assert with_given(dataset, AnnotationSettings(masks=tmp_path / "m", masks_frame="stored")).alpha(5).shape == (
        40,
        30,
    )
    with pytest.raises(InputError, match=r"6.png: 40 x 30 pixels, picture cat/6.png: 30 x 40; expected the same shape"):
        with_given(dataset, AnnotationSettings(masks=tmp_path / "m")).alpha(5)


@pytest.mark.parametrize(("box", "placed"), [
    ((0, 0, 40, 30), ((0, 0, 40, 30), False)), ((-1, -1, 41, 31), ((0, 0, 40, 30), True)),
    ((-1e-9, 0, 40 + 1e-9, 30), ((0, 0, 40, 30), False)), ((-1.001, 0, 4, 4), None), ((1, 1, 41.001, 4), None),
    ((40, 1, 41, 4), None), ((-1, 1, 0, 4), None), ((0.25, 1, 40.75, 4), ((0.25, 1, 40, 4), True)),
])  # fmt: skip
def test_a_pixel_over_the_border_is_clipped_and_more_is_none(box, placed):
    assert Frame(40, 30).place(box) == placed


def test_the_size_of_a_png_without_tags_is_read_from_its_header(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    save = Image.new("RGB", (WIDTH, HEIGHT)).save
    save(tmp_path / "plain.png")
    save(tmp_path / "plain.jpg")
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    save(tmp_path / "exif.png", exif=exif)
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    save(tmp_path / "xmp.png", pnginfo=texts)
    sizes = {path.name: images.read_untagged_size(path.read_bytes()) for path in tmp_path.iterdir()}
    assert sizes == {"plain.png": (WIDTH, HEIGHT), "plain.jpg": None, "exif.png": None, "xmp.png": None}
    for name, size in {"plain.png": (WIDTH, HEIGHT), "exif.png": (HEIGHT, WIDTH), "xmp.png": (HEIGHT, WIDTH)}.items():
        frame = frame_of((tmp_path / name).read_bytes(), name, "shown")
        assert (frame.width, frame.height) == size == images.read_size((tmp_path / name).read_bytes(), name)
