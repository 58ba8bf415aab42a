"""Losses that are looked at later: the same error as at once, in the order of the steps, and one look for all."""

import math

import pytest
import torch

from clp_train.algorithm.losses import DivergedError, check_finite, check_penalty, deferred_checks, settle
from clp_train.algorithm.step import StepLosses, read_losses

BAD = torch.tensor([1.0, math.inf, math.nan])
OTHER = torch.device("meta")  # that is not the CPU
IDS = torch.tensor([10, 11, 12])


def test_nothing_is_raised_before_they_are_settled_and_then_the_first():
    checks = []
    with deferred_checks(checks, OTHER):
        check_finite(torch.ones(3), IDS, "training loss", 4)
        check_penalty(torch.tensor(math.nan), 5)
        check_finite(BAD, IDS, "training loss", 6)
    assert len(checks) == 3
    with pytest.raises(DivergedError, match=r"^step 5: the method's penalty is nan; lower the learning rate"):
        settle(checks)
    with pytest.raises(DivergedError, match=r"^step 6: the training loss is inf on samples 11, 12; lower"):
        settle(checks[2:])
    with pytest.raises(DivergedError, match="step 7"):  # outside, at once
        check_finite(BAD, IDS, "training loss", 7)


def test_what_is_finite_is_settled_in_silence_and_once():
    checks = []
    with deferred_checks(checks, OTHER):
        check_finite(torch.ones(3), IDS, "training loss", 4)
        assert check_penalty(None, 4) is None
    settle(checks)
    assert checks == []
    settle(checks)


def test_losses_are_read_as_they_are():
    """Also those that were read before, and those that were not computed."""
    some = [
        StepLosses(torch.tensor(0.1), None, torch.tensor(0.25)),
        StepLosses(0.5, 0.75),
        StepLosses(torch.tensor(1 / 3), torch.tensor(2.0)),
    ]
    read = read_losses(some)
    assert read == [
        StepLosses(torch.tensor(0.1).item(), None, 0.25), StepLosses(0.5, 0.75),
        StepLosses(torch.tensor(1 / 3).item(), 2.0),
    ]  # fmt: skip
    assert read_losses(read) == read
    assert read_losses([]) == []


def test_losses_that_are_not_finite_are_not_read():
    checks = []
    with deferred_checks(checks, OTHER):
        check_finite(BAD, IDS, "meta loss", 3)
    with pytest.raises(DivergedError, match="step 3: the meta loss is inf on samples 11, 12"):
        read_losses([StepLosses(1.0), StepLosses(torch.tensor(1.0), checks=checks)])


def test_on_the_cpu_nothing_is_deferred():
    checks = []
    with (
        deferred_checks(checks, torch.device("cpu")),
        pytest.raises(DivergedError, match="step 3: the meta loss is inf"),
    ):
        check_finite(BAD, IDS, "meta loss", 3)
    assert checks == []
