"""A small shard of random pictures: what every test of the contract starts from."""

from pathlib import Path

import pytest

from tests.clp_aug.builders import Parts, make_parts


@pytest.fixture
def parts() -> Parts:
    """The parts of one small valid shard."""
    return make_parts()


@pytest.fixture
def shard(parts, tmp_path) -> Path:
    """One small valid shard on disk."""
    return parts.write(tmp_path / "good.h5")
