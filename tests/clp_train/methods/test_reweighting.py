"""L2RW, GLC, MentorNet and MFRW-MES against slow versions of their papers' formulas."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train import data
from clp_train.characteristics import View
from clp_train.config import TrainConfig
from clp_train.data import Batch
from clp_train.methods import build_method
from clp_train.methods.base import TrainTable
from clp_train.methods.mentornet import predefined
from clp_train.models import build_model
from clp_train.models.parts import Output
from clp_train.noisy_losses import corrected_cross_entropy, estimated_transition
from clp_train.objective import Terms, sample_losses
from clp_train.optimiser import build_optimiser
from clp_train.step import train_step
from tests.clp_train.methods.test_noise_losses import probabilities
from tests.clp_train.test_checkpoint import Killed, assert_same, config_for, train

ORACLES = ("l2rw", "glc", "mentornet", "mfrw-mes")


def config_of(name, options=None, **settings):
    return TrainConfig(meta=Path("x.h5"), method=name, options=options or {}, **settings)


def table_of(meta_label=(0, 1, 2), **known):
    label = torch.arange(12) % 3
    return TrainTable(label, label, 3, 3, ("cat", "fox", "owl"), torch.tensor(meta_label), **known)


def method_of(name, options=None, table=None, **settings):
    return build_method(config_of(name, options, **settings), table or table_of(), torch.Generator().manual_seed(0))


def network_of(seed=0):
    return build_model("resnet8", 3, [0.5] * 3, [0.25] * 3, torch.Generator().manual_seed(seed)).double().train()


def batch_of(n=7, seed=0):
    g = torch.Generator().manual_seed(seed)
    images, label = torch.rand(n, 3, 8, 8, dtype=torch.float64, generator=g), torch.randint(3, (n,), generator=g)
    inside, none = torch.zeros(n, 8, 8, dtype=torch.bool), torch.zeros(n, dtype=torch.uint8)
    return Batch(images, inside, label, label, none, torch.arange(n), torch.arange(n))


def meta_loss_after(network, moves, meta):
    """Return the meta loss once each weight has moved; the network stays as it is."""
    stepped = copy.deepcopy(network)
    with torch.no_grad():
        for w, move in zip(stepped.parameters(), moves, strict=True):
            w += move
        return F.cross_entropy(stepped(meta.images).logits, meta.label).item()


def l2rw_by_hand(network, batch, meta, lr, eps=1e-5):
    """The meta loss once eps of one picture's loss has been stepped along, picture by picture."""
    falls = []
    for i in range(len(batch)):
        trial = copy.deepcopy(network)
        loss = F.cross_entropy(trial(batch.images).logits, batch.label, reduction="none")[i]
        gradients = torch.autograd.grad(loss, list(trial.parameters()))
        ends = [meta_loss_after(network, [-sign * eps * lr * g for g in gradients], meta) for sign in (1, -1)]
        falls.append((ends[0] - ends[1]) / (2 * eps))
    useful = [max(-fall, 0.0) for fall in falls]
    total = sum(useful)
    return [u / (total + (total == 0)) for u in useful]


