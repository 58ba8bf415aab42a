"""Pictures of birds and places, in the layout that clp-data waterbirds reads."""

import pytest

from tests.clp_aug.making.birds import save_bird, save_place


@pytest.fixture
def sources(tmp_path):
    """20 landbirds and 20 waterbirds with masks, 6 land and 6 water backgrounds."""
    for i in range(40):
        name = f"{('landbird', 'waterbird')[i % 2]}/{i:02d}.png"
        save_bird(tmp_path / "birds", name, i, tmp_path / "masks")
    for i in range(6):
        save_place(tmp_path / "land" / f"{i}.png", i, (0, 200, 0))
        save_place(tmp_path / "water" / "lake" / f"{i}.png", i, (0, 0, 200))
    return tmp_path
