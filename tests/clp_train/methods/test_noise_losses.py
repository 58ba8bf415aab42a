"""Losses for labels that may be wrong, against loops over pictures and classes written from the papers' formulas."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.losses import DivergedError
from clp_train.algorithm.objective import Terms, objective, sample_losses
from clp_train.config import make_config
from clp_train.methods import make_options
from clp_train.methods.dmi import covering_batches
from clp_train.methods.parts import noisy_losses
from clp_train.presets import fits, load_preset, read_method, read_preset
from tests.clp_train.builders import config_of, generator, load, method_of, table_of, train
from tests.clp_train.methods.reweighting_cases import logits_view
from tests.clp_train.methods.shared_cases import probabilities

ORACLES = ("apl", "l-dmi")

SIZES = [(1, 2), (1, 5), (7, 2), (6, 3), (20, 10)]


def problem(n, classes, seed=0, scale=2.0):
    g = generator(seed)
    logits = scale * torch.randn(n, classes, generator=g, dtype=torch.float64)
    return logits, torch.randint(classes, (n,), generator=g)


def of_classes(name, classes=3, options=None, **settings):
    """Return a method for six pictures of each class."""
    label = torch.arange(6 * classes) % classes
    names = [f"c{i}" for i in range(classes)]
    return method_of(name, table_of(label, names=names, meta_label=torch.arange(classes)), options, **settings)


def apl_by_hand(row, y, active, passive, alpha, beta, gamma):
    p = probabilities(row)
    if active == "nce":
        fitting = -math.log(p[y]) / sum(-math.log(q) for q in p)
    else:
        focal = [-((1 - q) ** gamma) * math.log(q) for q in p]
        fitting = focal[y] / sum(focal)
    if passive == "rce":
        kept = -sum(q * math.log(1.0 if k == y else 1e-4) for k, q in enumerate(p))
    else:
        kept = 0.5 * sum(abs(q - (k == y)) for k, q in enumerate(p))
    return alpha * fitting + beta * kept


@pytest.mark.parametrize(("n", "classes"), SIZES)
@pytest.mark.parametrize("active", ["nce", "nfl"])
@pytest.mark.parametrize("passive", ["rce", "mae"])
def test_apl_is_by_hand(n, classes, active, passive):
    for seed in range(5):
        logits, label = problem(n, classes, seed)
        method = of_classes(
            "apl", classes, options={"active": active, "passive": passive, "alpha": 0.7, "beta": 1.3, "gamma": 0.5}
        )
        found = sample_losses(logits, label, method.terms(logits_view(logits, label)))
        expected = [
            apl_by_hand(row, y, active, passive, 0.7, 1.3, 0.5)
            for row, y in zip(logits.tolist(), label.tolist(), strict=True)
        ]
        assert found.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "classes"), SIZES)
def test_rce_is_a_multiple_of_the_absolute_error(n, classes):
    logits, label = problem(n, classes)
    own = logits.softmax(1)[torch.arange(n), label]
    torch.testing.assert_close(noisy_losses.reverse_cross_entropy(logits, label), 4 * math.log(10) * (1 - own))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_the_normalised_losses_lie_in_the_unit_interval_and_sum_to_one_over_the_labels(gamma):
    logits, _ = problem(9, 4)
    every = [noisy_losses.normalised_focal(logits, torch.full((9,), c), gamma) for c in range(4)]
    torch.testing.assert_close(sum(every), torch.ones(9, dtype=torch.float64))
    assert all((part >= 0).all() for part in every)
    if gamma == 0:
        torch.testing.assert_close(every[1], noisy_losses.normalised_cross_entropy(logits, torch.full((9,), 1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("active", ["nce", "nfl"])
def test_apl_and_its_gradient_stay_finite_at_logits_far_apart(active, dtype):
    label = torch.tensor([0, 1, 2, 0])
    logits = torch.tensor([[1e4, 0, 0], [1e4, 0, 0], [0, 0, 50], [0, 0, 0]], dtype=dtype).requires_grad_()
    method = of_classes("apl", options={"active": active})
    losses = sample_losses(logits, label, method.terms(logits_view(logits, label)))
    assert losses.isfinite().all()
    assert torch.autograd.grad(losses.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize("active", ["nce", "nfl"])
def test_gradient_of_apl(active):
    logits, label = problem(4, 3)
    terms = of_classes("apl", options={"active": active}).terms(logits_view(logits, label))
    assert gradcheck(lambda z: objective(z, label, terms), logits.requires_grad_())


@pytest.mark.parametrize("name", ["table5-flip", "table5-uniform"])
@pytest.mark.parametrize("scale", ["", "-cpu"])
def test_presets_of_cifar_100_differ_for_two_methods_alone(name, scale):
    shared, own = f"{name}{scale}", f"{name}-cifar100{scale}"
    assert read_preset(own) == read_preset(shared) | {"preset": own}
    assert fits(load_preset(own).data, "cifar100", {})
    assert not fits(load_preset(own).data, "cifar10", {})
    for method, options in (("apl", {"alpha": 10.0, "beta": 0.1}), ("jocor", {"agreement": 0.85}), ("glc", {})):
        named = {"meta": "x.h5", "method": method}
        config = make_config(named, preset=read_preset(own), of_method=read_method(own, method))
        assert config.given == options
        assert (config.sgd.weight_decay == 1e-5) == (method == "apl"), "more of it holds NCE's small gradients down"


def test_apl_starts_with_the_settings_of_cifar_10():
    assert dataclasses.asdict(make_options("apl", {})) == {
        "active": "nce", "passive": "rce", "alpha": 1.0, "beta": 1.0, "gamma": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"active": "ce"}, r"active = ce: did you mean nce\? expected one of nce, nfl"),
        ({"passive": "l1"}, "passive = l1: expected one of rce, mae"),
        ({"alpha": -1.0}, r"alpha = -1\.0: expected a number >= 0"),
        ({"beta": float("nan")}, r"beta = nan: expected a number >= 0"),
        ({"gamma": float("inf")}, r"gamma = inf: expected a number >= 0"),
    ],
)
def test_apl_refuses(options, message):
    with pytest.raises(UsageError, match=message):
        make_options("apl", options)


def determinant_by_hand(matrix):
    """Laplace's expansion along the first row."""
    if len(matrix) == 1:
        return matrix[0][0]
    minors = ([row[:j] + row[j + 1 :] for row in matrix[1:]] for j in range(len(matrix)))
    return sum((-1) ** j * matrix[0][j] * determinant_by_hand(minor) for j, minor in enumerate(minors))


