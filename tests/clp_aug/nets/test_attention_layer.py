"""Attention against one picture at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from clp_aug.nets.attention_layer import contextual_attention, diagonal_sum
from clp_aug.nets.layouts import LAYOUTS
from tests.clp_aug.nets.contextual import BOXES, HEIGHT, WIDTH, holes, seeded


def nearest_by_formula(x, height, width, aligned):
    """One pixel at a time."""

    def source(i, before, after):
        if not aligned:
            return math.floor(i * before / after)
        return math.floor(i * (before - 1) / max(after - 1, 1) + 0.5)

    rows = [source(i, x.shape[2], height) for i in range(height)]
    columns = [source(j, x.shape[3], width) for j in range(width)]
    out = x.new_empty(*x.shape[:2], height, width)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            out[:, :, i, j] = x[:, :, row, column]
    return out


def patches_of(x, side, step, count_y, count_x):
    """Patches as kernels, (L, C, side, side), of one picture (1, C, h, w) with a border of one zero."""
    x = F.pad(x, (1, 1, 1, 1))[0]
    return torch.stack(
        [x[:, step * i : step * i + side, step * j : step * j + side] for i in range(count_y) for j in range(count_x)]
    )


def attention_one_at_a_time(features, hole, aligned):
    """The published form: patches are kernels, of a convolution that compares and of a transposed one that pastes."""
    (height, width), results = features.shape[2:], []
    rows, columns = height // 2, width // 2
    identity = torch.eye(3, dtype=features.dtype)[None, None]
    for f, hidden in zip(features.split(1), hole.split(1), strict=True):
        hidden = nearest_by_formula(hidden, height, width, aligned)
        hidden = nearest_by_formula(hidden, rows, columns, aligned)
        valid = torch.stack([patch.sum() == 0 for patch in patches_of(hidden, 3, 1, rows, columns)]).to(f.dtype)
        small = nearest_by_formula(f, rows, columns, aligned)
        kernels = patches_of(small, 3, 1, rows, columns)
        kernels = torch.stack([kernel / max(kernel.square().sum().sqrt(), 1e-4) for kernel in kernels])
        scores = F.conv2d(small, kernels, padding=1)  # 1 x keys x rows x columns of queries
        table = F.conv2d(scores.reshape(1, 1, rows * columns, rows * columns), identity, padding=1)
        table = table.reshape(rows, columns, rows, columns).permute(1, 0, 3, 2)
        table = F.conv2d(table.reshape(1, 1, rows * columns, rows * columns), identity, padding=1)
        table = table.reshape(columns, rows, columns, rows).permute(1, 0, 3, 2)
        table = table.reshape(1, rows * columns, rows, columns) * valid[None, :, None, None]
        weights = torch.softmax(10 * table, 1) * valid[None, :, None, None]
        pasted = F.conv_transpose2d(weights, patches_of(f, 4, 2, rows, columns), stride=2, padding=1)
        results.append(pasted / 4)
    return torch.cat(results)


@pytest.mark.parametrize("layout", ["own", "tf"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_attention_is_the_one_of_each_picture(layout, dtype, tolerance):
    boxes = BOXES.values()
    features = torch.rand(len(boxes), 5, HEIGHT // 4, WIDTH // 4, generator=seeded(), dtype=dtype) / 2
    hole = holes(*boxes, dtype=dtype)
    found = contextual_attention(features, hole, LAYOUTS[layout])
    expected = attention_one_at_a_time(features, hole, LAYOUTS[layout].aligned)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    assert found.isfinite().all()
    assert not found[list(BOXES).index("whole")].any(), "no key, no features"
    assert found[list(BOXES).index("inside")].abs().max() > 0.1


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 999),
    st.sampled_from(["own", "tf"]),
    st.sampled_from([1, 1e-5]),
)
def test_attention_of_other_sizes(rows, columns, seed, layout, scale):
    """And of features so small that their norm is not divided by."""
    generator = seeded(seed)
    features = torch.randn(2, 3, 2 * rows, 2 * columns, generator=generator, dtype=torch.float64) * scale
    hole = (torch.rand(2, 1, 8 * rows, 8 * columns, generator=generator) < 0.1).double()
    found = contextual_attention(features, hole, LAYOUTS[layout])
    torch.testing.assert_close(
        found, attention_one_at_a_time(features, hole, LAYOUTS[layout].aligned), atol=1e-12, rtol=0
    )


def test_attention_copies_the_patch_that_looks_alike():
    """A texture of period 4 under a hole comes back: its patches elsewhere have the highest scores."""
    texture = torch.rand(1, 6, 4, 4, generator=seeded()) * 3
    features = texture.repeat(1, 1, 6, 6)
    hole = holes((40, 40, 56, 56), height=96, width=96)
    found = contextual_attention(features, hole, LAYOUTS["own"])[:, :, 10:14, 10:14]
    torch.testing.assert_close(found, features[:, :, 10:14, 10:14], atol=0.02, rtol=0)


def test_gradients_of_attention():
    features = torch.rand(2, 2, 4, 6, generator=seeded(), dtype=torch.float64, requires_grad=True)
    hole = holes((3, 2, 9, 5), (0, 0, 24, 16), height=16, width=24, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: contextual_attention(f, hole, LAYOUTS["own"]), (features,))


def test_gradients_are_finite_where_nothing_is_seen_or_known():
    features = torch.zeros(2, 3, 4, 4, requires_grad=True)
    hole = holes((0, 0, 0, 0), (0, 0, 16, 16), height=16, width=16)
    contextual_attention(features, hole, LAYOUTS["own"]).sum().backward()
    assert features.grad.isfinite().all()


def test_diagonal_sum_is_a_convolution_with_the_identity():
    scores = torch.randn(2, 7, 7, generator=seeded(), dtype=torch.float64)
    expected = F.conv2d(scores[:, None], torch.eye(3, dtype=torch.float64)[None, None], padding=1)[:, 0]
    torch.testing.assert_close(diagonal_sum(scores), expected)
