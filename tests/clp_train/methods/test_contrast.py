"""Correct-N-Contrast: which pictures a set may hold, one by one; the loss by loops; the two stages."""

import math

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms, objective
from clp_train.algorithm.stages import Stage
from clp_train.methods.parts.contrast import ContrastSets, contrastive_loss
from clp_train.models.parts import Output
from tests.clp_train.builders import config_of, generator, method_of, table_of, train
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen, small_run

ORACLES = ("cnc",)


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def slow_loss(anchor, positives, negatives, temperature):
    """Return the formula, by loops over plain numbers."""
    far = sum(math.exp(cosine(anchor, n) / temperature) for n in negatives)
    near = sum(math.exp(cosine(anchor, p) / temperature) for p in positives)
    terms = [-(cosine(anchor, p) / temperature - math.log(far + near)) for p in positives]
    return sum(terms) / len(terms)


@pytest.mark.parametrize("seed", range(20))
def test_the_loss_is_its_loop(seed):
    g = generator(seed)
    k, m, width, temperature = 1 + seed % 3, 1 + seed % 5, 4, [0.1, 0.5, 2.0][seed % 3]
    anchor = torch.randn(k, width, generator=g, dtype=torch.float64)
    positives, negatives = torch.randn(2, k, m, width, generator=g, dtype=torch.float64)
    units = (values / values.norm(dim=-1, keepdim=True) for values in (anchor, positives, negatives))
    found = contrastive_loss(*units, temperature)
    expected = [slow_loss(*parts, temperature) for parts in zip(anchor, positives, negatives, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_the_loss_has_the_right_gradient_and_is_finite_at_a_low_temperature():
    g = generator(0)
    parts = [torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True) for shape in
             ((2, 3), (2, 4, 3), (2, 4, 3))]  # fmt: skip
    assert torch.autograd.gradcheck(lambda a, p, n: contrastive_loss(a, p, n, 0.7), parts)
    assert contrastive_loss(*(values.detach() for values in parts), 0.001).isfinite().all()


def outcomes(seed):
    """Return labels and predictions of 2 to 4 classes; by chance some are never wrong, or never right."""
    rng = rng_for(seed, 0, "test outcomes")
    classes = int(rng.integers(2, 5))
    label = np.concatenate([np.arange(classes), rng.integers(0, classes, int(rng.integers(0, 30)))])
    predicted = np.where(
        rng.random(len(label)) < rng.choice([0.0, 0.3, 1.0]), label, rng.integers(0, classes, len(label))
    )
    if seed % 4 == 0:
        predicted[label == 0] = 0
    if seed % 4 == 1:
        predicted[label == 0] = 1
    return label, predicted


def slow_pools(label, predicted, first, positive):
    """Return what the four parts may hold, going through all rows; `positive`: the first of the positives."""
    rows, c, guess = range(len(label)), label[first], predicted[positive]

    def those(*rules):
        for rule in rules:
            found = {i for i in rows if rule(i)}
            if found:
                return found
        return {first}

    def right(i):
        return label[i] == predicted[i]

    def hard():
        return those(
            lambda i: predicted[i] == c and label[i] != c,
            lambda i: right(i) and label[i] != c,
            lambda i: label[i] != c,
        )

    anchors = those(lambda i: right(i) and label[i] == c and i != first)
    positives = those(
        lambda i: label[i] == c and not right(i) and i != first, lambda i: label[i] == c and right(i) and i != first
    )
    easy = hard() if guess == c else those(lambda i: right(i) and label[i] == guess, lambda i: label[i] != c)
    return anchors, positives, hard(), easy


@pytest.mark.parametrize("seed", range(60))
def test_sets_hold_what_they_should(seed):
    label, predicted = outcomes(seed)
    sets, size = ContrastSets(label, predicted), 1 + seed % 6
    count = len(label) + seed % 7
    drawn = sets.epoch(count, size, rng_for(seed, 0, "sets"))
    assert drawn.shape == (count, 4, size)
    right = set(np.flatnonzero(label == predicted).tolist()) or set(range(len(label)))
    often = np.bincount(drawn[:, 0, 0], minlength=len(label))
    assert set(np.flatnonzero(often).tolist()) <= right
    assert max(often[i] for i in right) - min(often[i] for i in right) <= 1
    for anchors, positives, negatives, easy in drawn:
        pools = slow_pools(label, predicted, anchors[0], positives[0])
        for part, pool in zip((anchors[1:], positives, negatives, easy), pools, strict=True):
            assert set(part.tolist()) <= pool
            often = [part.tolist().count(i) for i in pool]
            assert max(often) - min(often) <= 1  # each once, while there are enough
        assert not set(label[negatives]) & {label[anchors[0]]}
        assert not set(label[easy]) & {label[anchors[0]]}


@pytest.mark.parametrize("seed", range(30))
def test_even_anchors_come_by_class_in_turn(seed):
    label, predicted = outcomes(seed)
    count = 1 + seed
    firsts = ContrastSets(label, predicted).epoch(count, 2, rng_for(seed, 0, "sets"), even=True)[:, 0, 0]
    right = np.flatnonzero(label == predicted)
    pool = right if len(right) else np.arange(len(label))
    assert set(firsts) <= set(pool)
    classes = len(set(label[pool]))
    for start in range(0, count, classes):
        part = label[firsts[start : start + classes]]
        assert len(set(part)) == len(part)  # each class once in every so many
    for c in set(label[pool]):
        often = [firsts.tolist().count(row) for row in pool if label[row] == c]
        assert max(often) - min(often) <= 1


def test_a_run_has_even_anchors_unless_it_is_asked_for_natural_ones():
    table, counts = of_groups([30, 6, 3, 9]), {}
    for anchors in ("even", "natural"):
        method = method_of("cnc", table, {"anchors": anchors, "size": 1}, batch_size=4)
        logits = torch.nn.functional.one_hot(table.label, 2).float()
        method.begin_stage(1, {"train": Output(logits, logits)}.__getitem__)
        method.enter(1, None)
        firsts = [rows[0] for rows in method.batches(0, 4, rng_for(0, 0, "order"))]
        counts[anchors] = torch.bincount(table.label[firsts], minlength=2).tolist()
    steps = len(table.label) // 4
    assert counts["even"] == [steps / 2, steps / 2]
    assert sum(counts["natural"]) == steps
    assert counts["natural"][0] > counts["natural"][1]


def test_by_hand_where_the_place_misleads():
    label, predicted = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 0])
    anchors, positives, negatives, easy = ContrastSets(label, predicted).draw_set(0, 2, rng_for(0, 0, "sets"))
    assert anchors.tolist() == [0, 1]
    assert positives.tolist() == [2, 2]
    assert negatives.tolist() == [5, 5]
    assert sorted(easy.tolist()) == [3, 4]