def covered(n, classes, seed):
    """A problem with every class in the batch."""
    logits, _ = problem(n, classes, seed)
    return logits, torch.arange(n) % classes


@pytest.mark.parametrize(("n", "classes"), [(2, 2), (3, 3), (7, 2), (9, 4), (40, 6)])
def test_dmi_is_by_hand(n, classes):
    for seed in range(5):
        logits, label = covered(n, classes, seed)
        joint = [[0.0] * classes for _ in range(classes)]
        for row, y in zip(logits.tolist(), label.tolist(), strict=True):
            for k, p in enumerate(probabilities(row)):
                joint[y][k] += p / n
        expected = -math.log(abs(determinant_by_hand(joint)))
        method = of_classes("l-dmi", classes, batch_size=3 * classes)
        method.enter(1, None)
        terms = method.terms(logits_view(logits, label))
        assert objective(logits, label, terms).item() == pytest.approx(expected, rel=1e-8)
        assert gradcheck(lambda z, y=label, t=terms: objective(z, y, t), logits.requires_grad_())


def test_noise_only_shifts_dmi():
    """All pictures behind U at once: noise turns Y^T P into T^T Y^T P, and two classifiers keep their difference."""
    transition = torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.6, 0.3], [0.0, 0.2, 0.8]], dtype=torch.float64)
    label = torch.arange(30) % 3
    repeated = label.repeat_interleave(10)  # ten copies of each picture carry the noise in exact shares
    flipped = torch.tensor(
        [k for y in label.tolist() for k in range(3) for _ in range(round(10 * transition[y, k].item()))]
    )
    assert len(flipped) == 300
    shifts = []
    for seed in range(4):
        logits, _ = problem(30, 3, seed)
        every = logits.repeat_interleave(10, 0)
        clean = noisy_losses.determinant_loss(every, repeated)
        shifts.append((noisy_losses.determinant_loss(every, flipped) - clean).item())
    assert shifts == pytest.approx([-math.log(abs(torch.det(transition).item()))] * 4)


