"""Eqs. (3), (6) and (7) by hand and against slow oracles."""

import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_train.algorithm import losses
from clp_train.algorithm.saliency import SALIENCY_TARGETS, saliency
from clp_train.algorithm.settings import TARGET_NAMES


def test_counterfactual_loss_by_hand():
    logits = torch.tensor([[2.0, 1.0, 1.0], [1.0, 2.0, 5.0]]).log()  # p_y = 1/2 and 1/8
    found = losses.counterfactual_loss(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(found, torch.tensor([-math.log(1 / 2), -math.log(7 / 8)]))


def test_counterfactual_loss_is_the_difference_of_two_logsumexps():
    logits = torch.randn(50, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 4
    label = torch.arange(50) % 5
    rest = torch.stack([u[torch.arange(5) != y].logsumexp(0) for u, y in zip(logits, label, strict=True)])
    torch.testing.assert_close(losses.counterfactual_loss(logits, label), logits.logsumexp(1) - rest)


def test_counterfactual_loss_passes_gradcheck():
    logits = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    label = torch.tensor([0, 1, 2, 0])
    assert torch.autograd.gradcheck(lambda u: losses.counterfactual_loss(u, label), logits)
    assert torch.autograd.gradgradcheck(lambda u: losses.counterfactual_loss(u, label), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gap", [17.0, 88.0, 1e3, 1e4])
def test_counterfactual_loss_at_large_gaps(dtype, gap):
    gap = float(torch.tensor(gap, dtype=dtype))
    logits = torch.tensor([[gap, 0.0], [0.0, gap]], dtype=dtype, requires_grad=True)
    loss = losses.counterfactual_loss(logits, torch.tensor([0, 0]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss[0].item() == pytest.approx(gap, rel=1e-2 if dtype == torch.bfloat16 else 1e-6)
    assert 0 <= loss[1].item() <= math.exp(-gap) * 1.01 + 1e-30
    torch.testing.assert_close(gradient[0], torch.tensor([1.0, -1.0], dtype=dtype))
    assert gradient.isfinite().all()


def test_counterfactual_loss_keeps_tiny_probabilities():
    logits = torch.tensor([[0.0, 30.0]], requires_grad=True)
    loss = losses.counterfactual_loss(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(math.exp(-30), rel=1e-5)


def test_the_loss_of_chance_is_cross_entropy_with_even_targets_and_least_where_nothing_is_said():
    logits = torch.randn(50, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) * 4
    label = torch.arange(50) % 5
    expected = F.cross_entropy(logits, torch.full((50, 5), 0.2, dtype=torch.float64), reduction="none")
    found = losses.chance_loss(logits, label)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(losses.chance_loss(logits, (label + 1) % 5), found)  # whatever the label was
    even = logits[:, :1].expand(50, 5)
    torch.testing.assert_close(losses.chance_loss(even, label), torch.full((50,), math.log(5), dtype=torch.float64))
    assert (found >= math.log(5)).all()


def test_of_two_classes_not_y_pushes_on_past_chance_where_chance_stops():
    gap = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)  # by how much a background speaks for its class
    logits, label = torch.stack([gap, torch.zeros(3)], 1), torch.zeros(3, dtype=torch.int64)
    (pushed,) = torch.autograd.grad(losses.counterfactual_loss(logits, label).sum(), gap, retain_graph=True)
    (wanted,) = torch.autograd.grad(losses.chance_loss(logits, label).sum(), gap)
    assert (pushed > 0).all()
    assert wanted.sign().tolist() == [-1, 0, 1]


@pytest.mark.parametrize("target", losses.COUNTERFACTUAL_LOSSES)
def test_kinds_choose_their_loss_with_any_target_of_counterfactuals(target):
    logits = torch.randn(30, 4, generator=torch.Generator().manual_seed(5))
    label, kind = torch.arange(30) % 4, torch.arange(30) % 3
    loss = losses.COUNTERFACTUAL_LOSSES[target]
    found = losses.meta_losses(logits, label, kind.to(torch.uint8), counterfactual=loss)
    for i in range(30):
        one = logits[i : i + 1], label[i : i + 1]
        torch.testing.assert_close(found[i], (loss if kind[i] == 1 else losses.cross_entropy)(*one)[0])


def test_kinds_choose_their_loss():
    logits, label = torch.tensor([[3.0, 1.0]]).log().repeat(3, 1), torch.zeros(3, dtype=torch.int64)
    found = losses.meta_losses(logits, label, torch.tensor([0, 1, 2], dtype=torch.uint8))
    torch.testing.assert_close(found, torch.tensor([math.log(4 / 3), math.log(4), math.log(4 / 3)]))


def test_delta_is_added_and_a_constant_one_changes_nothing():
    logits, label = torch.zeros(2, 2), torch.tensor([0, 1])
    delta = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    torch.testing.assert_close(losses.cross_entropy(logits, label, delta), torch.tensor([4 / 3, 4.0]).log())
    kind = torch.tensor([0, 1], dtype=torch.uint8)
    shifted = losses.meta_losses(logits, label, kind, delta + 100)
    torch.testing.assert_close(shifted, losses.meta_losses(logits, label, kind, delta))


def small_net():
    torch.manual_seed(3)  # of this test's own network
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 20, 3)).double()


def target_by_hand(u, y, target):
    others = u[torch.arange(len(u)) != y]
    return {
        "probability": u.exp()[y] / u.exp().sum(),
        "log-probability": u[y] - u.logsumexp(0),
        "logit": u[y],
        "logit-gap": u[y] - others.max(),
    }[target]


@pytest.mark.parametrize("target", SALIENCY_TARGETS)
def test_saliency_equals_finite_differences_pixel_by_pixel(target):
    net, step = small_net(), 1e-5
    images = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    label = torch.tensor([2, 0])
    inside = torch.zeros(2, 4, 5, dtype=torch.bool)
    inside[0, 1:3, 1:4] = inside[1, :, :2] = True
    found = saliency(images, net(images), inside, label, target)
    for n in range(2):
        total, pixels = 0.0, 0
        for y in range(4):
            for x in range(5):
                if inside[n, y, x]:
                    continue
                pixels += 1
                for channel in range(3):
                    values = []
                    for sign in (1, -1):
                        moved = images.detach().clone()
                        moved[n, channel, y, x] += sign * step
                        values.append(target_by_hand(net(moved)[n], label[n], target))
                    total += ((values[0] - values[1]) / (2 * step)).item() ** 2
        assert found[n].item() == pytest.approx(total / pixels, rel=1e-6)


def test_saliency_can_be_differentiated_by_the_weights():
    net, step = small_net(), 1e-6
    images = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    inside = torch.zeros(2, 4, 5, dtype=torch.bool)

    def total():
        return saliency(images, net(images), inside, torch.tensor([2, 0]), "probability").sum()

    (gradient,) = torch.autograd.grad(total(), net[3].weight)
    with torch.no_grad():
        net[3].weight[1, 7] += step
    up = total().item()
    with torch.no_grad():
        net[3].weight[1, 7] -= 2 * step
    assert gradient[1, 7].item() == pytest.approx((up - total().item()) / (2 * step), rel=1e-4)


def test_saliency_of_a_picture_without_background_is_zero():
    net = small_net()
    images = torch.rand(1, 3, 4, 5, dtype=torch.float64).requires_grad_()
    inside = torch.ones(1, 4, 5, dtype=torch.bool)
    assert saliency(images, net(images), inside, torch.tensor([0]), "probability").item() == 0


@pytest.mark.parametrize("target", SALIENCY_TARGETS)
def test_a_constant_on_all_logits_changes_no_saliency(target):
    net = small_net()
    images = torch.rand(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    inside, label = torch.zeros(2, 4, 5, dtype=torch.bool), torch.tensor([1, 2])
    plain = saliency(images, net(images), inside, label, target)
    torch.testing.assert_close(saliency(images, net(images) + 50, inside, label, target), plain)


def test_settings_and_losses_name_the_same_targets():
    assert tuple(SALIENCY_TARGETS) == TARGET_NAMES


def test_a_loss_that_is_not_finite_names_step_and_pictures():
    values = torch.tensor([1.0, math.nan, math.inf])
    with pytest.raises(
        losses.DivergedError, match=r"step 7: the meta loss is nan on samples 11, 12; lower the learning rate \(lr\)"
    ):
        losses.check_finite(values, torch.tensor([10, 11, 12]), "meta loss", 7)
    with pytest.raises(losses.DivergedError, match=r"on samples 0, 1, .*, 9 and 5 more; lower"):
        losses.check_finite(torch.full((15,), math.inf), torch.arange(15), "training loss", 0)
    for step, remedy in ((0, "raise it"), (1, losses.REMEDY)):
        with pytest.raises(losses.DivergedError, match=rf"is nan on samples 11, 12; {re.escape(remedy)}$"):
            losses.check_finite(values, torch.tensor([10, 11, 12]), "meta loss", step, "raise it")
    losses.check_finite(F.relu(values[:1]), torch.tensor([10]), "meta loss", 7)
