"""Macro F1, AUROC and calibration of one split: each against a plain loop, and scikit-learn where it has them."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from clp_train.evaluating.metrics import Metrics, balanced_accuracy, evaluate, measure
from clp_train.evaluating.predictions import predict_labelled
from clp_train.evaluating.scores import BINS, auroc, calibration_error, macro_f1, sure_of
from clp_train.loading.features import Probe
from clp_train.pictures.types import Pictures

OF_BEFORE = (
    "average", "weighted_average", "worst", "per_class", "per_group", "class_counts", "group_counts", "precision",
    "strata",
)  # fmt: skip


def random_case(seed, classes=None):
    """Return labels, logits float32 (n, C) and predictions; every other case has ties, every third saturates."""
    rng = np.random.default_rng(seed)
    classes, n = classes or int(rng.integers(2, 6)), int(rng.integers(2, 60))
    label = torch.from_numpy(rng.integers(0, classes, n))
    logits = torch.from_numpy(rng.normal(size=(n, classes)) * (60 if seed % 3 == 0 else 2)).float()
    logits = logits.round() if seed % 2 else logits
    return label, logits, logits.argmax(1)


def looped_f1(predicted, label):
    scores = []
    for c in sorted(set(label)):
        hits = sum(p == y == c for p, y in zip(predicted, label, strict=True))
        scores.append(2 * hits / (predicted.count(c) + label.count(c)))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("seed", range(20))
def test_macro_f1_is_over_the_classes_that_there_are(seed):
    label, _, predicted = random_case(seed)
    found = macro_f1(predicted, label)
    assert found == pytest.approx(looped_f1(predicted.tolist(), label.tolist()))
    if set(predicted.tolist()) <= set(label.tolist()):
        assert found == pytest.approx(f1_score(label, predicted, average="macro", zero_division=0))


def looped_auroc(odds, label):
    pairs = [(a > b) + (a == b) / 2 for a, y in zip(odds, label, strict=True) if y == 1
             for b, z in zip(odds, label, strict=True) if z == 0]  # fmt: skip
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_auroc_counts_pairs(seed):
    label, logits, predicted = random_case(seed, classes=2)
    label[:2] = torch.tensor([0, 1])
    sure = sure_of(predicted, logits.softmax(1))
    found = auroc(sure.log_odds, label)
    odds = sure.log_odds.tolist()
    assert found == pytest.approx(looped_auroc(odds, label.tolist()))
    assert found == pytest.approx(roc_auc_score(label, sure.log_odds.clamp(-1e9, 1e9)))
    if logits.abs().max() < 40:  # no probability is 0 in float32
        apart = (logits[:, 1] - logits[:, 0]).double()
        assert sure.log_odds.numpy() == pytest.approx(apart.numpy(), abs=1e-4)


def test_auroc_tells_apart_what_rounds_to_one():
    logits = torch.tensor([[0.0, 20.0], [0.0, 30.0], [0.0, 40.0]])
    shares = logits.softmax(1)
    assert shares[:, 1].unique().tolist() == [1.0]
    sure = sure_of(torch.ones(3).long(), shares)
    assert auroc(sure.log_odds, torch.tensor([0, 1, 1])) == 1.0
    assert auroc(sure.log_odds, torch.tensor([1, 0, 0])) == 0.0


def test_where_there_is_no_auroc():
    assert auroc(None, torch.tensor([0, 1])) is None
    assert auroc(torch.tensor([0.1, 0.2]).double(), torch.tensor([1, 1])) is None
    assert auroc(torch.tensor([0.1, math.nan]).double(), torch.tensor([0, 1])) is None
    infinite = torch.tensor([-math.inf, math.inf]).double()
    assert auroc(infinite, torch.tensor([0, 1])) == 1.0
    assert sure_of(torch.tensor([0]), torch.tensor([[0.5, 0.3, 0.2]])).log_odds is None


def looped_calibration(right, sure):
    bins = [[] for _ in range(BINS)]
    for hit, share in zip(right, sure, strict=True):
        bins[next(k for k in range(BINS) if share * BINS <= k + 1)].append((hit, share))
    gaps = [abs(sum(h for h, _ in b) / len(b) - sum(s for _, s in b) / len(b)) * len(b) for b in bins if b]
    return sum(gaps) / len(right)


@pytest.mark.parametrize("seed", range(20))
def test_calibration_error_against_bins_in_a_loop(seed):
    label, logits, predicted = random_case(seed)
    sure = sure_of(predicted, logits.softmax(1)).of_predicted
    right = predicted == label
    assert calibration_error(right, sure) == pytest.approx(looped_calibration(right.tolist(), sure.double().tolist()))


def test_calibration_by_hand():
    right = torch.tensor([True, True, False, False])
    assert calibration_error(right, torch.ones(4)) == pytest.approx(0.5)
    assert calibration_error(right, torch.full((4,), 0.5)) == pytest.approx(0)
    assert calibration_error(right, torch.tensor([1.0, 1.0, 0.5, 0.5])) == pytest.approx(0.25)
    assert calibration_error(right, torch.tensor([1.0, math.nan, 0.5, 0.5])) is None


@pytest.mark.parametrize("seed", range(20))
def test_means_and_worst_of_classes_and_groups(seed):
    label, _, predicted = random_case(seed)
    rng, groups = np.random.default_rng(seed), 7
    group = torch.from_numpy(rng.integers(0, groups, len(label)))
    found = measure(predicted, label, group, 6, [1] * groups)
    right = (predicted == label).tolist()

    def accuracies(part):
        return [np.mean([r for r, k in zip(right, part.tolist(), strict=True) if k == p]) for p in set(part.tolist())]

    assert found.worst_class == pytest.approx(min(accuracies(label)))
    assert found.balanced == pytest.approx(np.mean(accuracies(label)))
    assert found.group_mean == pytest.approx(np.mean(accuracies(group)))
    if set(predicted.tolist()) <= set(label.tolist()):  # else scikit-learn warns
        assert found.balanced == pytest.approx(balanced_accuracy_score(label, predicted))
    assert (found.auroc, found.ece) == (None, None)  # no probabilities are known


def test_metrics_of_before_come_first():
    assert tuple(field.name for field in fields(Metrics))[: len(OF_BEFORE)] == OF_BEFORE


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_a_network_is_measured_as_its_predictions_are(classes, scale):
    torch.manual_seed(0)
    head = torch.nn.Linear(4, classes)
    label = torch.arange(40) % classes
    pictures = Pictures(torch.randn(40, 4), label, label, torch.arange(40))
    counts = [1] * classes
    found = evaluate(Probe(head), pictures, classes, counts, scale=scale)
    made = predict_labelled(Probe(head), pictures, lambda out: out.logits, scale)
    assert found == measure(made.predicted, label, label, classes, counts, sure=made.sure)
    shares = (scale * head(pictures.images)).softmax(1).detach()
    assert torch.equal(made.of_predicted, shares.max(1).values)
    right = (shares.argmax(1) == label).tolist()
    assert found.ece == pytest.approx(looped_calibration(right, made.of_predicted.double().tolist()))
    assert (found.auroc is None) == (classes > 2)
    if classes == 2:
        assert found.auroc == pytest.approx(roc_auc_score(label, head(pictures.images).diff(dim=1).detach()[:, 0]))
    assert balanced_accuracy(Probe(head), pictures, classes) == found.balanced
