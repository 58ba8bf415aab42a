"""Slopes are taken in true float32 whatever the precision of the run: against float64 on the CPU."""

import contextlib

import pytest
import torch
from torch.nn import functional as F

from clp_aug.nets.devices import has_precision
from clp_train.algorithm import hypergradient, slopes
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.passes import virtual_pass
from clp_train.algorithm.slopes import SLOPES
from clp_train.run_settings import RunSettings
from clp_train.running.place import Place, find_place
from tests.accelerator.beside_cpu import its_kernels
from tests.clp_train.builders import batch_of, generator, network_of

PRECISIONS = ("float32", "tf32", "bf16")
CLASSES, PICTURES = 3, 32


def place_of(device, precision):
    """Return the place; in a dry run of a precision that the CPU lacks, too, where it rounds nothing."""
    if device == "cpu":
        return Place(torch.device(device), precision)
    if not has_precision(torch.device(device), precision):
        pytest.skip(f"{device} does not have {precision}")
    return find_place(RunSettings(device=device, precision=precision))


def pictures():
    return batch_of(n=PICTURES, side=16, dtype=torch.float32).images


def slope_on(place, mode):
    """Return the slope that a run of a place takes along the gradient of its loss, and the one in float64."""
    exact, label = network_of(), torch.arange(PICTURES) % CLASSES
    loss = F.cross_entropy(exact(pictures().double()).logits, label)
    weights = dict(exact.named_parameters())
    direction = torch.autograd.grad(loss, tuple(weights.values()))
    doubles = {name: w.detach() for name, w in weights.items()}
    expected = SLOPES["forward"](exact, doubles, direction, pictures().double())
    network = place.take(network_of().float())
    here = {name: w.detach() for name, w in network.named_parameters()}
    along = [v.float().to(place.device) for v in direction]
    with place.active(), its_kernels(place.device.type):
        found = SLOPES[mode](network, here, along, pictures().to(place.device))
    return found.cpu().double(), expected


def agreement(found, expected):
    """Return the cosine between two slopes, and the length of the first as a share of the second's."""
    cosine = F.cosine_similarity(found.flatten(), expected.flatten(), 0)
    return float(cosine), float(found.norm() / expected.norm())


@pytest.mark.parametrize("mode", SLOPES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_slopes_are_those_of_float64(precision, mode, device):
    cosine, length = agreement(*slope_on(place_of(device, precision), mode))
    assert cosine > 0.999
    assert length == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_without_true_float32_a_central_difference_drowns(precision, device, monkeypatch):
    """The reason for it, shown where the device rounds: the CPU has no tf32."""
    place = place_of(device, precision)
    monkeypatch.setattr(slopes, "true_float32", lambda device: contextlib.nullcontext())
    cosine, length = agreement(*slope_on(place, "central"))
    if has_precision(place.device, precision):
        assert cosine < 0.98 or abs(length - 1) > 0.05


def mixed_on(place, mode):
    """Return Omega's gradient behind the logits, as the exact meta step takes it; in float64 for no place."""
    device, dtype = (torch.device("cpu"), torch.float64) if place is None else (place.device, torch.float32)
    network = network_of().to(device, dtype)
    if place is not None:
        place.take(network)
    images, label = pictures().to(device, dtype), (torch.arange(PICTURES) % CLASSES).to(device)
    omega = torch.randn(PICTURES, CLASSES, generator=generator(1)).to(device, dtype).requires_grad_()
    weights = dict(network.named_parameters())
    with contextlib.nullcontext() if place is None else place.active(), its_kernels(device.type):
        found = hypergradient.hypergradient(
            network, weights, images, network(images).logits, lambda u: cross_entropy(u, label, omega).mean(), [omega],
            lambda w: cross_entropy(virtual_pass(network, w, images).logits, label).mean(),
            [0.1] * len(weights), mode=mode,
        )  # fmt: skip
    return found.gradients[0].cpu().double()


@pytest.mark.parametrize("mode", [*SLOPES, "reference"])
def test_the_whole_hypergradient_in_float32(mode, device):
    found, length = agreement(mixed_on(place_of(device, "float32"), mode), mixed_on(None, "reference"))
    assert found > 0.999
    assert length == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_the_whole_hypergradient_in_fewer_bits(precision, device):
    """The meta gradient itself is of the run's precision, so what is left is that rounding, not a difference's."""
    found, length = agreement(mixed_on(place_of(device, precision), "central"), mixed_on(None, "reference"))
    assert found > 0.97
    assert length == pytest.approx(1, abs=0.1)
