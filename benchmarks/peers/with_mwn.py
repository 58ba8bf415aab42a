"""The authors' Meta-Weight-Net script, MW-Net.py in a folder of the user's: its own `train`, on this task's batches.

The script is run from its file, as a module, on a machine without CUDA and without its data. For that alone, at run
time: `Module.cuda` leaves a module where it is, the script's device is the CPU, and its data sets are empty stand-ins,
as are the drawing packages that it imports without using them. Its models, steps and updates are its own.
"""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from pathlib import Path

import torch
from serve import Peer, main
from task import META_RATE, FirstNoted, Task, Turns
from torch import nn


class NoPictures(list):
    """In place of the script's data sets: one item, so that its loaders can be made; nothing reads it."""

    def __init__(self, **_unused: object) -> None:
        super().__init__([0])


class Batches(list):
    """A list of batches in place of a loader, with the `dataset` whose length the script prints."""

    dataset = ()


def script_of(folder: Path, rate: float) -> types.ModuleType:
    """Return MW-Net.py as a module, made for a CPU. Raises SystemExit where the folder has none."""
    file = folder / "MW-Net.py"
    if not file.is_file():
        raise SystemExit(f"{folder} has no MW-Net.py; expected a checkout of xjtushujun/meta-weight-net")
    data = types.ModuleType("load_corrupted_data")
    data.CIFAR10 = data.CIFAR100 = NoPictures
    sys.modules["load_corrupted_data"] = data
    for name in ("matplotlib", "matplotlib.pyplot"):
        sys.modules[name] = types.ModuleType(name)
    nn.Module.cuda = lambda module, device=None: module
    warnings.simplefilter("ignore")  # arguments of functions of torch that have other names now
    sys.path.insert(0, str(folder))
    sys.argv = [file.name, "--lr", str(rate)]
    specification = importlib.util.spec_from_file_location("mw_net", file)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    script.device = torch.device("cpu")
    return script


def fill(module: nn.Module, source: nn.Module) -> None:
    """Copy weights into a MetaModule, in order. Raises SystemExit where they are not of the same shapes."""
    targets, values = list(module.params()), list(source.parameters())
    if [w.shape for w in targets] != [w.shape for w in values]:
        raise SystemExit("the script's network has other weights than the task's")
    with torch.no_grad():
        for target, value in zip(targets, values):  # noqa: B905
            target.copy_(value)


def make(task: Task, how: str) -> Peer:
    """Return a peer. how: the folder."""
    script = script_of(Path(how), task.rate)
    fill(script.model, task.network)
    fill(script.vnet, task.net)
    sgd = torch.optim.SGD(script.model.params(), task.rate)
    adam = FirstNoted(script.vnet.params(), META_RATE)
    train, meta = Turns(task.train), Turns(task.meta)

    def steps(count: int) -> float:
        script.train(Batches(train(count)), Batches(meta(count)), script.model, script.vnet, sgd, adam, 0)
        return float("nan")  # it prints its losses, and returns nothing

    return Peer(steps, lambda: adam, lambda: list(script.model.params()))


if __name__ == "__main__":
    main(make)
