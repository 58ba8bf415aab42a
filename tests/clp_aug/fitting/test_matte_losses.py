"""Each term against numpy, pixel by pixel; the unknown is nobody's business; who gets gradients from whom."""

import itertools
import math

import kornia
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clp_aug.contract.errors import UsageError
from clp_aug.fitting.losses import (
    LossWeights,
    PatchCritic,
    adversarial_loss,
    bce_loss,
    critic_loss,
    l1_loss,
    matte_loss,
    mean_known,
    mse_loss,
    projection_loss,
    ssim_loss,
)

ALL = LossWeights(mse=1, ssim=0.1, l1=0.5, bce=0.5, adversarial=0.05)


def batch(seed=0, n=2, side=16, unknown=0.2):
    """Logits, truth and weight, float64 (n, 1, side, side)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 1, side, side))
    truth = rng.choice([0, 0.2, 0.5, 0.6, 1], (n, 1, side, side))
    weight = (rng.random((n, 1, side, side)) >= unknown).astype(float)
    return tuple(torch.from_numpy(part) for part in (logits, truth, weight))


def oracle(term, logits, truth, weight):
    """The mean of term(logit, truth) over known pixels, one at a time."""
    triples = zip(*(part.flatten().tolist() for part in (logits, truth, weight)), strict=True)
    values = [term(z, t) for z, t, w in triples if w]
    return sum(values) / max(len(values), 1)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.0, 0.3, 1.0]))
def test_terms_pixel_by_pixel(seed, unknown):
    logits, truth, weight = batch(seed, side=6, unknown=unknown)
    alpha = torch.sigmoid(logits)
    for found, term in (
        (mse_loss(alpha, truth, weight), lambda z, t: (sigmoid(z) - t) ** 2),
        (l1_loss(alpha, truth, weight), lambda z, t: abs(sigmoid(z) - t)),
        (bce_loss(logits, truth, weight), lambda z, t: -math.log(sigmoid(z if t > 0.5 else -z))),
    ):
        assert float(found) == pytest.approx(oracle(term, logits, truth, weight), abs=1e-12)


def ssim_oracle(a, b):
    """SSIM at each pixel of two float64 pictures, Gaussian window of 11 pixels and sigma 1.5, borders mirrored."""
    offsets = np.arange(-5, 6)
    taps = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    a, b, result = np.pad(a, 5, mode="reflect"), np.pad(b, 5, mode="reflect"), np.zeros(a.shape)
    for y, x in itertools.product(*map(range, result.shape)):
        p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
        mean_p, mean_q = (window * p).sum(), (window * q).sum()
        var_p, var_q = (window * (p - mean_p) ** 2).sum(), (window * (q - mean_q) ** 2).sum()
        cov = (window * (p - mean_p) * (q - mean_q)).sum()
        result[y, x] = (2 * mean_p * mean_q + 1e-4) * (2 * cov + 9e-4)
        result[y, x] /= (mean_p**2 + mean_q**2 + 1e-4) * (var_p + var_q + 9e-4)
    return result


def test_ssim_on_the_scale_of_the_paper():
    logits, truth, weight = batch(n=1, side=14)
    alpha, known = torch.sigmoid(logits), torch.ones_like(truth)
    found = ssim_oracle(alpha[0, 0].numpy(), truth[0, 0].numpy())
    assert ssim_loss(alpha, truth, known).item() == pytest.approx((1 - found).mean(), abs=1e-6)
    half = kornia.losses.ssim_loss(alpha, truth, 11)
    torch.testing.assert_close(ssim_loss(alpha, truth, known), 2 * half)
    filled = torch.where(weight > 0, alpha, truth)
    found = ssim_oracle(filled[0, 0].numpy(), truth[0, 0].numpy())
    expected = (1 - found)[weight[0, 0].numpy() > 0].mean()
    assert ssim_loss(alpha, truth, weight).item() == pytest.approx(expected, abs=1e-6)
    assert ssim_loss(truth, truth, known).item() == pytest.approx(0, abs=1e-6)


def test_opposite_mattes_lose_more_than_one():
    """Kornia's clamp would not show here, but half of the loss would be gone."""
    board = torch.from_numpy(np.indices((12, 12)).sum(0) % 2).double()[None, None]
    assert float(ssim_loss(1 - board, board, torch.ones_like(board))) > 1.9


def critic():
    torch_critic = PatchCritic().double()
    generator = torch.Generator().manual_seed(0)
    for parameter in torch_critic.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05, generator=generator)
    return torch_critic


def picture_for(truth):
    return torch.rand(len(truth), 3, *truth.shape[2:], dtype=truth.dtype, generator=torch.Generator().manual_seed(3))


def test_unknown_pixels_do_not_count():
    """Neither what is predicted there nor what the truth says there; and no gradient goes there."""
    logits, truth, weight = batch(side=32)
    truth = torch.where(weight > 0, truth, 0.5)  # as in a trimap; 1 would be the inside of a drawn box
    picture, judge = picture_for(truth), critic()
    elsewhere = torch.where(weight > 0, logits, -3 * logits + 1).requires_grad_()
    logits.requires_grad_()
    one, terms = matte_loss(logits, truth, weight, ALL, picture, judge)
    other, others = matte_loss(elsewhere, truth, weight, ALL, picture, judge)
    assert set(terms) == {"mse", "ssim", "l1", "bce", "projection", "adversarial"}
    for name, term in terms.items():
        torch.testing.assert_close(term, others[name], msg=name)
    one.backward()
    other.backward()
    assert (logits.grad[weight == 0] == 0).all()
    assert (logits.grad[weight > 0] != 0).all()
    torch.testing.assert_close(logits.grad, elsewhere.grad)
    pixels = LossWeights(ssim=0, projection=0)
    masked = matte_loss(logits, torch.where(weight > 0, truth, 1 - truth), weight, pixels)[0]
    torch.testing.assert_close(masked, matte_loss(logits, truth, weight, pixels)[0])


