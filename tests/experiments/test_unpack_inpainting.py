"""What is held out of the inpainter's pictures: tests, validation, landscapes that stand behind a tested bird."""

import sys

import cv2
import h5py
import numpy as np
import pytest

from clp_aug.contract.errors import UsageError
from experiments.inpainting import unpack_inpainting


def scene(seed, side):
    """Smooth, so that resizing keeps it recognisable."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def pack(path, pictures, **columns):
    blobs = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]
    with h5py.File(path, "w") as file:
        file["bytes"] = np.frombuffer(b"".join(blobs), np.uint8)
        file["offset"] = np.cumsum([0, *map(len, blobs)])
        for name, values in columns.items():
            file[name] = values


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("packed")
    pack(root / "cifar10_jpeg.h5", [scene(i, 32) for i in range(6)], is_test=np.arange(6) > 3)
    pack(root / "tiny_imagenet100.h5", [scene(10 + i, 64) for i in range(5)], is_val=np.arange(5) % 2 == 1)
    places = [scene(20 + i, 150) for i in range(6)]
    pack(root / "landscapes150.h5", places, is_test=np.arange(6) == 0)
    birds = root / "waterbirds_like"
    for folder in ("images", "masks"):
        (birds / folder).mkdir(parents=True)
    lines = ["img_filename,split,place_filename"]
    for i, (split, place) in enumerate([(0, 2), (2, 4)]):
        mask = np.zeros((160, 160), np.uint8)
        mask[60:100, 60:100] = 255
        picture = cv2.resize(places[place], (160, 160))
        picture[mask > 0] = 255
        cv2.imwrite(str(birds / "images" / f"{i}.png"), picture)
        cv2.imwrite(str(birds / "masks" / f"{i}.png"), mask)
        lines.append(f"images/{i}.png,{split},place {place}")
    (birds / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def rows(folder):
    return sorted(int(path.stem) for path in folder.iterdir())


def test_what_is_held_out(data, tmp_path):
    counts = unpack_inpainting.unpack(data, tmp_path / "o")
    expected = {
        "cifar10_jpeg": ([0, 1, 2, 3], [4, 5]),
        "tiny_imagenet100": ([0, 2, 4], [1, 3]),
        "landscapes150": ([1, 2, 3, 5], [0, 4]),  # marked as test, behind a bird of test
    }
    for name, parts in expected.items():
        for part, wanted in zip(("train", "held-out"), parts, strict=True):
            assert rows(tmp_path / "o" / part / name) == wanted
            assert counts[f"{part}/{name}"] == len(wanted)
    assert np.array_equal(cv2.imread(str(tmp_path / "o/held-out/landscapes150/00004.png")), scene(24, 150))


def test_nothing_is_replaced(data, tmp_path):
    (tmp_path / "o").mkdir()
    with pytest.raises(UsageError, match="o: exists already; give a new folder or remove it"):
        unpack_inpainting.unpack(data, tmp_path / "o")
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


def test_the_command_counts(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["unpack_inpainting.py", "--data", str(data), "--out", str(tmp_path / "o")])
    unpack_inpainting.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0] == f"{tmp_path / 'o' / 'train' / 'cifar10_jpeg'}: 4 pictures"
