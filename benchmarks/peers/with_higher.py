"""higher: the virtual step within `innerloop_ctx`, its optimiser's step unrolled; then the step itself."""

from __future__ import annotations

import higher
from serve import Peer, main
from task import Task, Turns, final_step, weighted
from torch import Tensor
from torch.nn.functional import cross_entropy


def make(task: Task, how: str) -> Peer:
    """Return a peer; there is one way."""
    network, net, sgd, adam = task.network, task.net, task.sgd(), task.adam()
    train, meta = Turns(task.train), Turns(task.meta)

    def step(x: Tensor, y: Tensor, x_meta: Tensor, y_meta: Tensor) -> Tensor:
        with higher.innerloop_ctx(network, sgd) as (virtual, inner):
            inner.step(weighted(virtual(x), y, net))
            meta_loss = cross_entropy(virtual(x_meta), y_meta)
            adam.zero_grad()
            meta_loss.backward(inputs=list(net.parameters()))
        adam.step()
        final_step(network, net, sgd, x, y)
        return meta_loss.detach()

    def steps(count: int) -> float:
        for batch, of_meta in zip(train(count), meta(count)):  # noqa: B905
            loss = step(*batch, *of_meta)
        return loss.item()

    return Peer(steps, lambda: adam, lambda: list(network.parameters()), ("higher",))


if __name__ == "__main__":
    main(make)
