"""A small shard of the built-in data set, made without clp-augment: boxes from the masks, two simple fills."""

from __future__ import annotations

import pytest

from tests.clp_train.builders import config_of, load, make_demo_shard
from tests.one_thread import one_thread

__all__ = ["one_thread"]  # a fixture of all tests here


@pytest.fixture(scope="session")
def demo_shard(tmp_path_factory):
    """80 training pictures and 24 meta pictures at 16 px."""
    return make_demo_shard(tmp_path_factory.mktemp("shard") / "demo.h5", size=16, per_group=2, train=80)


@pytest.fixture(scope="session")
def loaded(demo_shard):
    """That shard and its data set, read for a run; no test changes it."""
    return load(config_of(meta=demo_shard))
