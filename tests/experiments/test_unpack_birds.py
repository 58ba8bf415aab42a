"""Packed birds and landscapes become the folders that clp-data waterbirds reads; what is no bird stays out."""

import cv2
import h5py
import numpy as np
import pytest

from clp_aug.contract.errors import UsageError
from clp_aug.datasets import load_dataset
from clp_aug.making.waterbirds import make
from clp_aug.making.waterbirds_config import WaterbirdsConfig
from experiments.waterbirds import make_waterbirds


def pack(path, names, channels, **columns):
    rng = np.random.default_rng(len(names))
    pixels = [rng.integers(0, 256, (20, 24, channels), np.uint8) for _ in names]
    for picture in pixels if channels == 4 else ():
        picture[..., 3] = 0
        picture[5:15, 6:18, 3] = 255
    blobs = [cv2.imencode(".png", picture)[1].tobytes() for picture in pixels]
    with h5py.File(path, "w") as file:
        file["bytes"] = np.frombuffer(b"".join(blobs), np.uint8)
        file["offset"] = np.cumsum([0, *map(len, blobs)])
        file["name"] = np.array(names, "S")
        for name, values in columns.items():
            file[name] = values


@pytest.fixture
def packed(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    water = np.arange(40) % 2
    pack(folder / "birds.h5", [f"kind/{i}.png" for i in range(2)], 4, waterbird=np.array([False, True]))
    names = [f"animals/{i}.png" for i in range(41)]
    pack(folder / "alpha_cutouts.h5", names, 4, waterbird=np.append(water, -1).astype(np.int8))
    pack(folder / "landscapes150.h5", [f"train/{i}.png" for i in range(12)], 3, is_water=np.arange(12) >= 6)
    return folder


def test_folders_tell_class_and_place_and_a_set_is_made_of_them(packed, tmp_path):
    work = tmp_path / "work"
    counts = make_waterbirds.unpack(packed, work)
    assert counts == {"birds/landbird": 21, "birds/waterbird": 21, "land": 6, "water": 6}
    assert not list(work.rglob("40.png")), "what is no bird stays out"
    assert (work / "birds" / "waterbird" / "alpha_cutouts" / "animals" / "1.png").is_file()
    config = WaterbirdsConfig(
        birds=work / "birds", land=(work / "land",), water=(work / "water",), out=work / "set",
        confounding=0.75, shares=(12, 4, 4), size=32,
    )  # fmt: skip
    outcome = make(config)
    samples = load_dataset("waterbirds", work / "set").samples
    assert len(samples.label) == sum(map(sum, outcome.groups)) == 42
    with pytest.raises(UsageError, match=r"exists already; give a new --work or remove it"):
        make_waterbirds.unpack(packed, work)
