"""Pictures on the accelerator: transforms and RandAugment draw and make what the CPU's forms for devices do."""

import numpy as np
import pytest
import torch

from clp_aug.contract.seeds import rng_for
from clp_train.pictures.transforms import TRANSFORMS, load_transform
from clp_train.pictures.transforms.rand_augment import OPERATIONS, operated_by_pil, rand_augment
from clp_train.pictures.transforms.rand_augment_draws import LEVELS, Draws
from clp_train.pictures.transforms.rand_augment_tensors import operated
from clp_train.pictures.types import masks
from tests.clp_train.builders import generator

SIZES = [(32, 32), (17, 24), (224, 224)]
NAMES = tuple(OPERATIONS)


def pictures_of(n, height, width):
    """Return noise with a ramp below it, uint8 (n, 3, H, W), and the masks of boxes."""
    rng = rng_for(height, width, "accelerator pictures")
    noise = rng.integers(0, 156, (n, 3, height, width)) + np.linspace(0, 99, width).astype(int)
    box = torch.tensor([[width // 4, height // 4, 3 * width // 4, 3 * height // 4]]).expand(n, 4)
    return torch.from_numpy(noise.astype(np.uint8)), masks(box, height, width)


def draws_of(operation, n):
    """Return one draw a picture, of one operation, at all levels in turn."""
    rng, shape = rng_for(0, operation, "accelerator draws"), (n, 2)
    applied = np.stack([np.ones(n, bool), np.zeros(n, bool)], 1)
    levels = np.repeat(1 + np.arange(n)[:, None] % LEVELS, 2, 1)
    return Draws(applied, np.full(shape, operation), levels, rng.choice([-1, 1], shape), rng.random((n, 2, 2)))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name, size, device):
    """Places are computed on the CPU; pixels between others are rounded, one level apart at most."""
    images, inside = pictures_of(6, *size)
    expected, box = load_transform(name)(images, inside, generator())
    found, moved = load_transform(name)(images.to(device), inside.to(device), generator())
    assert found.device.type == device
    assert torch.equal(moved.cpu(), box)
    apart = (found.cpu().int() - expected.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 1e-3


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_is_within_a_level_of_pil(name, size, device):
    images, inside = pictures_of(2 * LEVELS, *size)
    draws = draws_of(NAMES.index(name), len(images))
    expected, box = operated_by_pil(images, inside, NAMES, draws)
    found, moved = operated(images.to(device), inside.to(device), NAMES, draws)
    assert torch.equal(moved.cpu(), box)
    apart = (found.cpu().int() - expected.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 0.07


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rand_augment_draws_the_same_on_each_device(size, device):
    images, inside = pictures_of(24, *size)
    expected, box = rand_augment(images, inside, rng_for(1, 2, "rand augment"))
    found, moved = rand_augment(images.to(device), inside.to(device), rng_for(1, 2, "rand augment"))
    assert found.device.type == device
    assert torch.equal(moved.cpu(), box)
    far = (found.cpu().int() - expected.int()).abs().flatten(1).max(1).values
    assert (far <= 1).float().mean() > 0.5, "a second operation, such as equalize, may spread the level of the first"
    assert (found.cpu().float() - expected.float()).abs().mean() < 1
