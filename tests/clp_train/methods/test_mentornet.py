"""MentorNet's curricula against slow versions of its paper's formulas."""

import math

import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.methods.mentornet import kept_pictures, nearest_quantile, predefined_weights
from tests.clp_train.builders import config_of, generator, load, method_of
from tests.clp_train.methods.head_alone import HeadAlone
from tests.clp_train.methods.reweighting_cases import logits_view, meta_scores, with_meta
from tests.clp_train.methods.shared_cases import probabilities
from tests.clp_train.resuming import Killed, assert_same, killable, short

SOMEWHERE = HeadAlone(torch.nn.Linear(2, 2))

ORACLES = ("mentornet",)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 4.0])
def test_the_predefined_weights_minimise_their_objective(gamma):
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)
    g = generator(0)
    for _ in range(50):
        loss, typical = (2 * torch.rand(2, generator=g, dtype=torch.float64)).tolist()
        value = grid * loss + gamma / 2 * grid**2 - (typical + gamma) * grid
        found = predefined_weights(torch.tensor([loss - typical], dtype=torch.float64), gamma).item()
        assert found == pytest.approx(grid[value.argmin()].item(), abs=5.1e-4)
    assert predefined_weights(torch.zeros(1), gamma).item() == 1


def mentored(seed, n, progress, before=(), **options):
    """Return the weights of a batch, and its losses; before: progress of earlier batches."""
    method = method_of("mentornet", with_meta(), options)
    for i, at in enumerate((*before, progress)):
        g = generator(100 * seed + i)
        logits, label = 2 * torch.randn(n, 3, generator=g, dtype=torch.float64), torch.randint(3, (n,), generator=g)
        view = logits_view(logits, label, torch.arange(n), at)
        method.observe(view)
    losses = [-math.log(probabilities(row)[y]) for row, y in zip(logits.tolist(), label.tolist(), strict=True)]
    return method, method.terms(view).weight.tolist(), losses


def quantile(values, share):
    """The value whose rank, from the largest, is nearest to the quantile's; of two as near, the one of even rank."""
    at = (1 - share) * (len(values) - 1)
    rank = min(range(len(values)), key=lambda k: (abs(k - at), k % 2))
    return sorted(values, reverse=True)[rank]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.75, 0.9, 1.0])
def test_the_quantile_is_the_nearest_loss(share):
    for n in range(1, 40):
        losses = torch.rand(n, generator=generator(n), dtype=torch.float64)
        assert nearest_quantile(losses, share).item() == quantile(losses.tolist(), share)
    assert nearest_quantile(torch.arange(16.0), 0.75) == 11  # rank 3.75 from the top: 12 of 16 are as small
    assert nearest_quantile(torch.arange(128.0), 0.5) == 63


def test_the_kept_pictures_are_counted_down():
    assert [kept_pictures(0.05, n) for n in (128, 16, 20, 1)] == [121, 15, 19, 1]
    assert [kept_pictures(0.5, n) for n in (128, 15, 1)] == [64, 7, 1]
    assert kept_pictures(0.9, 100) == 10
    for n in range(2, 1000):
        assert kept_pictures(0.05, n) == int(n * (1 - 0.05))
        assert kept_pictures(0.5, n) == int(n * (1 - 0.5))


def test_the_burn_in_is_that_of_epochs_0_to_18_of_100():
    method = method_of("mentornet", with_meta())
    losses, excess = torch.ones(100), torch.full((100,), 9.0)
    burning = [epoch for epoch in range(100) if method.weights(losses, excess, epoch / 100).all()]
    assert burning == list(range(19))


@pytest.mark.parametrize("n", [1, 2, 11])
@pytest.mark.parametrize("progress", [0.0, 0.17, 0.18, 0.19, 0.5, 0.9, 0.99])
def test_the_curriculum_is_by_hand(n, progress):
    for seed in range(5):
        _, weights, losses = mentored(seed, n, progress, early_dropout=0.0, dropout=0.0)
        typical = quantile(losses, 0.75)
        if progress < 0.19:
            expected = [1.0] * n
        elif progress < 0.9:
            expected = [float(loss <= typical + 1e-12) for loss in losses]
        else:
            expected = [min(max(1 - (loss - typical), 0), 1) for loss in losses]
        assert weights == pytest.approx(expected)


