"""These tests need a process of their own: in it the second device is the machine's accelerator."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from clp_aug.nets.devices import USUAL
from clp_train.algorithm import second_order
from clp_train.methods.parts import divided
from clp_train.pictures.transforms import rand_augment
from tests.clp_train.builders import config_of, load, make_demo_shard
from tests.one_thread import one_thread
from tests.shadow import second_device

__all__ = ["one_thread"]  # a fixture of all tests here

pytest.register_assert_rewrite("tests.shadow.both")


def pytest_configure(config):
    second_device.install()


@pytest.fixture(scope="session", autouse=True)
def auto_is_the_device():
    """Let "auto" look for itself, unlike in other tests."""
    os.environ.pop(USUAL, None)


@pytest.fixture(autouse=True)
def forms_of_devices(monkeypatch):
    """Let the CPU, too, compute what has a form for devices in that form, which rounds otherwise."""
    monkeypatch.setattr(divided, "is_known", lambda part: False)
    monkeypatch.setattr(second_order, "divides_by_gamma", lambda gamma: False)
    monkeypatch.setattr(rand_augment, "operated_by_pil", rand_augment.operated)


@pytest.fixture(scope="session")
def shard(tmp_path_factory):
    """24 training pictures and 24 meta pictures of 16 x 16, labels noisy."""
    settings = {"noise": "flip:0.4"}
    return make_demo_shard(
        tmp_path_factory.mktemp("shard") / "tiny.h5", size=16, per_group=2, train=24, noisy="half", settings=settings
    )


@pytest.fixture(scope="session")
def run(shard):
    """That shard and its data set, read for a run, with few pictures to evaluate; no test changes it."""
    data = load(config_of(meta=shard))
    few = {name: type(part)(*(v[::12][:10] for v in vars(part).values())) for name, part in data.evaluation.items()}
    return replace(data, evaluation=few, strata={})
