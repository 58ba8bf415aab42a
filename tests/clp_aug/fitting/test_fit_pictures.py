"""Windows with holes: a pure function of seed and number; holes as wide as they should be, at borders too."""

import cv2
import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.fitting.pictures import AREA, AT_BORDER, Windows, hole, read_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("windows")
    for i, (height, width) in enumerate([(20, 30), (60, 50), (90, 120)]):
        picture = np.full((height, width, 3), 10 * i, np.uint8)
        picture[:, : width // 2] += 100
        cv2.imwrite(str(root / f"{i}.png"), picture)
    (root / ".hidden.png").write_bytes(b"no picture")
    (root / "readme.md").write_text("neither")
    return root


def test_everything_is_found_and_counted(folder):
    pictures = read_pictures(folder)
    assert [path.name for path in pictures.paths] == ["0.png", "1.png", "2.png"]
    assert pictures.sides.tolist() == [20, 50, 90]
    assert pictures.ignored == 2


def test_a_broken_picture_does_not_wait(folder, tmp_path):
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes((folder / "0.png").read_bytes())
    (tmp_path / "2.jpg").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"2\.jpg: not a .* file; convert it or remove it"):
        read_pictures(tmp_path)


def test_windows_depend_on_seed_and_number_alone(folder):
    one, other = (Windows(read_pictures(folder), 3) for _ in range(2))
    for index in (5, 0, 7):
        first, again = one.item(index, 32), other.item(index, 32)
        assert (first[0] == again[0]).all()
        assert (first[1] == again[1]).all()
    assert any((one.item(i, 32)[1] != Windows(read_pictures(folder), 4).item(i, 32)[1]).any() for i in range(3))


@pytest.mark.parametrize(("size", "shades"), [(16, {0, 10, 20}), (48, {10, 20}), (80, {20}), (200, {0, 10, 20})])
def test_pictures_are_not_enlarged_unless_all_are_small(folder, size, shades):
    windows = Windows(read_pictures(folder), 0)
    found = set()
    for index in range(60):
        picture, hidden = windows.item(index, size)
        assert picture.shape == (size, size, 3)
        assert hidden.shape == (size, size)
        found.add(int(picture.min()) % 100)
    assert found <= shades
    assert len(found) == len(shades)


@pytest.mark.parametrize("size", [16, 32, 61, 128])
def test_holes_are_boxes_of_the_promised_area(size):
    rng, shares, touching = np.random.default_rng(size), [], 0
    for _ in range(400):
        x0, y0, x1, y1 = hole(size, rng)
        assert 0 <= x0 < x1 <= size
        assert 0 <= y0 < y1 <= size
        assert max(x1 - x0, y1 - y0) < size
        shares.append((x1 - x0) * (y1 - y0) / size**2)
        touching += x0 == 0 or y0 == 0 or x1 == size or y1 == size
    assert AREA[0] * 0.7 < min(shares) < 0.1
    assert 0.5 < max(shares) < AREA[1] * 1.1
    assert touching / 400 > AT_BORDER