def test_the_typical_loss_is_a_moving_average():
    typical = None
    for i in range(4):
        method, _, losses = mentored(0, 9, 0.5, (0.5,) * i, decay=0.8, percentile=0.3)
        now = quantile(losses, 0.3)
        typical = now if typical is None else 0.8 * typical + 0.2 * now
        assert method.typical == pytest.approx(typical)


@pytest.mark.parametrize(("progress", "left_out"), [(0.0, 10), (0.17, 4)])
def test_dropout_leaves_out_its_share_and_changes_from_step_to_step(progress, left_out):
    seen = set()
    for before in ((), (0.0,), (0.0, 0.0)):
        _, weights, _ = mentored(0, 20, progress, before, dropout=0.2)
        assert weights.count(0.0) == left_out
        assert weights.count(1.0) == 20 - left_out
        seen.add(tuple(weights))
    assert len(seen) == 3
    assert mentored(0, 1, 0.0, early_dropout=0.9)[1] == [1.0]  # one picture is never left out


def data_driven(seed=0, classes=3):
    """A mentor fitted to clean pictures that a good but unsure classifier sees."""
    g = generator(seed)
    clean = torch.arange(300) % classes
    method = method_of("mentornet", with_meta(clean.tolist()), {"curriculum": "dd"})
    logits = torch.randn(300, classes, generator=g) + 2.5 * F.one_hot(clean, classes)
    method.begin_stage(1, meta_scores(logits))
    method.enter(1, SOMEWHERE)
    return method


def test_the_data_driven_mentor_distrusts_large_losses():
    method = data_driven()
    losses = torch.tensor([0.05, 0.2, 3.0, 5.0])
    weights = method.weights(losses, losses - 0.6, 0.5)
    assert (weights[:2] > 0.8).all()
    assert (weights[2:] < 0.3).all()
    assert method.weights(losses, losses - 0.6, 0.0).equal(weights)  # the stage counts, not the progress
    assert method.weights(losses.double(), losses.double() - 0.6, 0.5).dtype == torch.float64
    method.enter(0, SOMEWHERE)
    assert method.weights(losses, losses - 0.6, 0.5).tolist() == [1, 1, 1, 1]


def test_the_data_driven_mentor_is_fitted_once_the_same_way_and_saved():
    first, second = data_driven().state_dict(), data_driven().state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items() if name.startswith("mentor."))
    other = method_of("mentornet", with_meta(), {"curriculum": "dd"})
    other.load_state_dict(first)
    assert all(torch.equal(value, first[name]) for name, value in other.state_dict().items() if name != "typical")


@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"curriculum": "dd", "burn_in": 0.5}])
def test_mentornet_killed_in_any_epoch_goes_on(demo_shard, tmp_path, options):
    loaded = load(config_of(meta=demo_shard))
    settings = {"method": "mentornet", "epochs": 4, "options": options}
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded)
    for kill_at in (3, 9, 14):
        config = short(demo_shard, tmp_path / str(kill_at), **settings)
        with pytest.raises(Killed):
            killable(config, loaded, kill_at)
        assert_same(killable(config, loaded, resume=True), whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curriculum": "self"}, "curriculum = self: expected one of pd, dd"),
        ({"percentile": 1.5}, "percentile = 1.5: expected a number from 0 to 1"),
        ({"decay": 1.0}, "decay = 1.0: expected a number >= 0 and < 1"),
        ({"dropout": 1.0}, "dropout = 1.0: expected a number >= 0 and < 1"),
        ({"gamma": -1.0}, "gamma = -1.0: expected a number >= 0"),
        (
            {"curriculum": "dd", "burn_in": 0.0},
            "burn_in = 0.0: curriculum dd expects a number from 0.01 to 0.99, the epochs before it is fitted",
        ),
    ],
)
def test_mentornet_refuses(options, message):
    with pytest.raises(UsageError) as error:
        config_of("mentornet", options=options)
    assert str(error.value) == message


def test_the_data_driven_mentor_needs_clean_pictures_of_every_class():
    with pytest.raises(
        UsageError, match=r"method = mentornet: no meta picture of class owl; expected at least one of each"
    ):
        method_of("mentornet", with_meta((0, 1, 1)), {"curriculum": "dd"})
    method_of("mentornet", with_meta((0, 1, 1)))
