"""What tests of ranks share."""

import pytest

from tests.clp_train.builders import make_demo_shard


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """24 training pictures and 24 meta pictures of 16 x 16, labels noisy."""
    folder = tmp_path_factory.mktemp("shard")
    settings = {"noise": "flip:0.4"}
    return make_demo_shard(folder / "tiny.h5", size=16, per_group=2, train=24, noisy="half", settings=settings)
