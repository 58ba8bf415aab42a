"""Discounts and windows one pixel at a time, the penalty where the gradient is known, critics of any size."""

import functools
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clp_aug.nets.contextual_attention import start
from clp_aug.nets.inpaint_critics import GLOBAL, LOCAL, Critic, gradient_penalty, hole_windows, spatial_discount

discount = functools.partial(spatial_discount, gamma=0.9)  # as in the published code


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def holes(height, width, *boxes, dtype=torch.float64):
    hole = torch.zeros(len(boxes), 1, height, width, dtype=dtype)
    for n, (x0, y0, x1, y1) in enumerate(boxes):
        hole[n, :, y0:y1, x0:x1] = 1
    return hole


# critics


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_convolutions_of_the_published_width():
    """Published, with the linear layer that ours is not: 4.34 and 2.73 million."""
    with torch.device("meta"):
        assert parameters(Critic(64, LOCAL).layers) == 4_339_329 - (8 * 8 * 512 + 1)
        assert parameters(Critic(64, GLOBAL).layers) == 2_733_441 - (16 * 16 * 256 + 1)
        assert parameters(Critic(64, GLOBAL).verdict) == 257


@pytest.mark.parametrize("planes", [GLOBAL, LOCAL])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 16), (32, 32), (33, 47), (64, 64)])
def test_any_size(planes, height, width):
    critic, x = Critic(4, planes), torch.rand(3, 3, height, width, generator=seeded())
    found = critic(x)
    assert found.shape == (3,)
    torch.testing.assert_close(critic(x[1:2]), found[1:2], atol=1e-6, rtol=0)


def test_layers_are_those_of_the_paper():
    layers = Critic(4, LOCAL).layers
    convolutions = [m for m in layers if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [4, 8, 16, 32]
    assert {(m.kernel_size, m.stride, m.padding) for m in convolutions} == {((5, 5), (2, 2), (2, 2))}
    assert {m.negative_slope for m in layers if isinstance(m, nn.LeakyReLU)} == {0.2}


def test_one_score_looks_at_61_pixels():
    critic = Critic(2, GLOBAL).double()
    for p in critic.parameters():
        nn.init.uniform_(p, 0.1, 0.2, generator=seeded())
    x = torch.rand(1, 3, 128, 128, dtype=torch.float64, generator=seeded(), requires_grad=True)
    critic.layers(x)[0, :, 4, 4].sum().backward()
    assert [int(x.grad[0, 0].any(axis).sum()) for axis in (0, 1)] == [61, 61]


def test_start_serves_critics_too():
    one, same = Critic(4, GLOBAL), Critic(4, GLOBAL)
    for critic in (one, same):
        start(critic, seeded())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))


# penalty