def test_dmi_of_many_classes_has_a_gradient_where_the_determinant_itself_is_nothing():
    logits, label = problem(400, 100, 0)[0].float().requires_grad_(), torch.arange(400) % 100
    joint = torch.zeros(100, 100).index_add(0, label, logits.softmax(1)) / 400
    assert torch.det(joint) == 0  # in float32
    value = noisy_losses.determinant_loss(logits, label)
    gradient = torch.autograd.grad(value, logits)[0]
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(("counts", "steps"), [((5, 5), 1), ((4, 9, 30), 4), ((1, 12), 3), ((2, 2, 2), 2), ((1,), 1)])
def test_batches_cover_the_classes(counts, steps):
    label = np.random.default_rng(3).permutation(np.repeat(np.arange(len(counts)), counts))
    batches = covering_batches(label, steps, np.random.default_rng(0))
    assert [len(rows) for rows in batches] == [len(rows) for rows in np.array_split(label, steps)]
    for rows in batches:
        assert set(label[rows]) == set(range(len(counts)))
    rows, taken = np.unique(np.concatenate(batches), return_counts=True)
    if min(counts) >= steps:
        assert rows.tolist() == list(range(len(label)))
        assert (taken == 1).all()
    again, other = (covering_batches(label, steps, np.random.default_rng(seed)) for seed in (0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert len(label) < 3 or any(not np.array_equal(a, b) for a, b in zip(batches, other, strict=True))


def test_dmi_starts_with_cross_entropy_in_the_order_of_a_plain_run():
    method = of_classes("l-dmi", options={"start": 0.25, "rate": 0.5})
    method.enter(0, None)
    logits, label = problem(5, 3)
    assert method.terms(logits_view(logits, label)) == Terms()
    assert method.batches(0, 6, np.random.default_rng(0)) is None
    method.enter(1, None)
    assert [len(rows) for rows in method.batches(0, 6, np.random.default_rng(0))] == [6, 6, 6]
    assert [(stage.share, stage.rate) for stage in method.stages] == [(0.25, 1.0), (0.75, 0.5)]


def test_dmi_refuses_where_it_is_void():
    of_classes("l-dmi", 10, batch_size=10)
    with pytest.raises(UsageError) as error:
        of_classes("l-dmi", 10, batch_size=9)
    assert str(error.value) == (
        "batch_size = 9: method l-dmi would get 8 pictures in a batch, expected at least one for each of 10"
        " classes, else the determinant is 0; raise it"
    )
    label = torch.arange(13) % 10
    with pytest.raises(UsageError, match=r"batch_size = 12: method l-dmi would get 6 pictures .* each of 10 classes"):
        method_of("l-dmi", table_of(label), batch_size=12)  # two batches an epoch, of 7 and 6
    method = of_classes("l-dmi", 3)
    method.enter(1, None)
    logits, label = problem(8, 3)
    with pytest.raises(DivergedError) as error:
        sample_losses(logits, label * 0, method.terms(logits_view(logits, label)))
    assert str(error.value) == (
        "the determinant of l-dmi is 0 on a batch of 8 pictures; raise batch_size, or start, the share of cross entropy"
    )
    with pytest.raises(UsageError, match=r"start = 1\.0: expected a number from 0\.01 to 0\.99"):
        make_options("l-dmi", {"start": 1.0})
    with pytest.raises(UsageError, match=r"rate = -1\.0: expected a number >= 0"):
        make_options("l-dmi", {"rate": -1.0})


def test_dmi_needs_every_class_among_the_labels_trained_on():
    label = torch.tensor([0, 0, 2, 2])
    table = table_of(label, names=("cat", "fox", "owl"))
    with pytest.raises(
        UsageError, match=r"method = l-dmi: no training picture of class fox; expected at least one of each"
    ):
        method_of("l-dmi", table)


def test_dmi_trains_through_both_stages(demo_shard):
    config = config_of(meta=demo_shard, method="l-dmi", epochs=4, batch_size=20, options={"start": 0.5, "rate": 0.01})
    history = train(config, load(config)).history
    by_chance = math.log(4)  # two classes, U = 1/4 everywhere but for what was learnt: the determinant is near 0
    assert history[0]["train_loss"] < by_chance < history[2]["train_loss"]
    assert [line["lr"] for line in history] == pytest.approx([0.1, 0.1, 0.001, 0.001])
