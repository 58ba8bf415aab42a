"""What ranks do without others at hand: shares of a batch, batch norm's formula beside torch's, one process alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from clp_aug.contract.errors import ClpError, GapTooLarge, UsageError
from clp_train.ranks import batch_norm, launching
from clp_train.ranks.agreement import check_same, require_enough, said_by_first, together
from clp_train.ranks.batch_norm import WholeBatch
from clp_train.ranks.splitting import own_passes, passes_of, split_passes, whole_passes
from clp_train.ranks.team import ALONE, Ranks


@given(st.integers(0, 60), st.integers(1, 9))
def test_shares_are_the_batch_in_order_and_even(pictures, size):
    shares = [Ranks(rank, size).share(pictures) for rank in range(size)]
    if size == 1 or pictures < size:
        assert shares == [None] * size
        return
    rows = [row for share in shares for row in range(pictures)[share.rows]]
    assert rows == list(range(pictures))
    assert {share.counts for share in shares} == {shares[0].counts}
    assert max(shares[0].counts) - min(shares[0].counts) <= 1


def test_one_process_gives_back_what_it_is_given():
    tensors = [torch.ones(2), torch.zeros(3)]
    assert all(a is b for a, b in zip(ALONE.average(tensors), tensors, strict=True))
    assert ALONE.texts("a") == ["a"]
    assert said_by_first(ALONE, "b") == "b"
    check_same(ALONE, {"x": object()})
    network = nn.BatchNorm2d(3)
    before = network.running_mean
    ALONE.even_out(network)
    assert network.running_mean is before
    with split_passes(network, ALONE), whole_passes(network), own_passes(network, None):
        assert passes_of(network) is None
    with pytest.raises(UsageError, match=r"^batch_size 0: a batch has fewer pictures"), together(ALONE):
        require_enough(ALONE, "batch_size", 0, "a batch")


@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (7, 3), (5, 3, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_torch_s_with_all_its_derivatives(shape, affine, monkeypatch):
    monkeypatch.setattr(batch_norm, "stacked", lambda values: values[None])  # of one rank
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    kept = [torch.rand(3, generator=generator, dtype=torch.float64) for _ in range(4)]
    found = []
    for whole in (False, True):
        mean, variance = kept[0].clone(), kept[1].clone()
        scale = [part.clone().requires_grad_() for part in kept[2:]] if affine else [None, None]
        arguments = (x, mean, variance, *scale, True, 0.3, 1e-3)
        if whole:
            with WholeBatch((len(x),), 0):
                y = F.batch_norm(*arguments)
        else:
            y = F.batch_norm(*arguments)
        leaves = [x, *(part for part in scale if part is not None)]
        first = torch.autograd.grad((y**3).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), leaves)
        found.append([y, mean, variance, *first, *second])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_in_evaluation_mode_it_is_torch_s():
    x, mean, variance = torch.randn(4, 3), torch.zeros(3), torch.ones(3)
    with WholeBatch((4, 4), 1):
        y = F.batch_norm(x, mean, variance)
    assert torch.equal(y, F.batch_norm(x, mean, variance))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SystemExit(7), 7),
        (SystemExit("a"), 1),
        (KeyboardInterrupt(), 130),
        (GapTooLarge("a"), 5),
        (ClpError("a"), 3),
        (ValueError(), 3),
    ],
    ids=repr,
)
def test_a_rank_that_says_nothing_ends_with_the_same_code(error, code):
    assert launching.code_of(error) == code
