"""What is taken off along the mean of features, one picture and one class at a time; the mean through a run."""

import functools
import math

import pytest
import torch

from clp_train.algorithm.characteristics import View
from clp_train.evaluating.metrics import evaluate
from clp_train.methods.tde import Options, Tde
from clp_train.models.heads import make_head
from clp_train.models.parts import Output
from tests.clp_train.builders import config_of, generator, load, method_of, table_of, train
from tests.clp_train.methods.shared_cases import assert_refused

ORACLES = ("tde",)


class Last:
    """A network that is its last layer."""

    def __init__(self, head):
        self.head = head


def made(seed, features=6, classes=4, **options):
    """Return a method, the head it works on, and random features, float64."""
    g = generator(seed)
    head = make_head("causal-norm", features, classes, g).double()
    method = Tde(Options(**options))
    method.enter(0, Last(head))
    return method, head, torch.randn(7, features, generator=g, dtype=torch.float64)


def view_through(features, head):
    label = torch.zeros(len(features), dtype=torch.int64)
    return View(head(features).detach(), features, head.weight.detach(), label, label)


def judged_by_hand(f, weights, mean, alpha):
    """tau / K sum_k (f_k / |f_k| - alpha cos(f_k, c_k) c_k / |c_k|) w_k / (|w_k| + gamma); K = 2, tau = 16."""
    half, logits = len(f) // 2, []
    for w in weights:
        total = 0.0
        for part in (slice(None, half), slice(half, None)):
            norms = [math.sqrt(math.fsum(v * v for v in values[part])) for values in (f, mean, w)]
            cos = math.fsum(a * c for a, c in zip(f[part], mean[part], strict=True)) / (norms[0] * norms[1])
            for a, c, b in zip(f[part], mean[part], w[part], strict=True):
                total += (a / norms[0] - alpha * cos * c / norms[1]) * b / (norms[2] + 1 / 32)
        logits.append(8 * total)
    return logits


@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_pictures_are_judged_without_what_lies_along_the_mean(seed, alpha):
    method, head, x = made(seed, features=2 * (seed + 1), classes=seed + 2, alpha=alpha, decay=0.5)
    batches = x.split(3)  # 3, 3 and 1 pictures
    for batch in batches:
        method.observe(view_through(batch, head))
    mean = [0.25 * a + 0.5 * b + c for a, b, c in zip(*(batch.mean(0).tolist() for batch in batches), strict=True)]
    expected = [judged_by_hand(f, head.weight.tolist(), mean, alpha) for f in x.tolist()]
    found = method.predict(Output(x, head(x)), head)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    if alpha == 0:
        torch.testing.assert_close(found, head(x))  # the logits of training


def test_before_the_first_step_nothing_is_taken_off():
    method, head, x = made(0, alpha=3.0)
    torch.testing.assert_close(method.predict(Output(x, head(x)), head), head(x))


def test_only_the_direction_of_the_mean_matters():
    method, head, x = made(1, alpha=2.0)
    method.observe(view_through(x, head))
    first = method.predict(Output(x, head(x)), head)
    head.mean *= 1000
    torch.testing.assert_close(method.predict(Output(x, head(x)), head), first)


def test_training_is_plain_cross_entropy():
    _, head, x = made(2)
    table = table_of([0] * 5 + [2] * 2, classes=3)
    method = method_of("tde", table)
    assert method.terms(view_through(x, head)) == method_of("erm", table).terms(view_through(x, head))
    assert method.head == "causal-norm"


def run(shard, monkeypatch=None, seen=None, **options):
    if monkeypatch is not None:
        observe = Tde.observe

        def recording(self, view):
            seen.append(view.features.mean(0))
            observe(self, view)

        monkeypatch.setattr(Tde, "observe", recording)
    config = config_of(meta=shard, method="tde", epochs=3, batch_size=40, options=options)
    loaded = load(config)
    return train(config, loaded), loaded


def test_the_mean_of_a_run_lies_with_its_weights(demo_shard, monkeypatch):
    seen = []
    trained, loaded = run(demo_shard, monkeypatch, seen, decay=0.8)
    mean = torch.zeros(64)
    for part in seen:
        mean = 0.8 * mean + part
    assert len(seen) == 6
    torch.testing.assert_close(trained.last.state["head.mean"], mean)
    method, network = Tde(Options()), trained.network
    for snapshot in (trained.last, trained.selected):  # each is judged with the mean of its own epoch
        network.load_state_dict(snapshot.state)
        counts = [1] * len(loaded.group_names)
        judge = functools.partial(method.predict, head=network.head)
        there = evaluate(network, loaded.evaluation["val"], 2, counts, judge)
        assert there.per_class == snapshot.metrics["val"].per_class


def test_a_strong_effect_changes_the_judgement_and_not_the_training(demo_shard):
    off, strong = run(demo_shard, alpha=0.0)[0], run(demo_shard, alpha=30.0)[0]
    assert all(torch.equal(value, strong.last.state[name]) for name, value in off.last.state.items())
    assert off.last.metrics["test"].per_class != strong.last.metrics["test"].per_class


def test_what_is_refused():
    for alpha in (-1.0, math.nan, math.inf):
        assert_refused("tde", f"alpha = {alpha}: expected a number >= 0", alpha=alpha)
    assert_refused("tde", "decay = 1.5: expected a number from 0 to 1", decay=1.5)
