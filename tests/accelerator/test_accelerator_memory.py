"""A device whose memory is full ends a run in one line that says what takes less."""

import contextlib

import pytest
import torch
from click.testing import CliRunner

from clp_aug.nets.devices import memory_of
from clp_train.cli import train
from clp_train.running import loop, place
from tests.clp_train.builders import make_demo_shard

ROOM = 512 << 20


@contextlib.contextmanager
def little_memory(device, monkeypatch):
    """Within it, a process has room for 512 MiB more; in a dry run a step says what a full device says."""
    if device == "cpu":
        full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 1.00 GiB free.")
        monkeypatch.setattr(place.Place, "is_cpu", False)
        monkeypatch.setattr(loop, "epoch_steps", lambda *_: (_ for _ in ()).throw(full))
        yield
        return
    module, where = torch.get_device_module(device), torch.device(device, 0)
    if not hasattr(module, "set_per_process_memory_fraction") or memory_of(where) is None:
        pytest.skip(f"{device} cannot be told how much of its memory a process may take")
    torch.accelerator.empty_cache()
    taken = torch.accelerator.memory_allocated(where) + ROOM
    module.set_per_process_memory_fraction(taken / memory_of(where), where)
    try:
        yield
    finally:
        module.set_per_process_memory_fraction(1.0, where)
        torch.accelerator.empty_cache()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """400 training pictures of 64 x 64: a batch of all needs 2 GiB in ResNet-32."""
    return make_demo_shard(tmp_path_factory.mktemp("large") / "large.h5", size=64, per_group=2, train=400)


def call(shard, device, out, *more):
    arguments = ["--meta", shard, "--device", device, "--method", "erm", "--epochs", "1", "--out", out, "--quiet"]
    return CliRunner().invoke(train, [str(word) for word in (*arguments, *more)])


def test_one_line_with_a_remedy(large, device, tmp_path, monkeypatch):
    with little_memory(device, monkeypatch):
        done = call(large, device, tmp_path / "full", "--batch-size", 400, "--model", "resnet32")
    assert done.exit_code == 3
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in ("out of memory", "--batch-size", "--store memory", "--precision bf16"):
        assert word in lines[0]


def test_the_remedy_helps(large, device, tmp_path, monkeypatch):
    """And what was taken before is given back: a run after one that failed finds room."""
    with contextlib.nullcontext() if device == "cpu" else little_memory(device, monkeypatch):
        done = call(large, device, tmp_path / "fits", "--batch-size", 20, "--limit", 40, "--model", "resnet8")
    assert done.exit_code == 0, done.output
