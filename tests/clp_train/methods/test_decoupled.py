"""Second stages against the same steps done by hand; what is frozen stays as it is, bit by bit."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.stages import plan
from clp_train.methods import build_method
from clp_train.models import build_model
from clp_train.models.heads import make_head, start_head
from clp_train.pictures.batching import epoch_rows, steps_per_epoch, train_batch
from clp_train.pictures.keys import generator_for
from clp_train.running.assembly import context_of
from clp_train.running.epochs import copy_state
from tests.clp_train.builders import build, config_of, generator, load, table_of, train
from tests.clp_train.methods import longtail_cases as cases
from tests.clp_train.methods.shared_cases import assert_refused

ORACLES = ("crt", "lws", "cb-fine-tune")
EPOCHS, FIRST = 4, 2


class Run:
    """A short run on a set of two classes, one of them rare. entered: the network's state as each stage begins;
    labels: of each batch, by epoch.
    """

    def __init__(self, shard, name, **own):
        options = {"share": 1 - FIRST / EPOCHS, **own}
        self.config = config_of(name, shard, options, epochs=EPOCHS, batch_size=20, lr=0.05, schedule="cosine")
        loaded = load(self.config)
        rows = torch.cat([(loaded.train.label == 0).nonzero()[:, 0], (loaded.train.label == 1).nonzero()[:6, 0]])
        self.run = replace(loaded, train=loaded.train.take(rows))
        self.entered, self.labels = {}, {epoch: [] for epoch in range(EPOCHS)}
        method = build_method(self.config.options, context_of(self.config, self.run))
        enter = method.enter

        def recording(stage, network):
            enter(stage, network)
            self.entered[stage] = copy_state(network)

        method.enter = recording
        method.observe = lambda view: self.labels[round(view.progress * EPOCHS)].append(view.label)
        self.trained = train(self.config, self.run, method=method)
        self.last = self.trained.last.state

    def network(self, state, head="linear"):
        """Return a network with such a state."""
        network = build_model("resnet8", 2, [0.5] * 3, [0.5] * 3, generator(0))
        network.head = make_head(head, network.head.in_features, 2, generator(0))
        network.load_state_dict(state)
        return network.to(memory_format=torch.channels_last)

    def second_stage(self):
        """Yield (step size in those of the run, rows) of each step of the second stage."""
        for epoch in range(FIRST, EPOCHS):
            factor = (1 + math.cos(math.pi * (epoch - FIRST) / (EPOCHS - FIRST))) / 2
            for rows in epoch_rows(self.run.train, epoch, self.config.run.seed, 20, "class"):
                yield factor, torch.from_numpy(rows)


def descend(values, velocity, slope, rate):
    """One step of SGD with momentum 0.9 and weight decay 5e-4."""
    velocity = 0.9 * velocity + slope + 5e-4 * values
    return values - rate * velocity, velocity


def features_of(run, state, head):
    network = run.network(state, head).eval()
    with torch.no_grad():
        return network(run.run.train.images.float() / 255).features


def test_crt_by_hand(demo_shard):
    run = Run(demo_shard, "crt")
    start = run.entered[1]
    fresh = nn.Linear(start["head.weight"].shape[1], 2)
    start_head(fresh, generator_for(run.config.run.seed, 1, "fresh head"))
    assert torch.equal(start["head.weight"], fresh.weight)
    assert torch.equal(start["head.bias"], fresh.bias)
    weight, bias = start["head.weight"], start["head.bias"]
    moving, moving_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    features = features_of(run, start, "linear")
    for factor, rows in run.second_stage():
        f, y = features[rows], run.run.train.label[rows]
        wrong = (f @ weight.T + bias).softmax(1) - F.one_hot(y, 2)
        weight, moving = descend(weight, moving, wrong.T @ f / len(y), 0.05 * factor)
        bias, moving_bias = descend(bias, moving_bias, wrong.mean(0), 0.05 * factor)
    torch.testing.assert_close(run.last["head.weight"], weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(run.last["head.bias"], bias, rtol=1e-4, atol=1e-5)
    assert (weight - start["head.weight"]).abs().max() > 1e-3


def test_lws_by_hand(demo_shard):
    run = Run(demo_shard, "lws")
    start = run.entered[1]
    scale, moving = start["head.scale"], torch.zeros(2)
    assert torch.equal(scale, torch.ones(2))
    features = features_of(run, start, "scaled")
    for factor, rows in run.second_stage():
        y, z = run.run.train.label[rows], features[rows] @ start["head.weight"].T + start["head.bias"]
        wrong = (z * scale).softmax(1) - F.one_hot(y, 2)
        scale, moving = descend(scale, moving, (wrong * z).mean(0), 0.05 * factor)
    torch.testing.assert_close(run.last["head.scale"], scale, rtol=1e-4, atol=1e-5)
    assert (scale - 1).abs().max() > 1e-3


def test_fine_tuning_by_hand(demo_shard):
    run = Run(demo_shard, "cb-fine-tune")
    network = run.network(run.entered[1]).train()
    velocity = {name: torch.zeros_like(w) for name, w in network.named_parameters()}
    first_step = FIRST * steps_per_epoch(len(run.run.train), 20)
    for step, (factor, rows) in enumerate(run.second_stage(), first_step):
        batch = train_batch(run.run.train, rows.numpy(), step, run.config.run.seed, run.config.batches.transform)
        network.zero_grad()
        F.cross_entropy(network(batch.images).logits, batch.label).backward()
        with torch.no_grad():
            for name, w in network.named_parameters():
                moved, velocity[name] = descend(w, velocity[name], w.grad, 0.1 * 0.05 * factor)  # a tenth of the rate
                w.copy_(moved)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(run.last[name], value, rtol=1e-3, atol=1e-5)
    assert any("running" in name and not torch.equal(v, run.last[name]) for name, v in run.entered[1].items())


@pytest.mark.parametrize("name", ["crt", "lws"])
def test_a_frozen_body_stays_bit_by_bit_with_its_batch_norm(name, demo_shard):
    run = Run(demo_shard, name)
    start, last = run.entered[1], run.last
    learned = {"crt": {"head.weight", "head.bias"}, "lws": {"head.scale"}}[name]
    assert {key for key in start if not torch.equal(start[key], last[key])} == learned
    assert any("running_mean" in key for key in start)
    before = run.entered[0]
    assert not torch.equal(before["stem.weight"], start["stem.weight"])
    if name == "lws":
        assert torch.equal(before["head.scale"], start["head.scale"])
        assert not torch.equal(before["head.weight"], start["head.weight"])
        network = run.network(start, "scaled").eval()
        images = torch.rand(3, 3, 16, 16, generator=generator(0))
        with torch.no_grad():
            out = network(images)
        assert torch.equal(out.logits, F.linear(out.features, start["head.weight"], start["head.bias"]))


@pytest.mark.parametrize("name", ORACLES)
def test_classes_come_as_they_are_and_then_equally_often(name, demo_shard):
    run = Run(demo_shard, name)
    rare = [torch.cat(labels).float().mean().item() for labels in run.labels.values()]
    share = run.run.train.label.float().mean().item()
    assert share < 0.25
    assert rare[:FIRST] == pytest.approx([share] * FIRST)
    n = len(run.run.train)
    assert all(abs(part - 0.5) < 3 / math.sqrt(4 * n) for part in rare[FIRST:])


@pytest.mark.parametrize("name", ORACLES)
def test_shares_and_rates(name, demo_shard):
    found = plan(cases.of_counts(name, [3, 2]).stages, 100, "all")
    assert [epochs for _, epochs in found] == [range(90), range(90, 100)]
    assert [stage.sampler for stage, _ in found] == ["natural", "class"]
    rate = 0.1 if name == "cb-fine-tune" else 1.0
    assert found[1][0].rate == rate
    assert cases.of_counts(name, [3, 2], rate=0.3).stages[1].rate == 0.3
    assert [line["lr"] for line in Run(demo_shard, name).trained.history] == pytest.approx(
        [0.05, 0.025, 0.05 * rate, 0.025 * rate]
    )


@pytest.mark.parametrize("name", ORACLES)
def test_the_class_aware_sampler_of_the_second_stage(name, demo_shard):
    run = Run(demo_shard, name, sampler="class-aware")
    n, largest = len(run.run.train), int((run.run.train.label == 0).sum())
    sizes = [sum(map(len, labels)) for labels in run.labels.values()]
    assert sizes == [n] * FIRST + [min(2 * largest, 4 * n)] * (EPOCHS - FIRST)
    for epoch in range(FIRST, EPOCHS):
        drawn = torch.cat(run.labels[epoch])
        assert abs(int(drawn.sum()) - largest) <= 4, "as many of the rare class as of the other, to one turn"
        batches = [len(labels) for labels in run.labels[epoch]]
        assert len(batches) == steps_per_epoch(sizes[epoch], 20)
        assert max(batches) - min(batches) <= 1
    assert len(run.trained.history) == EPOCHS


def test_the_second_stage_of_the_class_aware_sampler_begins_with_its_epoch():
    for epochs in range(2, 40):
        for share in (0.1, 0.25, 0.5, 0.77):
            config = config_of("crt", options={"sampler": "class-aware", "share": share}, epochs=epochs)
            method = build(config, table_of([0] * 9 + [1]))
            if 0 < (first := round((1 - share) * epochs)) < epochs:
                assert first == plan(method.stages, epochs, "all")[0][1].stop
            assert [method.pictures(k) for k in range(epochs)] == [None] * first + [18] * (epochs - first)
            assert first == 0 or method.batches(0, 4, None) is None


def test_what_is_refused():
    for name in ORACLES:
        assert_refused(name, "sampler = group: expected one of class, class-aware", sampler="group")
        for share in (0.0, 1.0, math.nan):
            assert_refused(name, f"share = {share}: expected a number > 0 and < 1", share=share)
        assert_refused(name, "rate = -1.0: expected a number >= 0", rate=-1.0)
        with pytest.raises(
            UsageError, match=r"^epochs = 3: the method has 2 stages and one of them would get none; raise epochs$"
        ):
            plan(cases.of_counts(name, [3, 2]).stages, 3, "all")