@pytest.mark.parametrize("mode", ["reference", "forward", "central"])
@pytest.mark.parametrize("n", [2, 7])
def test_l2rw_weights_are_clipped_and_normalised_finite_differences(mode, n):
    for seed in range(2):
        network, batch, meta = network_of(seed), batch_of(n, seed), replace(batch_of(5, seed + 10), row=None)
        config = config_of("l2rw", hypergradient=mode, lr=0.2)
        expected = l2rw_by_hand(network, batch, meta, 0.2)
        method, other = method_of("l2rw"), copy.deepcopy(network)
        train_step(network, method, build_optimiser(network, config), batch, meta, config, 0)
        assert (method.weight / n).tolist() == pytest.approx(expected, abs=2e-4)
        assert sum(expected) == pytest.approx(1)
        assert 0 < sum(w == 0 for w in expected) < n or n == 2  # some are clipped

        optimiser = build_optimiser(other, config)  # the step is that of the weighted sum
        losses = F.cross_entropy(other(batch.images).logits, batch.label, reduction="none")
        (method.weight / n @ losses).backward()
        optimiser.step()
        for a, b in zip(network.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_a_batch_that_only_harms_weighs_nothing_and_moves_nothing():
    network, batch = network_of(), batch_of(1)
    batch = replace(batch, images=batch.images.repeat(3, 1, 1, 1), label=torch.zeros(3, dtype=torch.int64))
    meta = replace(batch, row=None, label=torch.ones(3, dtype=torch.int64))  # the same pictures, labelled otherwise
    config = config_of("l2rw", hypergradient="forward", momentum=0.0, weight_decay=0.0)
    method, before = method_of("l2rw"), copy.deepcopy(network)
    with torch.no_grad():
        network.head.bias[0] += 1.0  # class 0 leads: more of it takes from class 1
    before.load_state_dict(network.state_dict())
    losses = train_step(network, method, build_optimiser(network, config), batch, meta, config, 0)
    assert method.weight.tolist() == [0, 0, 0]
    assert losses.train == 0
    for a, b in zip(network.parameters(), before.parameters(), strict=True):
        assert torch.equal(a, b)


def test_l2rw_weights_by_hand():
    method = method_of("l2rw")
    method.update([torch.tensor([-1.0, 2.0, -3.0])])
    assert method.weight.tolist() == pytest.approx([0.75, 0, 2.25])


def test_without_a_meta_step_all_pictures_weigh_the_same():
    network, batch = network_of(), batch_of()
    config = config_of("l2rw", meta_interval=3)
    method = method_of("l2rw", meta_interval=3)
    for step in range(7):
        meta = replace(batch_of(4, 5), row=None) if step % 3 == 0 else None
        train_step(network, method, build_optimiser(network, config), batch, meta, config, step)
        assert torch.equal(method.weight, torch.ones(7, dtype=torch.float64)) == (meta is None)


def test_l2rw_refuses_a_meta_step_that_comes_too_late():
    message = "--set meta_step=lagged: method l2rw weighs the pictures of the step itself; take --set meta_step=exact"
    with pytest.raises(UsageError) as error:
        method_of("l2rw", meta_step="lagged")
    assert str(error.value) == message


def test_l2rw_resumes_between_two_meta_steps(demo_shard, tmp_path):
    loaded = data.load(TrainConfig(meta=demo_shard))
    whole = train(config_for(demo_shard, tmp_path / "whole", method="l2rw"), loaded)
    config = config_for(demo_shard, tmp_path / "killed", method="l2rw")
    with pytest.raises(Killed):
        train(config, loaded, 4)  # the state is that of step 3, of an interval of 2
    assert_same(train(config, loaded, resume=True), whole)


def scores_of(logits):
    """What `begin_stage` is given: the logits of a stream, as they are."""
    return lambda stream: Output(torch.zeros(len(logits), 4), {"meta": logits}[stream])


def view_of(logits, label, row, progress=0.0):
    return View(logits, torch.zeros(len(label), 4), torch.zeros(3, 4), label, label, row, progress)


def corrected(n, smoothing=0.0, seed=0):
    """GLC in its second stage, the logits of its clean pictures, and a random batch of both kinds."""
    g = torch.Generator().manual_seed(seed)
    clean_label = torch.tensor([0, 2, 1, 2, 2, 0])
    gold = 2 * torch.randn(6, 3, generator=g, dtype=torch.float64)
    method = method_of("glc", {"smoothing": smoothing}, table_of(clean_label.tolist()))
    method.begin_stage(1, scores_of(gold))
    method.enter(1, None)
    logits, label = 2 * torch.randn(n, 3, generator=g, dtype=torch.float64), torch.randint(3, (n,), generator=g)
    return method, gold, clean_label, view_of(logits, label, torch.randint(18, (n,), generator=g))


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
    method = method_of("glc")
    method.enter(0, None)
    assert method.terms(view_of(torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([0, 17]))) == Terms()
    first, second = method.stages
    assert (first.stream, second.stream, second.restart) == ("train", "both", True)


def test_glc_finds_the_noise_that_was_put_in():
    """A perfect classifier of the noisy labels shows the matrix itself."""
    matrix = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0], [0.2, 0.3, 0.5]], dtype=torch.float64)
    clean = torch.arange(9) % 3
    found = estimated_transition(matrix[clean], clean, 3)
    torch.testing.assert_close(found, matrix)


def test_glc_refuses():
    with pytest.raises(UsageError) as error:
        method_of("glc", table=table_of((0, 0, 2)))
    assert str(error.value) == (
        "--method glc: no meta picture of class fox; expected one of each class at least; make the shard with --meta"
        " N/class"
    )
    with pytest.raises(UsageError, match=r"--set smoothing=2\.0: expected a number from 0 to 1"):
        config_of("glc", {"smoothing": 2.0})


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 4.0])
def test_the_predefined_weights_minimise_their_objective(gamma):
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)
    g = torch.Generator().manual_seed(0)
    for _ in range(50):
        loss, typical = (2 * torch.rand(2, generator=g, dtype=torch.float64)).tolist()
        value = grid * loss + gamma / 2 * grid**2 - (typical + gamma) * grid
        found = predefined(torch.tensor([loss - typical], dtype=torch.float64), gamma).item()
        assert found == pytest.approx(grid[value.argmin()].item(), abs=5.1e-4)
    assert predefined(torch.zeros(1), gamma).item() == 1


