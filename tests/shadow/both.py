"""A run on the CPU and the same on the second device, compared to the last bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from clp_train.running import loop
from clp_train.running.assembly import assemble
from tests.clp_train.builders import config_of
from tests.shadow import second_device

SMALL = {"model": "resnet8", "epochs": 1, "batch_size": 12, "lr": 0.05, "transform": "none"}


@dataclass(frozen=True)
class Ran:
    """What a run left. trained: its result; method: the method's state; network: where it was at the end."""

    trained: loop.Trained
    method: dict[str, torch.Tensor]
    device: str


def small(shard, method, device, options=None, **settings):
    """Return the configuration of a few steps of a tiny network."""
    return config_of(method, shard, options, **{**SMALL, **settings}, device=device)


def run_on(device, shard, data, method, options=None, checkpoint=None, resume=False, hooks=loop.NO_HOOKS, **settings):
    """Train on a device, from the same start on each."""
    assembly = assemble(small(shard, method, device, options, **settings), data)
    trained = loop.train(assembly, hooks, checkpoint, resume)
    where = assembly.network.head.weight.device.type
    return Ran(trained, {name: value.cpu() for name, value in assembly.method.state_dict().items()}, where)


def assert_same_on_both(shard, data, method, options=None, **settings):
    """Train on both devices: the same weights, history, metrics and state of the method, bit by bit."""
    cpu, shadow = (run_on(device, shard, data, method, options, **settings) for device in ("cpu", second_device.NAME))
    assert (cpu.device, shadow.device) == ("cpu", second_device.NAME)
    assert_same(cpu, shadow)
    return shadow


def assert_same(one: Ran, other: Ran) -> None:
    """What two runs left is the same, bit by bit."""
    a, b = one.trained, other.trained
    assert_same_tensors(a.last.state, b.last.state)
    assert_same_tensors(one.method, other.method)
    assert a.history == b.history
    assert a.last.metrics == b.last.metrics
    assert (a.selected is None) == (b.selected is None)
    if a.selected is not None:
        assert a.selected.epoch == b.selected.epoch
        assert a.selected.metrics == b.selected.metrics
        assert_same_tensors(a.selected.state, b.selected.state)


def assert_same_tensors(a: dict[str, torch.Tensor], b: dict[str, Any]) -> None:
    """Two states have the same tensors, on the CPU."""
    assert a.keys() == b.keys()
    wrong = {n: (v - b[n]).abs().max().item() for n, v in a.items() if not torch.equal(v, b[n])}
    assert not wrong
