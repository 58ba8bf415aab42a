"""Random weights of the published inpainting network, by the names of both of its codes, and what it takes."""

import pytest
import torch

from tests.clp_aug.nets.published import COARSE, FINE, in_tensorflow


@pytest.fixture(scope="module")
def port():
    """A state dict as the PyTorch port names it."""
    generator, state = torch.Generator().manual_seed(0), {}
    for part, table in (("coarse", COARSE), ("fine", FINE)):
        for name, (before, after, side) in table.items():
            spread = (3 / (before * side * side)) ** 0.5
            weight = torch.empty(after, before, side, side).uniform_(-spread, spread, generator=generator)
            state[f"{part}_generator.{name}.conv.weight"] = weight
            state[f"{part}_generator.{name}.conv.bias"] = torch.empty(after).uniform_(-0.1, 0.1, generator=generator)
    return state


@pytest.fixture(scope="module")
def tensorflow(port):
    return in_tensorflow(port)


@pytest.fixture(scope="module")
def inputs():
    """Two pictures of 32 x 40 in RGB, a hole each, as the networks take them."""
    picture = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    hole = torch.zeros(2, 1, 32, 40)
    hole[0, :, 14:22, 6:19] = 1
    hole[1, :, 0:9, 30:40] = 1
    return picture, hole
