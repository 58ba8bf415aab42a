"""Plain torch: a plain step of cross entropy, or Meta-Weight-Net by a double backward as short as it can be written.

One forward pass of the training batch serves the virtual step and the final one, so it needs less than the textbook's.
"""

from __future__ import annotations

import torch
from serve import Peer, main
from task import Task, Turns, held, weighted
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy


def make(task: Task, how: str) -> Peer:
    """Return a peer. how: "plain" or "double backward"."""
    network, net, sgd, adam = task.network, task.net, task.sgd(), task.adam()
    train, meta = Turns(task.train), Turns(task.meta)
    names, weights = zip(*network.named_parameters())  # noqa: B905

    def plain(x: Tensor, y: Tensor) -> Tensor:
        loss = cross_entropy(network(x), y)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss.detach()

    def twice(x: Tensor, y: Tensor, x_meta: Tensor, y_meta: Tensor) -> Tensor:
        logits = network(x)
        gradients = torch.autograd.grad(weighted(logits, y, net), weights, create_graph=True)
        virtual = {name: w - task.rate * g for name, w, g in zip(names, weights, gradients)}  # noqa: B905
        meta_loss = cross_entropy(functional_call(network, virtual, (x_meta,)), y_meta)
        of_net = torch.autograd.grad(meta_loss, list(net.parameters()), retain_graph=True)
        for w, g in zip(net.parameters(), of_net):  # noqa: B905
            w.grad = g
        adam.step()
        with held(net):
            loss = weighted(logits, y, net)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return meta_loss.detach()

    def steps(count: int) -> float:
        for batch, of_meta in zip(train(count), meta(count)):  # noqa: B905
            loss = plain(*batch) if how == "plain" else twice(*batch, *of_meta)
        return loss.item()

    return Peer(steps, lambda: adam, lambda: list(weights))


if __name__ == "__main__":
    main(make)