def test_nothing_known_is_no_loss():
    logits, truth, weight = batch(unknown=1.0)
    truth = torch.full_like(truth, 0.5)
    assert float(matte_loss(logits, truth, weight, LossWeights())[0]) == 0
    assert float(mean_known(logits, weight)) == 0


def slow_projection(logits, truth, weight):
    """Row by row, column by column."""
    total, count = 0.0, 0
    for item in zip(logits[:, 0].numpy(), truth[:, 0].numpy(), weight[:, 0].numpy(), strict=True):
        for z, t, w in (item, [part.T for part in item]):
            for i in range(len(z)):
                if 0.25 < t[i].max() < 0.75:
                    continue
                top = max((a for a, b, c in zip(z[i], t[i], w[i], strict=True) if c or b >= 0.75), default=-30.0)
                total += -math.log(sigmoid(top if t[i].max() > 0.5 else -top))
                count += 1
    return total / max(count, 1)


@pytest.mark.parametrize("seed", range(20))
def test_projection_row_by_row(seed):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, (2, 1, 6, 7)))
    truth = torch.from_numpy(rng.choice([0, 0.5, 0.6, 1], (2, 1, 6, 7), p=[0.8, 0.1, 0.05, 0.05]))
    weight = torch.from_numpy((rng.random((2, 1, 6, 7)) > 0.3).astype(float))
    assert projection_loss(logits, truth, weight).item() == pytest.approx(slow_projection(logits, truth, weight))


def test_a_drawn_box_asks_for_something_in_each_of_its_rows_and_nothing_beside_it():
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., 2:6, 1:5] = 1
    cross = torch.full((1, 1, 8, 8), -20.0)
    cross[..., range(2, 6), range(1, 5)] = 20.0
    assert projection_loss(cross, truth, 1 - truth).item() < 1e-6
    wide = cross.clone()
    wide[..., 2, 7] = 20.0
    assert projection_loss(wide, truth, 1 - truth).item() == pytest.approx(20 / 16, rel=1e-6)
    low = cross.clone()
    low[..., 5, 4] = -20.0
    assert projection_loss(low, truth, 1 - truth).item() == pytest.approx(2 * 20 / 16, rel=1e-6)


def test_sum_of_terms():
    logits, truth, weight = batch(side=32)
    picture, judge = picture_for(truth), critic()
    total, terms = matte_loss(logits, truth, weight, ALL, picture, judge)
    expected = terms["mse"] + 0.1 * terms["ssim"] + 0.5 * terms["l1"] + 0.5 * terms["bce"] + 0.05 * terms["adversarial"]
    expected += 0.5 * terms["projection"]
    torch.testing.assert_close(total, expected)
    assert set(matte_loss(logits, truth, weight, LossWeights())[1]) == {"mse", "ssim", "l1", "bce", "projection"}


def test_gradients_by_differences():
    logits, truth, weight = batch(n=1, side=8)
    assert torch.autograd.gradcheck(
        lambda z: matte_loss(z, truth, weight, LossWeights())[0], (logits.requires_grad_(),), atol=1e-6
    )


def test_adversarial_terms_by_hand():
    logits, truth, weight = batch(side=32)
    picture, judge, alpha = picture_for(truth), critic(), torch.sigmoid(logits)
    filled = torch.where(weight > 0, alpha, truth)
    real, fake = (judge(torch.cat([picture, matte], 1)).flatten().tolist() for matte in (truth, filled))
    fooled = np.mean([-math.log(sigmoid(z)) for z in fake])
    assert adversarial_loss(judge, picture, alpha, truth, weight).item() == pytest.approx(fooled)
    rejected = np.mean([-math.log(1 - sigmoid(z)) for z in fake])
    accepted = np.mean([-math.log(sigmoid(z)) for z in real])
    assert critic_loss(judge, picture, alpha, truth, weight).item() == pytest.approx((accepted + rejected) / 2)


def test_each_step_moves_its_own_network():
    logits, truth, weight = batch(side=32)
    picture, judge, alpha = picture_for(truth), critic(), torch.sigmoid(logits).requires_grad_()
    critic_loss(judge, picture, alpha, truth, weight).backward()
    assert alpha.grad is None
    assert all(p.grad is not None for p in judge.parameters())
    judge.zero_grad()
    adversarial_loss(judge, picture, alpha, truth, weight).backward()
    assert alpha.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())


def test_critic_judges_patches_of_70_pixels():
    judge = PatchCritic()
    x = torch.randn(1, 4, 224, 224, requires_grad=True)
    verdicts = judge.layers[:2](x), judge(x)
    assert verdicts[1].shape == (1, 1, 26, 26)
    assert judge(torch.randn(1, 4, 24, 24)).shape == (1, 1, 1, 1)
    for layer in judge.layers:
        if isinstance(layer, torch.nn.GroupNorm):
            layer.forward = lambda y: y  # a mean over the picture would reach everywhere
    judge(x)[0, 0, 13, 13].backward()
    assert x.grad.abs().sum((0, 1, 2)).nonzero().numel() == 70


@pytest.mark.parametrize("name", ["mse", "ssim", "l1", "bce", "adversarial"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_weights_at_the_door(name, value):
    with pytest.raises(UsageError, match=rf"weight of {name} \S+: expected a number >= 0"):
        LossWeights(**{name: value})


def test_no_loss_at_all():
    with pytest.raises(UsageError, match="weights of all losses are 0: expected at least one above 0"):
        LossWeights(0, 0, 0, 0, 0)
