"""Our convolution, batch norm and ReLU against plain torch: values, first and second derivatives, in float64."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from clp_train.algorithm import second_order as module
from clp_train.algorithm.second_order import BatchNorm, Convolution, Relu, input_gradient, second_order

EXACT = {"rtol": 1e-9, "atol": 1e-9}
MODE = SimpleNamespace(inputs_only=False)


def draw(seed):
    """Return functions (shape) -> float64 noise and (low, high) -> a whole number in [low, high]."""
    generator = torch.Generator().manual_seed(seed)
    return (
        lambda *shape: torch.randn(shape, dtype=torch.float64, generator=generator),
        lambda low, high: int(torch.randint(low, high + 1, (), generator=generator)),
    )


def a_convolution(seed):
    """Return random input and weight and a geometry that gives at least one output pixel; kernels may be even."""
    noise, number = draw(seed)
    groups = number(1, 3)
    planes_in, planes = groups * number(1, 2), groups * number(1, 3)
    kernel, stride, dilation = ((number(1, 3), number(1, 3)) for _ in range(3))
    padding = (number(0, 2), number(0, 2))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [max(1, span - 2 * p) + number(0, 4) for span, p in zip(spans, padding, strict=True)]
    x, weight = noise(number(1, 3), planes_in, *size), noise(planes, planes_in // groups, *kernel)
    return x, weight, noise(planes), (stride, padding, dilation, groups)


def derivatives(function, inputs, seed, of=None):
    """Return values, first gradients, and the gradients of a random function of the first gradients.

    of: which of the first gradients that function looks at, None for all; the last gradients are with respect to the
    inputs and to the cotangent of the output.
    """
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    y = function(*inputs)
    noise, _ = draw(seed)
    gy = noise(*y.shape).requires_grad_()
    first = torch.autograd.grad(y, inputs, gy, create_graph=True)
    chosen = [g for i, g in enumerate(first) if of is None or i in of]
    scalar = sum((g * noise(*g.shape)).sum() + g.square().sum() / 7 for g in chosen)
    second = torch.autograd.grad(scalar, (*inputs, gy), materialize_grads=True, allow_unused=True)
    return [y, *first, *second]


def assert_agree(found, expected, **tolerance):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **(tolerance or EXACT))


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("seed", range(25))
def test_convolution(seed, bias):
    x, weight, b, geometry = a_convolution(seed)
    inputs = (x, weight, b) if bias else (x, weight)

    def ours(x, weight, b=None):
        return Convolution.apply(x, weight, b, geometry, MODE)

    def plain(x, weight, b=None):
        return torch.conv2d(x, weight, b, *geometry)

    for of in [None, *((i,) for i in range(len(inputs)))]:
        assert_agree(derivatives(ours, inputs, seed, of), derivatives(plain, inputs, seed, of))


@pytest.mark.parametrize("seed", range(4))
def test_convolution_by_finite_differences(seed):
    x, weight, b, geometry = a_convolution(100 + seed)
    inputs = [value.requires_grad_() for value in (x, weight, b)]
    assert torch.autograd.gradgradcheck(lambda x, w, b: Convolution.apply(x, w, b, geometry, MODE), inputs)


def a_batch_norm(seed):
    """Return input, gamma of both signs and away from 0, beta, running mean and variance, momentum, eps."""
    noise, number = draw(seed)
    shape = (number(2, 4), number(1, 4), number(1, 4), number(1, 4))
    planes = shape[1]
    gamma = noise(planes)
    gamma = gamma.sign() * (0.2 + gamma.abs())
    x = 3 * noise(*shape) + 5 * noise(planes, 1, 1)
    running = (noise(planes), 0.1 + noise(planes).square())
    return x, gamma, noise(planes), running, number(1, 9) / 10, 10.0 ** -number(1, 5)


@pytest.fixture(params=[True, False], ids=["divides", "never divides"])
def _form(request, monkeypatch):
    """The form of batch norm's second derivative: of a CPU, and of other devices."""
    monkeypatch.setattr(module, "divides_by_gamma", lambda gamma: request.param)


@pytest.mark.usefixtures("_form")
@pytest.mark.parametrize("kept", [False, True], ids=["no statistics", "statistics"])
@pytest.mark.parametrize("seed", range(25))
def test_batch_norm(seed, kept):
    x, gamma, beta, running, momentum, eps = a_batch_norm(seed)
    inputs = (x, gamma, beta)
    for of in (None, (0,), (1,), (2,)):
        mine, torchs = (tuple(v.clone() for v in running) if kept else (None, None) for _ in range(2))
        found = derivatives(lambda x, g, b, s=mine: BatchNorm.apply(x, g, b, s, momentum, eps), inputs, seed, of)
        expected = derivatives(
            lambda x, g, b, s=torchs: F.batch_norm(x, *s, g, b, True, momentum, eps), inputs, seed, of
        )
        assert_agree(found, expected, rtol=1e-9, atol=1e-9 * max(1.0, expected[4].abs().max().item()))
        if kept:
            assert_agree(mine, torchs)
            assert not torch.equal(mine[0], running[0])


@pytest.mark.usefixtures("_form")
@pytest.mark.parametrize("seed", range(4))
def test_batch_norm_by_finite_differences(seed):
    x, gamma, beta, _, momentum, _ = a_batch_norm(100 + seed)
    inputs = [value.requires_grad_() for value in (x, gamma, beta)]
    assert torch.autograd.gradgradcheck(lambda x, g, b: BatchNorm.apply(x, g, b, (None, None), momentum, 0.1), inputs)


