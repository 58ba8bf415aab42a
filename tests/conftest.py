"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch

from clp_aug.nets.devices import CPU, USUAL

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """Let "auto" be the CPU, in processes that tests start, too: what most tests say of numbers holds there."""
    os.environ[USUAL] = CPU
    os.environ.pop("CLP_CACHE", None)  # a developer's own


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures that is not part of the repository; tests skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("real pictures are not part of the repository, and ../shared/data is absent")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _backward_before_export() -> None:
    """Differentiate once, so that tests may fork.

    torch.export registers a stand-in for CUDA where there is none. The first backward pass after that starts a thread
    for it, and no fork of the process can differentiate from then on; the first one before it starts none.
    """
    torch.ones(1, requires_grad=True).sum().backward()
