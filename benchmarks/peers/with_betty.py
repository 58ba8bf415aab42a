"""betty: Meta-Weight-Net as two of its problems, as its example learning_to_reweight does with --rollback: the network
takes its step again, with the new weights of the losses.

"darts" is that example's derivative and betty's default: a central difference of the training loss, taken at the
weights after the virtual step, where the chain rule asks for those before it, and without the learning rate. It is
another gradient, and its error says how far. "unrolled" is HigherIterativeProblem, the step unrolled by higher: the
same gradient as that of the others. It runs in betty 0.1.1, whose roll-back keeps references to what it is to bring
back; here a subclass keeps copies.
"""

from __future__ import annotations

from copy import deepcopy

import betty.problems as problems
from betty.configs import Config, EngineConfig
from betty.engine import Engine
from serve import Peer, main
from task import Task, weighted
from torch.nn.functional import cross_entropy

WAYS = {"darts": "ImplicitProblem", "unrolled": "HigherIterativeProblem"}


def inner_of(kind: type) -> type:
    """Return the problem of the network: go down the weighted loss."""

    class Inner(kind):
        def training_step(self, batch: tuple) -> object:
            x, y = batch
            return weighted(self.module(x), y, self.outer)

        def cache_states(self) -> None:
            super().cache_states()
            self.module_state_dict_cache = deepcopy(self.module_state_dict_cache)

    return Inner


class Outer(problems.ImplicitProblem):
    """The problem of the weight net: go down the meta loss."""

    def training_step(self, batch: tuple) -> object:
        x, y = batch
        return cross_entropy(self.inner.module(x), y)


def make(task: Task, how: str) -> Peer:
    """Return a peer. how: "darts" or "unrolled"."""
    unrolled = how == "unrolled"
    above = Config(type="darts", retain_graph=not unrolled, first_order=not unrolled)
    inner = inner_of(getattr(problems, WAYS[how]))(
        "inner", Config(type="darts", unroll_steps=1), task.network, task.sgd(), train_data_loader=task.train
    )
    outer = Outer("outer", above, task.net, task.adam(), train_data_loader=task.meta)
    between = {"u2l": {outer: [inner]}, "l2u": {inner: [outer]}}
    engine = Engine([outer, inner], EngineConfig(roll_back=True), between)
    engine.train()

    def steps(count: int) -> float:
        for _ in range(count):
            engine.global_step += 1
            engine.train_step()
        return float("nan")

    scale, packages = (1.0, ("betty-ml", "higher")) if unrolled else (task.rate, ("betty-ml",))
    return Peer(steps, lambda: outer.optimizer, lambda: list(inner.module.parameters()), packages, scale)


if __name__ == "__main__":
    main(make)