def mentored(seed, n, progress, before=(), **options):
    """Return the weights of a batch, and its losses; before: progress of earlier batches."""
    method = method_of("mentornet", options)
    for i, at in enumerate((*before, progress)):
        g = torch.Generator().manual_seed(100 * seed + i)
        logits, label = 2 * torch.randn(n, 3, generator=g, dtype=torch.float64), torch.randint(3, (n,), generator=g)
        view = view_of(logits, label, torch.arange(n), at)
        method.observe(view)
    losses = [-math.log(probabilities(row)[y]) for row, y in zip(logits.tolist(), label.tolist(), strict=True)]
    return method, method.terms(view).weight.tolist(), losses


def quantile(values, share):
    """Linear interpolation between the sorted values."""
    at = share * (len(values) - 1)
    low = int(at)
    ordered = sorted(values)
    return ordered[low] + (at - low) * (ordered[min(low + 1, len(values) - 1)] - ordered[low])


@pytest.mark.parametrize("n", [1, 2, 11])
@pytest.mark.parametrize("progress", [0.0, 0.17, 0.18, 0.5, 0.9, 0.99])
def test_the_curriculum_is_by_hand(n, progress):
    for seed in range(5):
        _, weights, losses = mentored(seed, n, progress, early_dropout=0.0, dropout=0.0)
        typical = quantile(losses, 0.75)
        if progress < 0.18:
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
    g = torch.Generator().manual_seed(seed)
    clean = torch.arange(300) % classes
    table = table_of(clean.tolist())
    method = method_of("mentornet", {"curriculum": "dd"}, table)
    logits = torch.randn(300, classes, generator=g) + 2.5 * F.one_hot(clean, classes)
    method.begin_stage(1, scores_of(logits))
    method.enter(1, None)
    return method


def test_the_data_driven_mentor_distrusts_large_losses():
    method = data_driven()
    losses = torch.tensor([0.05, 0.2, 3.0, 5.0])
    weights = method.weights(losses, losses - 0.6, 0.5)
    assert (weights[:2] > 0.8).all()
    assert (weights[2:] < 0.3).all()
    assert method.weights(losses, losses - 0.6, 0.0).equal(weights)  # the stage counts, not the progress
    assert method.weights(losses.double(), losses.double() - 0.6, 0.5).dtype == torch.float64
    method.enter(0, None)
    assert method.weights(losses, losses - 0.6, 0.5).tolist() == [1, 1, 1, 1]


def test_the_data_driven_mentor_is_fitted_once_the_same_way_and_saved():
    first, second = data_driven().state_dict(), data_driven().state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items() if name.startswith("mentor."))
    other = method_of("mentornet", {"curriculum": "dd"})
    other.load_state_dict(first)
    assert all(torch.equal(value, first[name]) for name, value in other.state_dict().items() if name != "typical")


@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"curriculum": "dd", "burn_in": 0.5}])
def test_mentornet_killed_in_any_epoch_goes_on(demo_shard, tmp_path, options):
    loaded = data.load(TrainConfig(meta=demo_shard))
    settings = {"method": "mentornet", "epochs": 4, "options": options}
    whole = train(config_for(demo_shard, tmp_path / "whole", **settings), loaded)
    for kill_at in (3, 9, 14):
        config = config_for(demo_shard, tmp_path / str(kill_at), **settings)
        with pytest.raises(Killed):
            train(config, loaded, kill_at)
        assert_same(train(config, loaded, resume=True), whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curriculum": "self"}, "unknown curriculum 'self': choose one of dd, pd"),
        ({"percentile": 1.5}, "--set percentile=1.5: expected a number from 0 to 1"),
        ({"decay": 1.0}, "--set decay=1.0: expected a number >= 0 and < 1"),
        ({"dropout": 1.0}, "--set dropout=1.0: expected a number >= 0 and < 1"),
        ({"gamma": -1.0}, "--set gamma=-1.0: expected a number >= 0"),
        ({"curriculum": "dd", "burn_in": 0.0}, "--set burn_in=0.0: expected a number from 0.01 to 0.99"),
    ],
)
def test_mentornet_refuses(options, message):
    with pytest.raises(UsageError) as error:
        config_of("mentornet", options)
    assert str(error.value) == message


def test_the_data_driven_mentor_needs_clean_pictures_of_every_class():
    with pytest.raises(UsageError, match=r"--method mentornet: no meta picture of class owl; expected one of each"):
        method_of("mentornet", {"curriculum": "dd"}, table_of((0, 1, 1)))
    method_of("mentornet", {}, table_of((0, 1, 1)))


