"""The smooth start of a hole: near the harmonic picture, batched as one by one, nothing under the hole read."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from clp_aug.nets.contextual_attention import ContextualAttentionNet, start
from clp_aug.nets.smooth_fill import RELAXATIONS, smooth_fill


def hole(n, height, width, *box):
    mask = torch.zeros(n, 1, height, width)
    x0, y0, x1, y1 = box
    mask[..., y0:y1, x0:x1] = 1
    return mask


def picture(seed, n=1, height=24, width=20):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def harmonic(x, hidden):
    """Each hidden pixel is the mean of its neighbours, those beyond the border being itself: a linear system."""
    rows, columns = np.nonzero(hidden[0, 0].numpy())
    index = {pixel: i for i, pixel in enumerate(zip(rows, columns, strict=True))}
    height, width = x.shape[2:]
    matrix, right = np.eye(len(index)), np.zeros((len(index), 3))
    for (row, column), i in index.items():
        for down, along in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            near = (min(max(row + down, 0), height - 1), min(max(column + along, 0), width - 1))
            if near in index:
                matrix[i, index[near]] -= 0.25
            else:
                right[i] += 0.25 * x[0, :, near[0], near[1]].numpy()
    filled = x.clone()
    filled[0, :, rows, columns] = torch.from_numpy(np.linalg.solve(matrix, right).T).float()
    return filled


@pytest.mark.parametrize("box", [(5, 6, 13, 17), (0, 0, 9, 9), (12, 0, 20, 24), (9, 11, 10, 12), (0, 2, 20, 24)])
def test_near_the_harmonic_picture(box):
    gaps, far = [], []
    for seed in range(8):
        x, hidden = picture(seed), hole(1, 24, 20, *box)
        filled, truth = smooth_fill(x, hidden), harmonic(x, hidden)
        assert torch.equal(filled[hidden.expand(-1, 3, -1, -1) == 0], x[hidden.expand(-1, 3, -1, -1) == 0])
        known = x[hidden.expand(-1, 3, -1, -1) == 0]
        assert known.min() - 1e-6 <= filled.min()
        assert filled.max() <= known.max() + 1e-6
        gaps.append((filled - truth).abs().mean().item())
        mean = torch.where(hidden > 0, known.mean(), x)
        far.append((mean - truth).abs().mean().item())
    assert np.mean(gaps) < np.mean(far) / 3, "a third as far as the mean of what is known"


def test_a_ramp_across_the_hole_goes_on():
    x = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    filled = smooth_fill(x, hole(1, 32, 32, 10, 10, 22, 22))
    assert (filled - x).abs().max() < 0.08
    constant = torch.full((1, 3, 17, 9), 0.3)
    torch.testing.assert_close(smooth_fill(constant, hole(1, 17, 9, 0, 3, 9, 12)), constant)


@pytest.mark.parametrize("size", [(8, 8), (24, 16), (7, 13), (1, 5)])
def test_batched_is_one_by_one_and_what_is_hidden_is_not_read(size):
    x = torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(0))
    hidden = torch.zeros(4, 1, *size)
    for i in range(4):
        hidden[i, :, : 1 + i // 2, i:] = 1
    whole = smooth_fill(x, hidden)
    assert torch.equal(whole, torch.cat([smooth_fill(a[None], b[None]) for a, b in zip(x, hidden, strict=True)]))
    assert torch.equal(whole, smooth_fill(torch.where(hidden > 0, 9.0, x), hidden))


def test_a_picture_without_known_pixels_becomes_zero():
    assert not smooth_fill(torch.ones(1, 3, 8, 8), torch.ones(1, 1, 8, 8)).any()


def smooth_net(seed=0):
    network = ContextualAttentionNet(4, (2,), smooth=True)
    start(network, torch.Generator().manual_seed(seed))
    return network


def test_a_fresh_network_gives_its_smooth_start():
    x, hidden = picture(1, 2), hole(2, 24, 20, 5, 6, 13, 17)
    coarse, refined = smooth_net()(x, hidden)
    expected = torch.where(hidden > 0, (smooth_fill(x * (1 - hidden), hidden)), x)
    torch.testing.assert_close(refined, expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(coarse, expected, atol=2e-6, rtol=0)


def test_known_pixels_stay_in_both_stages():
    """A residual that is paid for outside the hole, too, is pinned at 0: the absolute value has a corner there."""
    network, hidden = smooth_net(), hole(2, 24, 20, 5, 6, 13, 17)
    for stage in (network.coarse, network.merging):
        torch.nn.init.normal_(stage[-1].weight, generator=torch.Generator().manual_seed(1))
    x = picture(1, 2)
    for out in network(x, hidden):
        torch.testing.assert_close(out * (1 - hidden), x * (1 - hidden), atol=1e-6, rtol=0)
        assert ((out - x).abs() * hidden).max() > 0.1


def test_every_parameter_of_it_learns_after_the_last_layers_did():
    network = smooth_net()
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    x, hidden = picture(2, 2, 64, 64), hole(2, 64, 64, 5, 6, 17, 17)  # in smaller ones attention may see no key
    for _ in range(2):
        optimiser.zero_grad()
        sum((out - 0.5).abs().mean() for out in network(x, hidden)).backward()
        optimiser.step()
    assert [name for name, w in network.named_parameters() if not w.grad.abs().sum() > 0] == []


def test_what_is_hidden_is_not_read_by_the_network():
    network, hidden = smooth_net(), hole(1, 24, 20, 5, 6, 13, 17)
    torch.nn.init.normal_(network.merging[-1].weight, generator=torch.Generator().manual_seed(1))
    x = picture(3)
    assert torch.equal(network.fill(x, hidden) * hidden, network.fill(torch.where(hidden > 0, 0.9, x), hidden) * hidden)


def relaxed_everywhere(x, hidden):
    """The same fill, with every pixel relaxed and the known ones put back."""
    visible = 1 - hidden
    height, width = x.shape[2:]
    if height == width == 1:
        return x * visible
    even = (0, width % 2, 0, height % 2)
    weight = F.avg_pool2d(F.pad(visible, even), 2)
    mean = F.avg_pool2d(F.pad(x * visible, even), 2) / weight.clamp(min=1e-6)
    smaller = relaxed_everywhere(mean, (weight == 0).to(x.dtype))
    doubled = F.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False)[:, :, :height, :width]
    filled = torch.where(visible > 0, x, doubled)
    for _ in range(RELAXATIONS):
        wide = F.pad(filled, (1, 1, 1, 1), mode="replicate")
        sides = (wide[:, :, :-2, 1:-1], wide[:, :, 2:, 1:-1], wide[:, :, 1:-1, :-2], wide[:, :, 1:-1, 2:])
        filled = torch.where(visible > 0, x, (sides[0] + sides[1] + sides[2] + sides[3]) / 4)
    return filled


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_part_relaxed_is_all_of_it_relaxed(data):
    """Bit by bit, for rectangles and for holes of any form."""
    n, height, width, seed = (data.draw(st.integers(1, most)) for most in (2, 40, 40, 10**6))
    generator = torch.Generator().manual_seed(seed)
    x, hidden = torch.rand(n, 3, height, width, generator=generator), torch.zeros(n, 1, height, width)
    for i in range(n):
        x0, y0 = data.draw(st.integers(0, width)), data.draw(st.integers(0, height))
        hidden[i, :, y0 : data.draw(st.integers(y0, height)), x0 : data.draw(st.integers(x0, width))] = 1
    if data.draw(st.booleans()):
        hidden *= (torch.rand(hidden.shape, generator=generator) > 0.3).float()
    assert torch.equal(smooth_fill(x, hidden), relaxed_everywhere(x, hidden))
