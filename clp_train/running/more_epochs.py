"""More epochs for a finished run: its state at the end becomes that of a longer run that is under way.

It goes on to the same bytes as a run that had so many epochs from its start. Where that cannot be, it is refused:
where learning rates, stages or the method follow shares of all epochs.
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

    epochs_seen: how many it really had, fewer where it stopped early.
    """
    config, method = assembly.config, assembly.method
    epochs = config.run.epochs
    start = f"the run of {done} epochs cannot go on"
    remedy = "train anew with another --out"
    if epochs_seen < done:
        raise SettingError("epochs", epochs, f"{start}: it stopped after {epochs_seen}, by its patience; {remedy}")
    if method.paced:
        reason = f"{start}: what {config.method} does follows the share of all epochs that is done; {remedy}"
        raise SettingError("epochs", epochs, reason)
    before = plan(method.stages, done, config.run.trainable)
    if len(before) > 1:
        reason = f"{start}: the stages of {config.method} are shares of all epochs; {remedy}"
        raise SettingError("epochs", epochs, reason)
    if any(rate_factor(config.sgd, epoch, done) != rate_factor(config.sgd, epoch, epochs) for epoch in range(done)):
        reason = f"{start}: its learning rates followed the schedule {config.sgd.schedule}, by shares of all epochs"
        raise SettingError("epochs", epochs, f"{reason}; {remedy}, or with schedule = constant from the start")


def reopen(assembly: Assembly, done: int, checkpoint: Checkpoint, spent: Spent) -> None:
    """Write the full state of the assembled run, made of that at the end of the same run of `done` epochs.

    checkpoint: where it goes; the state at the end lies beside it, and so do the weights; spent: what they took.
    Raises what `check_longer` and `read_state` raise, and InputError where there is no state at the end, or weights are
    missing.
    """
    ended = checkpoint.at_end()
    if not ended.path.exists():
        raise InputError(
            f"{ended.path}: no such file, so the run cannot go on; runs of earlier versions have none: train anew with"
            " another --out"
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
    """Return the line of a last epoch as one has it that others follow: without the metrics of test splits."""
    tests = {name for split in splits if split != "val" for name in measures_of(split).values()}
    return {name: value for name, value in line.items() if name not in tests}