def advised(**options):
    """MFRW-MES in float64 with what it is given by the meta step kept, and its network."""
    network, method = network_of(), method_of("mfrw-mes", options)
    method.enter(0, network)
    method.network.double()
    given = []
    method.update = given.append
    return network, method, given


def advised_loss(network, method, batch, equalise):
    """The training loss written out picture by picture, with a graph to the network."""
    out, advisor = network(batch.images), method.network
    total = 0.0
    for h, z, y in zip(out.features, out.logits.detach(), batch.label.tolist(), strict=True):
        loss = -torch.log(z.exp()[y] / z.exp().sum())
        from_features = (advisor.of_features.weight @ h.detach() + advisor.of_features.bias).clamp(min=0)
        from_loss = (advisor.of_loss.weight[:, 0] * loss + advisor.of_loss.bias).clamp(min=0)
        seen = torch.cat([from_features, from_loss])
        gate = 1 / (1 + torch.exp(-(advisor.gate.weight @ seen + advisor.gate.bias)))
        omega = 1 / (1 + torch.exp(-(advisor.omega.weight @ seen + advisor.omega.bias)))
        new = network.head.weight @ (h * gate) + network.head.bias
        others = sum((omega[j] if equalise else 1.0) * new[j].exp() for j in range(3) if j != y)
        total = total - torch.log(new[y].exp() / (new[y].exp() + others))
    return total / len(batch)


def meta_loss_of_advice(network, method, batch, meta, lr, equalise):
    trial = copy.deepcopy(network)
    gradients = torch.autograd.grad(advised_loss(trial, method, batch, equalise), list(trial.parameters()))
    return meta_loss_after(network, [-lr * g for g in gradients], meta)


@pytest.mark.parametrize("mode", ["reference", "forward", "central"])
@pytest.mark.parametrize("equalise", [True, False])
def test_the_advisor_follows_finite_differences(mode, equalise):
    network, method, given = advised(equalise=equalise)
    start = copy.deepcopy(network)
    batch, meta = batch_of(5), replace(batch_of(4, 7), row=None)
    config = config_of("mfrw-mes", hypergradient=mode, lr=0.5)
    train_step(network, method, build_optimiser(network, config), batch, meta, config, 0)
    (gradients,) = given
    g = torch.Generator().manual_seed(3)
    for values, gradient in zip(method.learned, gradients, strict=True):
        at = int(gradient.abs().flatten().argmax()) if torch.rand((), generator=g) < 0.5 else 0
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                values.view(-1)[at] += sign * 1e-4
            ends.append(meta_loss_of_advice(start, method, batch, meta, 0.5, equalise))
            with torch.no_grad():
                values.view(-1)[at] -= sign * 1e-4
        assert gradient.flatten()[at].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=2e-3, abs=2e-8)
    moved = [gradient.abs().max() > 0 for gradient in gradients]
    assert moved == [True] * 6 + [equalise] * 2  # without MES nothing reaches its layer


@pytest.mark.parametrize("scope", ["all", "last-block"])
def test_an_advised_step_is_the_step_of_its_loss(scope):
    batch, meta = batch_of(5), replace(batch_of(4, 7), row=None)
    for seen in (meta, None):
        network, method, _ = advised()
        other, config = copy.deepcopy(network), config_of("mfrw-mes", meta_scope=scope)
        losses = train_step(network, method, build_optimiser(network, config), batch, seen, config, 0)
        loss, optimiser = advised_loss(other, method, batch, True), build_optimiser(other, config)
        loss.backward()
        optimiser.step()
        assert losses.train == pytest.approx(loss.item())
        for a, b in zip(network.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_the_advisor_is_not_heard_on_meta_pictures_and_in_predictions():
    network, method, _ = advised()
    out = network(batch_of(3).images)
    view = View(
        out.logits.detach(), out.features.detach(), network.head.weight.detach(), torch.arange(3), torch.arange(3)
    )
    assert method.terms(view) == Terms()
    assert method.predict(out, network.head) is out.logits
    terms = method.terms(view._replace(row=torch.arange(3)))
    assert terms.delta.diagonal().tolist() == [0, 0, 0]
    assert (terms.delta <= 0).all()
    assert ((terms.gate > 0) & (terms.gate < 1)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"trainable": "head"},
            "--set trainable=head: method mfrw-mes acts on features that learn; take --set trainable=all",
        ),
        (
            {"meta_step": "lagged"},
            "--set meta_step=lagged: method mfrw-mes needs the head as it was; take --set meta_step=exact",
        ),
    ],
)
def test_mfrw_refuses(settings, message):
    with pytest.raises(UsageError) as error:
        method_of("mfrw-mes", **settings)
    assert str(error.value) == message
