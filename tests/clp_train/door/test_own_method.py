"""The method that CONTRIBUTING.md shows is run as it is printed there; a method with a penalty of its own."""

import copy
import re
import sys
import textwrap
import types
from pathlib import Path

import torch
from torch.nn import functional as F

from clp_train import methods
from clp_train.algorithm.method import Method
from clp_train.algorithm.optimiser import build_optimiser
from clp_train.methods.clp import MetaLp
from clp_train.models.parts import heads
from tests.clp_train.builders import (
    batch_of,
    config_of,
    context_of,
    generator,
    load,
    network_of,
    step,
    table_of,
    train,
)

TEXT = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text("utf-8")


def test_the_shown_method_trains(demo_shard, monkeypatch):
    block = textwrap.dedent(re.search(r"halving\.py`, complete:\n\n((?:    .*\n|\n)+)", TEXT)[1])
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    module = types.ModuleType("clp_train.methods.halving")
    exec(block, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = re.search(r'Add `"halving": (.*?)` to', TEXT, re.S)[1]
    monkeypatch.setitem(methods.METHODS, "halving", eval(entry, {"Entry": methods.Entry}))
    config = config_of(meta=demo_shard, method="halving", epochs=2, batch_size=20)
    trained = train(config, load(config))
    plain = train(config_of(meta=demo_shard, method="erm", epochs=2, batch_size=20), load(config))
    assert [line["epoch"] for line in trained.history] == [1, 2]
    assert trained.history[0]["train_loss"] < plain.history[0]["train_loss"]  # some weighed half


class Small:
    """The slot `penalty`, filled with the mean square of logits and features."""

    def penalty(self, out, batch, network):
        return 0.3 * out.logits.square().mean() + 0.1 * out.features.square().mean()


class SmallErm(Small, Method):
    """Cross entropy with it."""


class SmallMetaLp(Small, MetaLp):
    """Meta-LP with it."""


def test_a_penalty_is_added_to_the_objective():
    network, batch, config = network_of(), batch_of(n=12), config_of("erm")
    other = copy.deepcopy(network)
    step(network, SmallErm(), build_optimiser(network, heads(network), config.sgd), batch, None, config)
    out, optimiser = other(batch.images), build_optimiser(other, heads(other), config.sgd)
    (F.cross_entropy(out.logits, batch.label) + Small().penalty(out, batch, network)).backward()
    optimiser.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_penalty_enters_the_virtual_step_and_the_final_one_in_every_mode():
    results = []
    for mode in ("reference", "forward", "central"):
        network, batch, meta = network_of(), batch_of(n=12), batch_of(5, n=12)
        config = config_of("meta-lp", hypergradient=mode)
        method = SmallMetaLp(config.options, context_of(config, table_of(torch.arange(12) % 3), 1))
        method.network.double()
        method.classes = type(method.classes)(*(v.double() for v in method.classes))
        torch.nn.init.normal_(method.network.last.weight, generator=generator(2))
        step(network, method, build_optimiser(network, heads(network), config.sgd), batch, meta, config)
        grads = torch.cat([values.grad.flatten() for values in method.learned])
        results.append((grads, torch.cat([w.detach().flatten() for w in network.parameters()])))
    (grads, weights), *others = results
    assert grads.norm() > 1e-6
    for (found, w), tolerance in zip(others, (1e-9, 1e-2), strict=True):
        assert (found - grads).norm() <= tolerance * grads.norm()
        assert (w - weights).norm() <= 1e-3 * tolerance * weights.norm()
