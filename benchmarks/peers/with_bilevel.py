"""Ours: `clp_train.Bilevel` with a training loss of its own, as docs/tutorials/own-loop.md shows it."""

from __future__ import annotations

from serve import Peer, main
from task import Task, Turns, weighted

from clp_train import Bilevel
from clp_train.algorithm.bilevel import MODES


def make(task: Task, how: str) -> Peer:
    """Return a peer. how: a mode of Bilevel."""
    if how not in MODES:
        raise SystemExit(f"Bilevel has no mode {how}; it has {', '.join(MODES)}")
    sgd, adam = task.sgd(), task.adam()
    bilevel = Bilevel(task.network, sgd, task.net, task.meta, weighted, learned_optimiser=adam, mode=how)
    train = Turns(task.train)

    def steps(count: int) -> float:
        for x, y in train(count):
            bilevel.step(x, y)
        return bilevel.meta_loss.item()

    return Peer(steps, lambda: adam, lambda: list(task.network.parameters()), ("causal-logit-perturbation",))


if __name__ == "__main__":
    main(make)
