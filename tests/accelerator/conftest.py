"""These tests ask a machine's accelerator; without one they are skipped.

CLP_DRY_RUN=1 runs every line of them on the CPU, where kernels with another order of sums stand for the accelerator's.
What they say of an accelerator then is nothing.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from tests.clp_train.builders import config_of, load, make_demo_shard
from tests.one_thread import one_thread

__all__ = ["one_thread"]  # a fixture of all tests here

pytest.register_assert_rewrite("tests.accelerator.beside_cpu")


@pytest.fixture(scope="session")
def device():
    """The name of the machine's accelerator; of the CPU in a dry run."""
    if os.environ.get("CLP_DRY_RUN") == "1":
        return "cpu"
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or accelerator.type == "shadow":
        pytest.skip("no accelerator on this machine")
    return accelerator.type


@pytest.fixture(scope="session")
def shard(tmp_path_factory):
    """80 training pictures and 24 meta pictures of 16 x 16."""
    return make_demo_shard(tmp_path_factory.mktemp("shard") / "tiny.h5", size=16, per_group=2, train=80)


@pytest.fixture(scope="session")
def run(shard):
    """That shard and its data set, read for a run, with few pictures to evaluate; no test changes it."""
    data = load(config_of(meta=shard))
    few = {name: type(part)(*(v[::12][:40] for v in vars(part).values())) for name, part in data.evaluation.items()}
    return replace(data, evaluation=few, strata={})