def second_stage(table, seed, **options):
    """Return the method in its second stage, with random predictions."""
    method = method_of("cnc", table, options, batch_size=24)
    g = generator(seed)
    logits = torch.randn(len(table.label), table.classes, generator=g)
    assert method.batches(0, 24, rng_for(0, 0, "order")) is None
    method.begin_stage(1, {"train": Output(logits, logits)}.__getitem__)
    method.enter(1, None)
    return method, logits.argmax(1)


@pytest.mark.parametrize("seed", range(12))
def test_a_step_is_the_formula(seed):
    table, _ = random_table(seed)
    method, predicted = second_stage(table, seed, size=1 + seed % 4, contrast=0.6, temperature=0.5)
    assert torch.equal(method.predicted, predicted)
    batches = method.batches(3, 24, rng_for(seed, 0, "order"))
    size = 1 + seed % 4
    each = 24 // (4 * size)
    assert len(batches) == -(-len(table.label) // 24)
    assert {len(rows) for rows in batches} == {each * 4 * size}
    out, batch, view = seen(table, seed, n=len(batches[0]))
    found = objective(out.logits, batch.label, method.terms(view)) + method.penalty(out, batch, None)
    contrast = 0.0
    for k in range(each):
        rows = out.features[k * 4 * size : (k + 1) * 4 * size].detach()
        anchors, positives, negatives, easy = (rows[j * size : (j + 1) * size] for j in range(4))
        contrast += slow_loss(anchors[0], positives, negatives, 0.5) / each
        contrast += slow_loss(positives[0], anchors, easy, 0.5) / each
    entropy = -sum(out.logits[i].log_softmax(0)[batch.label[i]].item() for i in range(len(batch))) / len(batch)
    assert found.item() == pytest.approx(0.6 * contrast + 0.4 * entropy, rel=1e-9)


def test_the_first_stage_is_erm_and_the_second_starts_anew():
    table, _ = random_table(2)
    method = method_of("cnc", table, {"first": 0.25})
    assert method.stages == (Stage(share=0.25), Stage(share=0.75, restart=True))
    out, batch, view = seen(table, 2)
    assert method.terms(view) == Terms()
    assert method.penalty(out, batch, None) is None
    assert torch.equal(method.predicted, table.label)
    assert method.size == 17
    assert method_of("cnc", table, batch_size=7).size == 1


def test_the_predictions_survive():
    table, _ = random_table(3)
    method, _ = second_stage(table, 3)
    other = method_of("cnc", table, batch_size=24)
    other.load_state_dict(method.state_dict())
    other.enter(1, None)
    for a, b in zip(*(one.batches(5, 24, rng_for(1, 1, "order")) for one in (method, other)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_in_a_run_the_sets_are_of_the_first_networks_predictions(demo_shard, monkeypatch):
    from clp_train.methods import cnc

    shown = []

    class Watched(ContrastSets):
        def __init__(self, label, predicted):
            shown.append(predicted.copy())
            super().__init__(label, predicted)

    monkeypatch.setattr(cnc, "ContrastSets", Watched)
    config = config_of(meta=demo_shard, method="cnc", epochs=4, batch_size=20, options={"size": 5})
    run = small_run(config)
    trained = train(config, run)
    assert len(shown) == 2  # one an epoch of the second stage
    np.testing.assert_array_equal(shown[0], shown[1])
    assert len(shown[0]) == len(run.train)
    assert all(math.isfinite(line["train_loss"]) for line in trained.history)


def test_refusals():
    assert_refused("cnc", "size = 0: expected a whole number >= 1", size=0)
    assert_refused("cnc", "temperature = 0.0: expected a number >= 0.001", temperature=0.0)
    assert_refused("cnc", "anchors = odd: expected one of even, natural", anchors="odd")
    assert_refused("cnc", "contrast = 1.5: expected a number from 0 to 1", contrast=1.5)
    assert_refused("cnc", "first = 1.0: expected a number from 0.01 to 0.99", first=1.0)
    one = torch.zeros(4, dtype=torch.int64)
    for table, settings, message in (
        (of_groups([2, 2]), {"batch_size": 3}, "batch_size = 3: method cnc expects at least 4, one of each part"),
        (
            of_groups([2, 2]),
            {"trainable": "head"},
            "trainable = head: method cnc acts on features that learn; take trainable = all",
        ),
        (
            table_of(one, classes=2),
            {},
            "method = cnc: all training pictures are of one class; expected at least two classes",
        ),
    ):
        with pytest.raises(UsageError) as error:
            method_of("cnc", table, **settings)
        assert str(error.value) == message
