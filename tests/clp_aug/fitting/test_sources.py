"""The users' folders: what is read, and one clear line for whatever is missing or broken."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from clp_aug.contract.errors import InputError
from clp_aug.fitting.composites import Composites
from clp_aug.fitting.sources import read_sources


def noise(height, width, channels=3):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)


def mask(height, width, values=(0, 255)):
    return np.array(values, np.uint8)[np.arange(height * width).reshape(height, width) % len(values)]


@pytest.fixture
def root(tmp_path):
    """A cut-out, two backgrounds, two pictures: one with a soft mask, one with a trimap."""
    for folder in ("foregrounds", "backgrounds", "pictures", "masks"):
        (tmp_path / folder).mkdir()
    cutout = noise(30, 40, 4)
    cutout[..., 3] = 0
    cutout[5:25, 10:20, 3] = 255
    cutout[5, 10, 3] = 51
    Image.fromarray(cutout).save(tmp_path / "foregrounds" / "fox.png")
    Image.fromarray(noise(20, 30)).save(tmp_path / "backgrounds" / "a.jpg")
    Image.fromarray(noise(20, 30)[..., 0]).save(tmp_path / "backgrounds" / "b.PNG")
    for stem, values in (("soft", (0, 51, 128, 255)), ("trimap", (0, 128, 255))):
        Image.fromarray(noise(24, 36)).save(tmp_path / "pictures" / f"{stem}.jpg")
        Image.fromarray(mask(24, 36, values)).save(tmp_path / "masks" / f"{stem}.png")
    return tmp_path


def test_what_is_read(root):
    (root / "backgrounds" / "licence.txt").write_text("mine")
    (root / "pictures" / ".hidden.jpg").write_bytes(b"")
    sources = read_sources(root)
    assert (len(sources.foregrounds), len(sources.backgrounds), len(sources.naturals)) == (1, 2, 2)
    assert sources.ignored == 2
    pixels, alpha = sources.foregrounds[0]
    stored = np.asarray(Image.open(root / "foregrounds" / "fox.png"))
    assert np.array_equal(pixels, stored[5:25, 10:20, :3]), "its transparent border is cut off"
    assert alpha.dtype == np.float32
    assert np.array_equal(alpha, stored[5:25, 10:20, 3].astype(np.float32) / 255)
    assert [picture.shape for picture in sources.backgrounds] == [(20, 30, 3), (20, 30, 3)]
    assert [path.name for path in sources.naturals.paths] == ["soft.jpg", "trimap.jpg"]


def test_grey_is_unknown_in_a_trimap_alone(root):
    soft, trimap = read_sources(root).naturals
    assert soft.weight.all()
    np.testing.assert_allclose(soft.alpha, mask(24, 36, (0, 51, 128, 255)) / 255, atol=1e-6)
    assert np.array_equal(trimap.weight == 0, mask(24, 36, (0, 128, 255)) == 128)
    for truth in (soft, trimap):
        assert (truth.picture.dtype, truth.alpha.dtype, truth.weight.dtype) == (np.uint8, np.float32, np.float32)
        assert truth.picture.shape[:2] == truth.alpha.shape == truth.weight.shape


def test_large_pictures_are_shrunk_with_their_masks(root):
    Image.fromarray(noise(700, 1400)).save(root / "pictures" / "wide.png")
    large = np.zeros((700, 1400), np.uint8)
    large[:, 700:] = 255
    large[:, 680:720] = 128
    Image.fromarray(large).save(root / "masks" / "wide.png")
    truth = read_sources(root).naturals[2]
    assert truth.picture.shape == (256, 512, 3)
    assert truth.alpha.shape == truth.weight.shape == (256, 512)
    assert truth.alpha[:, :240].max() == 0
    assert truth.alpha[:, 272:].min() == 1
    assert not truth.weight[:, 252:260].any()


def test_cutouts_or_pictures_may_lack(root):
    shutil.rmtree(root / "foregrounds")
    assert not len(read_sources(root).foregrounds)
    (root / "foregrounds").mkdir()
    Image.fromarray(noise(9, 9, 4)).save(root / "foregrounds" / "a.png")
    shutil.rmtree(root / "pictures")
    shutil.rmtree(root / "masks")
    assert not len(read_sources(root).naturals)


@pytest.fixture
def with_boxes(root):
    (root / "boxed").mkdir()
    for name in ("a.jpg", "b.png"):
        Image.fromarray(noise(30, 50)).save(root / "boxed" / name)
    (root / "boxed.csv").write_text("file,x0,y0,x1,y1\na.jpg,10,5,30,25\nb.png,0,0,20.5,40\n")
    return root


def test_a_drawn_box_is_known_outside_and_unknown_inside(with_boxes):
    one, two = read_sources(with_boxes).boxed
    inside = np.zeros((30, 50), np.float32)
    inside[5:25, 10:30] = 1
    assert np.array_equal(one.alpha, inside)
    assert np.array_equal(one.weight, 1 - inside)
    assert one.picture.shape == (30, 50, 3)
    assert two.alpha[:, :21].all(), "a box that reaches beyond the picture, or part of a pixel, covers those it touches"
    assert not two.alpha[:, 21:].any()


def test_boxed_pictures_of_more_than_512_pixels_are_shrunk(with_boxes):
    Image.fromarray(noise(300, 1024)).save(with_boxes / "boxed" / "a.jpg")
    truth = read_sources(with_boxes).boxed[0]
    assert truth.picture.shape == (150, 512, 3)
    assert truth.alpha.shape == truth.weight.shape == (150, 512)
    np.testing.assert_allclose(truth.alpha + truth.weight, 1)
    assert truth.alpha[4:11, 6:14].min() == 1


def test_pictures_go_straight_into_composites(root):
    sources = read_sources(root)
    data = Composites(sources.foregrounds, sources.backgrounds, sources.naturals, 0, 48)
    kinds = {data.plan(i).kind for i in range(60)}
    assert kinds == set(data.shares)
    assert all(data.item(i).picture.shape == (48, 48, 3) for i in range(30))


def broken(what):
    def damage(root):
        if what == "no folder":
            shutil.rmtree(root)
        elif what == "no backgrounds":
            shutil.rmtree(root / "backgrounds")
        elif what == "nothing to learn from":
            for folder in ("foregrounds", "pictures", "masks"):
                shutil.rmtree(root / folder)
        elif what == "no mask":
            (root / "masks" / "soft.png").unlink()
        elif what == "no picture":
            (root / "pictures" / "soft.jpg").unlink()
        elif what == "twice":
            shutil.copy(root / "backgrounds" / "b.PNG", root / "pictures" / "soft.png")
        elif what == "jpeg mask":
            (root / "masks" / "soft.png").unlink()
            cv2.imwrite(str(root / "masks" / "soft.jpg"), mask(24, 36))
        elif what == "other size":
            cv2.imwrite(str(root / "masks" / "soft.png"), mask(24, 30))
        elif what == "class numbers":
            cv2.imwrite(str(root / "masks" / "soft.png"), mask(24, 36, (1, 2, 3)))
        elif what == "opaque":
            cv2.imwrite(str(root / "foregrounds" / "fox.png"), noise(9, 9))
        elif what == "transparent":
            cv2.imwrite(str(root / "foregrounds" / "fox.png"), np.zeros((9, 9, 4), np.uint8))
        elif what in BOXES:
            (root / "boxed").mkdir()
            for name in ("a.jpg", "b.png"):
                Image.fromarray(noise(30, 50)).save(root / "boxed" / name)
            (root / "boxed.csv").write_text(BOXES[what])
        elif what == "truncated":
            whole = (root / "backgrounds" / "a.jpg").read_bytes()
            (root / "backgrounds" / "a.jpg").write_bytes(whole[: len(whole) // 2])

    return damage


BOXES = {
    "no box": "file,x0,y0,x1,y1\nb.png,0,0,9,9\n",
    "box beside the picture": "file,x0,y0,x1,y1\na.jpg,60,0,70,10\nb.png,0,0,9,9\n",
}
MESSAGES = {
    "no folder": r"no such folder; expected one with foregrounds/ \(PNG with alpha\), backgrounds/, pictures/ with",
    "no backgrounds": r"backgrounds: no pictures; add at least one without an object",
    "nothing to learn from": r"neither foregrounds/ nor pictures/ holds a picture; expected foregrounds/ \(PNG",
    "no mask": r"pictures/soft.jpg: no mask; expected \S+masks/soft.png$",
    "no picture": r"masks/soft.png: no picture of this stem in \S+pictures; add it or remove the mask",
    "twice": r"pictures/soft.png: soft.jpg has the same stem; rename one, with its mask",
    "jpeg mask": r"masks/soft.jpg: masks must be PNG files, because PNG is lossless; convert it",
    "other size": r"masks/soft.png: 30 x 24 pixels, its picture has 36 x 24; save it again",
    "class numbers": r"masks/soft.png: no value above 3; expected 0 to 255, and 128 where unknown",
    "opaque": r"fox.png: no alpha channel; foregrounds/ holds cut-outs; move it to pictures/ and add a mask",
    "transparent": r"fox.png: transparent everywhere; remove it",
    "no box": r"boxed/a.jpg: no box in \S+boxed.csv; add its line or remove it",
    "box beside the picture": r"boxed/a.jpg: its box \(60.0, 0.0, 70.0, 10.0\) is outside its 50 x 30 pixels",
    "truncated": r"picture \S+a.jpg: broken file",
}


@pytest.mark.parametrize("what", MESSAGES)
def test_one_line_for_each_problem(root, what):
    broken(what)(root)
    with pytest.raises(InputError, match=MESSAGES[what]) as caught:
        read_sources(root)
    assert "\n" not in str(caught.value)
