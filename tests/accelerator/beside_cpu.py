"""The same on the CPU and on an accelerator, and how far apart what comes of it may lie."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clp_train.running import loop
from clp_train.running.assembly import assemble
from tests.clp_train.builders import config_of

TEN_STEPS = {"model": "resnet8", "epochs": 1, "batch_size": 8, "lr": 0.01}
"""Of 80 training pictures."""
CLOSE = 1e-4


@dataclass(frozen=True)
class Ran:
    """What a run left. trained: its result; method: the method's state, on the CPU; device: of the network."""

    trained: loop.Trained
    method: dict[str, Tensor]
    device: str


@contextlib.contextmanager
def its_kernels(device: str) -> Iterator[None]:
    """Within it other kernels of the CPU compute, where that is the device: in a dry run."""
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = before and device != "cpu"
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def run_on(device, shard, data, method, options=None, checkpoint=None, resume=False, hooks=loop.NO_HOOKS, **settings):
    """Train on a device, from the same start on each; as `clp-train` does it, within the precision of the run."""
    config = config_of(method, shard, options, **{**TEN_STEPS, **settings}, device=device)
    assembly = assemble(config, data)
    with assembly.place.active():
        trained = loop.train(assembly, hooks, checkpoint, resume)
    method_state = {name: value.cpu() for name, value in assembly.method.state_dict().items()}
    return Ran(trained, method_state, assembly.network.head.weight.device.type)


def on_both(device, shard, data, method, options=None, **settings):
    """Return what ten steps left on the CPU and on the device."""
    cpu = run_on("cpu", shard, data, method, options, **settings)
    with its_kernels(device):
        there = run_on(device, shard, data, method, options, **settings)
    assert there.device == device
    return cpu, there


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], close: float = CLOSE) -> None:
    """Two states are the same to a share of each tensor's length. Counters are the same number."""
    assert found.keys() == expected.keys()
    assert all(value.device.type == "cpu" for value in found.values())
    apart = {name: distance(value, expected[name]) for name, value in found.items()}
    far = {name: value for name, value in apart.items() if not value <= close}
    assert not far


def distance(found: Tensor, expected: Tensor) -> float:
    """Return how far two tensors are apart, as a share of the length of one; of 1 where that is shorter."""
    a, b = found.double().flatten(), expected.double().flatten()
    return float((a - b).norm() / b.norm().clamp(min=1))