@pytest.mark.parametrize("seed", range(10))
def test_batch_norm_by_running_statistics(seed):
    x, gamma, beta, running, momentum, eps = a_batch_norm(seed)
    before = tuple(v.clone() for v in running)

    def ours(x, gamma, beta):
        return module._batch_norm(x, *running, gamma, beta, False, momentum, eps)

    def plain(x, gamma, beta):
        return F.batch_norm(x, *running, gamma, beta, False, momentum, eps)

    assert_agree(derivatives(ours, (x, gamma, beta), seed), derivatives(plain, (x, gamma, beta), seed))
    assert all(torch.equal(a, b) for a, b in zip(running, before, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_relu(seed):
    """At exactly 0 too, where torch takes 0; number by number."""
    noise, _ = draw(seed)
    x = noise(3, 4, 5)
    x[0] = 0
    ours, torchs = (derivatives(relu, [x], seed) for relu in (Relu.apply, F.relu))
    for a, b in zip(ours, torchs, strict=True):
        assert torch.equal(a, b)


def test_relu_takes_no_part_where_it_works_in_place():
    x = torch.tensor([-1.0, 2.0])
    with second_order():
        assert "Relu" in type(F.relu(x.clone().requires_grad_()).grad_fn).__name__
        torch.nn.ReLU(inplace=True)(x)
    assert x.tolist() == [0, 2]


def test_a_third_derivative_is_refused_rather_than_wrong():
    x, gamma, beta, _, _, eps = a_batch_norm(3)
    x = x.requires_grad_()
    y = BatchNorm.apply(x, gamma.requires_grad_(), beta, (None, None), 0.1, eps)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="batch norm has no third derivative, here as in torch"):
        torch.autograd.grad(first.square().sum(), x, create_graph=True)


def in_mode(function):
    """Return the function with its forward pass in a mode of its own."""

    def inside(*inputs):
        with second_order():
            return function(*inputs)

    return inside


CALLS = {  # that differ from the usual ones; all of x (2, 4, 5, 6), weight (4, 4, 3, 2), gamma, beta (4,)
    "uneven padding": lambda x, w, g, b: F.conv2d(x, w, padding="same"),
    "valid padding": lambda x, w, g, b: F.conv2d(x, w, padding="valid"),
    "one picture": lambda x, w, g, b: F.conv2d(x[0], w, padding=1),
    "by keywords": lambda x, w, g, b: F.conv2d(input=x, weight=w, bias=b, stride=(2, 1), padding=1),
    "whole numbers": lambda x, w, g, b: F.conv2d(x, w, b, 2, 1, 2),
    "batch norm by keywords": lambda x, w, g, b: F.batch_norm(
        input=x, running_mean=None, running_var=None, weight=g, bias=b, training=True
    ),
    "vectors": lambda x, w, g, b: F.batch_norm(x.mean((2, 3)), None, None, g, b, True),
    "no scale and shift": lambda x, w, g, b: F.batch_norm(x, None, None, None, None, True),
    "gamma of zero": lambda x, w, g, b: F.batch_norm(x, None, None, g * torch.tensor([1, 0, 1, 1]), b, True),
    "a layer": lambda x, w, g, b: F.relu(F.batch_norm(F.conv2d(x, w), None, None, g, b, True)).mean((2, 3)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own, of even kernels
@pytest.mark.parametrize("call", CALLS)
def test_within_the_mode_every_call_is_torchs(call):
    noise, _ = draw(5)
    inputs = noise(2, 4, 5, 6), noise(4, 4, 3, 2), noise(4), noise(4)
    plain = CALLS[call]

    def with_all(*inputs):  # so that each input has a gradient, whatever the call looks at
        return plain(*inputs) + sum(v.square().sum() for v in inputs)

    found, expected = derivatives(in_mode(with_all), inputs, 5), derivatives(with_all, inputs, 5)
    assert all(value.isfinite().all() for value in found)
    assert_agree(found, expected)


def test_memory_formats_do_not_matter():
    noise, _ = draw(6)
    x, w, g, b = noise(2, 4, 5, 6), noise(4, 4, 3, 3), noise(4), noise(4)

    def layer(x, w, g, b):
        return F.batch_norm(F.conv2d(x, w, padding=1), None, None, g, b, True)

    def last(x, w, g, b):
        return layer(x.contiguous(memory_format=torch.channels_last), w, g, b)

    assert_agree(derivatives(in_mode(last), (x, w, g, b), 6), derivatives(layer, (x, w, g, b), 6))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)], ids=str)
def test_other_types(dtype, tolerance):
    """Against the same numbers in float64; the smooth network has no kinks that rounding could cross."""
    noise, _ = draw(7)
    inputs = [v.to(dtype) for v in (noise(4, 3, 6, 6), noise(4, 3, 3, 3), 1 + noise(4).abs(), noise(4))]

    def layer(x, w, g, b):
        return F.batch_norm(F.conv2d(x, w, padding=1), None, None, g, b, True).tanh()

    def penalty_gradient(inputs, ours):
        x, *weights = (v.detach().clone().requires_grad_() for v in inputs)
        twice = second_order()
        with twice:
            y = layer(x, *weights)
        gradient = (twice.input_gradient if ours else input_gradient)(y.square().sum(), x)
        return torch.autograd.grad(gradient.square().sum(), weights)

    found = penalty_gradient(inputs, True)
    expected = penalty_gradient([v.double() for v in inputs], True)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        assert (a.double() - b).norm() <= tolerance * b.norm()
