"""One row a back end; the fallback chain; what is refused."""

import numpy as np
import pytest

from clp_aug import boxing
from clp_aug.contract.boxes import iou, usable_strip
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import EMPTY, FALLBACK, FULL, OK, TINY
from clp_aug.datasets import load_dataset
from clp_aug.mattes import MATTES, NEEDS_FILE, About, check_matte, make_chain, make_matte
from clp_aug.mattes.chain import locate
from clp_aug.mattes.picture import Picture


class ArrayPicture:
    """A picture made of arrays."""

    def __init__(self, image=None, alpha=None, box=None, size=64):
        self.image = np.zeros((size, size, 3), np.uint8) if image is None else image
        self.size, self.alpha, self.box, self.sample_id = size, alpha, box, 5


class Says:
    """A back end that finds what it was told."""

    def __init__(self, found, name="net"):
        self.found, self.about = found, About(name)

    def find(self, picture):
        return self.found


def square(size=64, low=20, high=44, value=1.0):
    alpha = np.zeros((size, size), np.float32)
    alpha[low:high, low:high] = value
    return alpha


@pytest.mark.parametrize("name", [name for name in MATTES if name not in NEEDS_FILE])
def test_every_matte_boxes_a_bright_square(name):
    image = np.full((64, 64, 3), 30, np.uint8)
    image += np.random.default_rng(0).integers(0, 20, image.shape, np.uint8)
    image[14:50, 14:50] = 220
    picture = ArrayPicture(image, alpha=square(64, 14, 50))
    found = locate(picture, [make_matte(name)])
    assert found.outcome == OK
    assert iou(np.array(found.box), np.array((14, 14, 50, 50))) > (0.35 if name == "centre" else 0.9)
    assert found.matte.shape == (64, 64)
    assert found.matte.dtype == np.uint8


def test_grabcut_depends_on_the_picture_alone():
    picture = Picture(load_dataset("demo"), 3, 64, "crop")
    first = make_matte("grabcut").find(picture)
    make_matte("grabcut").find(Picture(load_dataset("demo"), 4, 64, "crop"))
    assert (make_matte("grabcut").find(picture) == first).all()


def test_a_flat_picture_ends_somewhere():
    found = locate(ArrayPicture(), make_chain("grabcut"))
    assert found.box[0] < found.box[2]


def test_a_box_wins_over_a_mask_and_nothing_is_a_fallback():
    given = make_matte("given")
    assert given.find(ArrayPicture(alpha=square(), box=(1, 2, 3, 4))) == (1, 2, 3, 4)
    found = locate(ArrayPicture(), [given, Says((0, 0, 32, 32))])
    assert (found.source, found.outcome, found.box) == (1, FALLBACK, (0, 0, 32, 32))


@pytest.mark.parametrize(
    ("alpha", "outcome", "box"),
    [
        (square(value=0.1), EMPTY, (8, 8, 40, 40)),
        (np.ones((64, 64)), FULL, (0, 4, 64, 64)),
        (square(low=30, high=32), TINY, (8, 8, 40, 40)),
        (square(), OK, (20, 20, 44, 44)),
    ],
    ids=["empty", "full", "tiny", "ok"],
)
def test_the_outcome_is_that_of_the_chosen_matte(alpha, outcome, box):
    """A box over the whole picture is cut down and used; what is empty or tiny is passed over."""
    found = locate(ArrayPicture(), [Says(alpha), Says((8, 8, 40, 40))])
    assert (found.outcome, found.box) == (outcome, box)
    assert found.source == (outcome in (EMPTY, TINY))


@pytest.mark.parametrize("size", [6, 7, 32, 33, 64, 140, 224])
def test_a_box_that_was_cut_leaves_background_to_tile_with(size):
    found = locate(ArrayPicture(size=size), [Says(np.ones((size, size))), Says((0, 0, 2, 2))])
    assert (found.source, found.outcome) == (0, FULL)
    assert usable_strip(found.box, size, size) is not None
    assert boxing.judge(found.box, size, size) == OK


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_a_picture_too_small_to_cut_goes_to_the_next_matte(size):
    found = locate(ArrayPicture(size=size), [Says(np.ones((size, size))), make_matte("centre")])
    assert (found.source, found.outcome) == (1, FULL)


def test_a_box_that_was_cut_stays_cut_when_it_is_padded():
    assert locate(ArrayPicture(), [Says(np.ones((64, 64)))], pad=9).box == (0, 4, 64, 64)
    assert locate(ArrayPicture(), [Says(square(64, 2, 62))], pad=9).box == (0, 0, 64, 64), "asked for, as it was"


def test_the_next_mattes_box_is_cut_too():
    """Pictures that nobody boxed come to hatt behind the given ones."""
    found = locate(ArrayPicture(), [make_matte("given"), Says(np.ones((64, 64))), Says((8, 8, 40, 40))])
    assert (found.source, found.outcome, found.box) == (1, FALLBACK, (0, 4, 64, 64))


def test_what_the_user_gave_wins_over_the_gates():
    whole = locate(ArrayPicture(alpha=np.ones((64, 64), np.float32)), make_chain("given"))
    assert (whole.source, whole.outcome, whole.box) == (0, FULL, (0, 0, 64, 64))


def test_a_matte_of_another_size_is_resized_as_alpha():
    found = locate(ArrayPicture(), [Says(square(128, 40, 88))])
    assert found.box == (20, 20, 44, 44)
    found = locate(ArrayPicture(), [Says(square(32, 10, 22))])
    assert iou(np.array(found.box), np.array((20, 20, 44, 44))) > 0.8


def test_a_matte_is_never_stretched():
    faint = np.random.default_rng(0).random((64, 64)) * 0.15
    assert locate(ArrayPicture(), [Says(faint), Says((8, 8, 40, 40))]).outcome == EMPTY


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hatt9", r"unknown matte 'hatt9': did you mean hatt\? choose one of centre, given, grabcut, hatt, onnx"),
        ("onnx", "matte 'onnx': expected onnx:FILE"),
        ("centre:3", "matte 'centre:3': expected centre"),
    ],
)
def test_refused_at_the_door(name, message):
    with pytest.raises(UsageError, match=message):
        check_matte(name)


def test_onnx_files(tmp_path, shared_data):
    with pytest.raises(InputError, match=r"no-such.onnx: no such file; give the path of a U2Net-like"):
        make_matte(f"onnx:{tmp_path}/no-such.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(InputError, match="not a usable ONNX model"):
        make_matte(f"onnx:{tmp_path}/text.onnx")
    pytest.importorskip("onnxruntime", reason="the extra [matting] is not installed")
    network = make_matte(f"onnx:{shared_data / 'u2netp.onnx'}")
    assert network.about.name == "onnx:u2netp"
    assert len(network.about.sha256) == 64
    alpha = network.find(ArrayPicture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    assert alpha.shape == (320, 320)
    assert 0 <= alpha.min() <= alpha.max() <= 1
