"""Fixtures that every test may use."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures that is not part of the repository; tests skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("real pictures are not part of the repository, and ../shared/data is absent")
    return SHARED
