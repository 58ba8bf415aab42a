"""More epochs for a finished run: its final state becomes the state of a longer, unfinished run.

The result has the same bytes as a run with that many epochs from the start. If this is impossible, because learning
rates, stages or the method depend on the share of all epochs, an error is raised.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.nets.state import read_state, write_state
from clp_train.algorithm.optimiser import rate_factor
from clp_train.algorithm.stages import plan
from clp_train.running.assembly import Assembly
from clp_train.running.checkpoint import Checkpoint, learnt, prefixed, read_weights
from clp_train.running.clock import Spent
from clp_train.running.epochs import measures_of


def check_longer(assembly: Assembly, done: int, epochs_seen: int) -> None:
    """Raise SettingError unless a run of `done` epochs is the beginning of the assembled one.

    epochs_seen: how many it really had; fewer if it stopped early.
    """
    config, method = assembly.config, assembly.method
    epochs = config.run.epochs
    start = f"the run of {done} epochs cannot continue"
    remedy = "train again with another --out"
    if epochs_seen < done:
        raise SettingError("epochs", epochs, f"{start}: it stopped after {epochs_seen}, by its patience; {remedy}")
    if method.paced:
        reason = f"{start}: {config.method} depends on the finished share of all epochs; {remedy}"
        raise SettingError("epochs", epochs, reason)
    before = plan(method.stages, done, config.run.trainable)
    if len(before) > 1:
        reason = f"{start}: the stages of {config.method} are shares of all epochs; {remedy}"
        raise SettingError("epochs", epochs, reason)
    if any(rate_factor(config.sgd, epoch, done) != rate_factor(config.sgd, epoch, epochs) for epoch in range(done)):
        reason = f"{start}: its learning rates followed the schedule {config.sgd.schedule}, by shares of all epochs"
        raise SettingError("epochs", epochs, f"{reason}; {remedy}, or with schedule = constant from the start")


def reopen(assembly: Assembly, done: int, checkpoint: Checkpoint, spent: Spent) -> None:
    """Write the full state of the assembled run, made from the final state of the same run of `done` epochs.

    checkpoint: its file; the final state and the weights are beside it; spent: the time so far. Raises what
    `check_longer` and `read_state` raise, and InputError if the final state or weights are missing.
    """
    ended = checkpoint.at_end()
    if not ended.path.exists():
        raise InputError(
            f"{ended.path}: no such file, so the run cannot continue; runs of earlier versions have none: train again"
            " with another --out"
        )
    plain, tensors = read_state(ended.path, ended.key | {"epochs": done})
    check_longer(assembly, done, len(plain["history"]))
    for part, path in ended.beside.items():
        if part == "network" or plain.get(part) is not None:
            tensors |= prefixed(part, learnt(read_weights(path), plain.get("body", "")))
    if not assembly.config.run.watch_test:
        plain["history"][-1] = without_tests(plain["history"][-1], assembly.data.evaluation)
    write_state(checkpoint.path, checkpoint.key, plain | {"spent": spent}, tensors)


def without_tests(line: dict[str, Any], splits: Collection[str]) -> dict[str, Any]:
    """Return the line of a last epoch as if it were not the last: without the metrics of test splits."""
    tests = {name for split in splits if split != "val" for name in measures_of(split).values()}
    return {name: value for name, value in line.items() if name not in tests}
