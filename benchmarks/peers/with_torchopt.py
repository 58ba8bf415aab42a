"""TorchOpt: a step of `MetaSGD`, undone after the meta loss, as its example l2r.py does; then the step itself."""

from __future__ import annotations

import torchopt
from serve import Peer, main
from task import Task, Turns, final_step, weighted
from torch import Tensor
from torch.nn.functional import cross_entropy


def make(task: Task, how: str) -> Peer:
    """Return a peer; there is one way."""
    network, net, sgd, adam = task.network, task.net, task.sgd(), task.adam()
    train, meta = Turns(task.train), Turns(task.meta)
    virtual = torchopt.MetaSGD(network, lr=task.rate)

    def step(x: Tensor, y: Tensor, x_meta: Tensor, y_meta: Tensor) -> Tensor:
        kept, kept_optimiser = torchopt.extract_state_dict(network), torchopt.extract_state_dict(virtual)
        virtual.step(weighted(network(x), y, net))
        meta_loss = cross_entropy(network(x_meta), y_meta)
        adam.zero_grad()
        meta_loss.backward(inputs=list(net.parameters()))
        adam.step()
        torchopt.recover_state_dict(network, kept)
        torchopt.recover_state_dict(virtual, kept_optimiser)
        final_step(network, net, sgd, x, y)
        return meta_loss.detach()

    def steps(count: int) -> float:
        for batch, of_meta in zip(train(count), meta(count)):  # noqa: B905
            loss = step(*batch, *of_meta)
        return loss.item()

    return Peer(steps, lambda: adam, lambda: list(network.parameters()), ("torchopt",))


if __name__ == "__main__":
    main(make)
