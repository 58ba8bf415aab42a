"""GLC against its paper's formulas, picture by picture."""

import math

import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.objective import Terms, sample_losses
from clp_train.methods.parts.noisy_losses import corrected_cross_entropy, estimate_transition
from tests.clp_train.builders import config_of, generator, method_of
from tests.clp_train.methods.head_alone import HeadAlone
from tests.clp_train.methods.reweighting_cases import logits_view, meta_scores, with_meta
from tests.clp_train.methods.shared_cases import probabilities

SOMEWHERE = HeadAlone(torch.nn.Linear(2, 2))

ORACLES = ("glc",)


def corrected(n, smoothing=0.0, seed=0):
    """GLC in its second stage, the logits of its clean pictures, and a random batch of both kinds."""
    g = generator(seed)
    clean_label = torch.tensor([0, 2, 1, 2, 2, 0])
    gold = 2 * torch.randn(6, 3, generator=g, dtype=torch.float64)
    method = method_of("glc", with_meta(clean_label.tolist()), {"smoothing": smoothing})
    method.begin_stage(1, meta_scores(gold))
    method.enter(1, SOMEWHERE)
    logits, label = 2 * torch.randn(n, 3, generator=g, dtype=torch.float64), torch.randint(3, (n,), generator=g)
    return method, gold, clean_label, logits_view(logits, label, torch.randint(18, (n,), generator=g))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("n", [1, 2, 30])
def test_glc_is_by_hand(n, smoothing):
    for seed in range(5):
        method, gold, clean_label, view = corrected(n, smoothing, seed)
        matrix = [[0.0] * 3 for _ in range(3)]
        for row, y in zip(gold.tolist(), clean_label.tolist(), strict=True):
            for k, p in enumerate(probabilities(row)):
                matrix[y][k] += p / clean_label.tolist().count(y)
        matrix = [[(1 - smoothing) * t + smoothing / 3 for t in row] for row in matrix]
        torch.testing.assert_close(method.transition, torch.tensor(matrix, dtype=torch.float64))
        assert method.transition.sum(1).tolist() == pytest.approx([1, 1, 1])
        expected = []
        for row, y, at in zip(view.logits.tolist(), view.label.tolist(), view.row.tolist(), strict=True):
            p = probabilities(row)
            seen = p[y] if at >= 12 else sum(p[k] * matrix[k][y] for k in range(3))  # 12 noisy pictures come first
            expected.append(-math.log(seen))
        found = sample_losses(view.logits, view.label, method.terms(view))
        assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_glc_with_the_identity_is_cross_entropy():
    logits, label = 3 * torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 4
    found = corrected_cross_entropy(logits, label, torch.eye(4))
    torch.testing.assert_close(found, F.cross_entropy(logits, label, reduction="none"))
    far = torch.tensor([[1e4, 0.0], [0.0, 1e4]]).requires_grad_()
    losses = corrected_cross_entropy(far, torch.tensor([1, 1]), torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    assert losses.isfinite().all()
    assert torch.autograd.grad(losses.sum(), far)[0].isfinite().all()


def test_glc_is_plain_in_its_first_stage_and_starts_anew_for_its_second():
    method = method_of("glc", with_meta())
    method.enter(0, SOMEWHERE)
    assert method.terms(logits_view(torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([0, 17]))) == Terms()
    first, second = method.stages
    assert (first.stream, second.stream, second.restart) == ("train", "both", True)


def test_glc_finds_the_noise_that_was_put_in():
    """A perfect classifier of the noisy labels shows the matrix itself."""
    matrix = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0], [0.2, 0.3, 0.5]], dtype=torch.float64)
    clean = torch.arange(9) % 3
    found = estimate_transition(matrix[clean], clean, 3)
    torch.testing.assert_close(found, matrix)


def test_glc_refuses():
    with pytest.raises(UsageError) as error:
        method_of("glc", with_meta((0, 0, 2)))
    assert str(error.value) == (
        "method = glc: no meta picture of class fox; expected at least one of each class; make the shard with --meta"
        " N/class"
    )
    with pytest.raises(UsageError, match=r"smoothing = 2\.0: expected a number from 0 to 1"):
        config_of("glc", options={"smoothing": 2.0})