class Planar:
    """A critic whose gradient is known: a weighted sum of pixels, other weights for each picture."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, x):
        return (x * self.weights).sum((1, 2, 3))


def test_penalty_by_hand():
    real, fake = torch.rand(2, 3, 4, 4, generator=seeded()), torch.rand(2, 3, 4, 4, generator=seeded(1))
    weights = torch.ones(2, 3, 4, 4)
    weights[1] = 2
    mask = holes(4, 4, (0, 0, 2, 2), (1, 1, 2, 4), dtype=torch.float32)  # 12 and 9 values of 1 and 2
    expected = ((12**0.5 - 1) ** 2 + (6 - 1) ** 2) / 2
    found = gradient_penalty(Planar(weights), real, fake, mask, seeded())
    assert float(found) == pytest.approx(expected, rel=1e-6)
    nothing = gradient_penalty(Planar(weights), real, fake, torch.zeros_like(mask), seeded())
    assert float(nothing) == 1


def test_penalty_is_taken_between_both_at_one_point_a_picture():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.square().sum((1, 2, 3))

    real, fake = torch.full((5, 3, 4, 4), 3.0), torch.full((5, 3, 4, 4), 1.0)
    gradient_penalty(critic, real, fake, torch.ones(5, 1, 4, 4), seeded(7))
    expected = torch.rand(5, 1, 1, 1, generator=seeded(7)) * 2 + 1
    torch.testing.assert_close(seen[0], expected.expand(5, 3, 4, 4))
    again = gradient_penalty(critic, real, fake, torch.ones(5, 1, 4, 4), seeded(7))
    other = gradient_penalty(critic, real, fake, torch.ones(5, 1, 4, 4), seeded(8))
    assert again == gradient_penalty(critic, real, fake, torch.ones(5, 1, 4, 4), seeded(7)) != other


def test_penalty_teaches_the_critic_alone():
    critic = Critic(2, LOCAL).double()
    start(critic, seeded())
    real, fake = (torch.rand(2, 3, 16, 16, dtype=torch.float64, generator=seeded(i)) for i in range(2))
    real.requires_grad_()
    fake.requires_grad_()
    hole = holes(16, 16, (2, 3, 9, 12), (0, 0, 0, 0))  # without a hole: norm 0, whose root has no slope
    gradient_penalty(critic, real, fake, hole, seeded()).backward()
    assert real.grad is None
    assert fake.grad is None
    assert all(p.grad.isfinite().all() for p in critic.parameters() if p.grad is not None)
    assert critic.layers[0].weight.grad.any()


def test_gradient_of_the_penalty():
    critic = Critic(2, GLOBAL).double()
    start(critic, seeded())
    real, fake = (torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=seeded(i)) for i in range(2))
    hole, weight = holes(8, 8, (2, 3, 7, 6), (0, 0, 8, 8)), critic.layers[0].weight

    def penalty(value):
        names = {"layers.0.weight": value}
        return gradient_penalty(lambda x: torch.func.functional_call(critic, names, x), real, fake, hole, seeded())

    assert torch.autograd.gradcheck(penalty, (weight.detach().clone().requires_grad_(),), fast_mode=True)


# discount


def discount_one_at_a_time(hole):
    """gamma^distance of the definition: distance to the nearest known pixel, less one, over all known pixels."""
    height, width = hole.shape
    hidden = [(y, x) for y, x in itertools.product(range(height), range(width)) if hole[y, x]]
    known = [(y, x) for y, x in itertools.product(range(height), range(width)) if not hole[y, x]]
    result = torch.zeros_like(hole)
    for y, x in hidden:
        if not known:
            result[y, x] = 1
            continue
        sides = []
        for axis, length in ((0, height), (1, width)):
            first, last = min(p[axis] for p in hidden), max(p[axis] for p in hidden)
            ends = (first > 0) + (last < length - 1)
            if ends:
                sides.append((last - first + 1) * (2 if ends == 1 else 1))
        distance = min(max(abs(y - v), abs(x - u)) for v, u in known) - 1
        result[y, x] = (0.9 ** (128 / min(sides))) ** distance
    return result


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 9))
def test_discount_pixel_by_pixel(data, height, width):
    boxes = []
    for _ in range(3):
        x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        boxes.append((x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))))
    hole = holes(height, width, *boxes)
    expected = torch.stack([discount_one_at_a_time(one[0])[None] for one in hole])
    torch.testing.assert_close(discount(hole), expected, atol=1e-12, rtol=0)


def test_discount_by_hand():
    row = discount(holes(7, 7, (1, 1, 6, 6)))[0, 0, 3]
    gamma = 0.9 ** (128 / 5)
    torch.testing.assert_close(row, torch.tensor([0, 1, gamma, gamma**2, gamma, 1, 0], dtype=torch.float64))
    assert discount(holes(3, 3, (1, 1, 2, 2))).sum() == 1, "one pixel weighs 1"
    assert discount(holes(3, 3, (0, 0, 0, 0))).sum() == 0, "no hole"
    assert (discount(holes(3, 4, (0, 0, 4, 3))) == 1).all(), "nothing known"
    left = discount(holes(9, 9, (0, 2, 2, 7)))[0, 0, 4, :3]
    torch.testing.assert_close(left, torch.tensor([0.9 ** (128 / 4), 1, 0], dtype=torch.float64))


def published(side):
    """The published weights of a square hole, whose distance is 0 at its first row and 1 at its last."""
    line = [min(i, side - i) for i in range(side)]
    return torch.tensor([[max(0.9**i, 0.9**j) for j in line] for i in line], dtype=torch.float64)


def test_discount_of_the_published_hole():
    """0.9 per pixel at 128 pixels; published from the same distances, but for one pixel at two of the sides."""
    found = discount(holes(256, 256, (64, 64, 192, 192)))[0, 0, 64:192, 64:192]
    assert published(128).mean() == pytest.approx(0.253, abs=5e-4)
    assert torch.equal(found[:65, :65], found[63:, 63:].flip(0, 1))
    torch.testing.assert_close(found[:64, :64], published(128)[:64, :64])
    small = discount(holes(64, 64, (16, 16, 32, 32)))[0, 0, 16:32, 16:32]
    assert 0.25 < small.mean() < 0.4 < published(16).mean(), "0.9 per pixel would hardly discount a small hole"


def test_discount_keeps_the_type():
    assert discount(holes(8, 8, (1, 1, 5, 5), dtype=torch.float32)).dtype == torch.float32


# windows


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(4, 9), st.integers(4, 9), st.integers(1, 4))
def test_windows_lie_on_the_hole(data, height, width, side):
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = (x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height)))
    other = (0, 0, width, height)
    hole = holes(height, width, box, other)
    pictures = torch.arange(2.0 * 3 * height * width).view(2, 3, height, width)
    found = hole_windows(pictures, hole, side)
    assert found.shape == (2, 3, side, side)
    for n, (left, top, right, bottom) in enumerate((box, other)):
        y = min(max((top + bottom) // 2 - side // 2, 0), height - side)
        x = min(max((left + right) // 2 - side // 2, 0), width - side)
        assert torch.equal(found[n], pictures[n, :, y : y + side, x : x + side])
    cut = hole_windows(hole, hole, side)
    assert cut.any((1, 2, 3)).all(), "each window shows the hole"


def test_gradients_reach_what_a_window_shows():
    pictures = torch.rand(1, 3, 8, 8, generator=seeded(), requires_grad=True)
    hole = holes(8, 8, (2, 3, 6, 7))
    hole_windows(pictures, hole, 4).sum().backward()
    assert torch.equal(pictures.grad, hole.float().expand(1, 3, 8, 8))
