"""A network with split passes: each rank passes its own part of a batch, and all ranks get the whole output.

This replaces the network's `forward`, so callers need not know, also with other weights or in evaluation mode. Code
that needs derivatives by pictures, or intermediate values, must use whole passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clp_train.ranks import SYNCHRONISED
from clp_train.ranks.batch_norm import Synchronised
from clp_train.ranks.team import Ranks, Share

FORWARD = "forward"


class SplitPasses:
    """Replaces a network's forward. share: of the present pass, None for a pass of all pictures; own: share of passes
    that get only this rank's rows; whole: whether passes are not split.
    """

    def __init__(self, network: nn.Module, ranks: Ranks) -> None:
        self.forward, self.ranks = network.forward, ranks
        self.share: Share | None = None
        self.own: Share | None = None
        self.whole = False

    def __call__(self, x: Tensor) -> Any:
        share = self.own or (None if self.whole else self.ranks.share(len(x)))
        if share is None:
            return self.forward(x)
        before, self.share = self.share, share
        try:
            out = self.forward(x if self.own else x[share.rows])
        finally:
            self.share = before
        return out if self.own else gathered_output(out, share)


@contextmanager
def split_passes(network: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Split the passes of a network over the ranks inside this context; in a single process nothing changes."""
    if ranks.size == 1:
        yield
        return
    passes, taken = SplitPasses(network, ranks), [network]
    vars(network)[FORWARD] = passes
    if ranks.batch_norm == SYNCHRONISED:
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                vars(module)[FORWARD] = Synchronised(module, passes)
                taken.append(module)
    try:
        yield
    finally:
        for module in taken:
            vars(module).pop(FORWARD, None)


def passes_of(network: nn.Module) -> SplitPasses | None:
    """Return the object that splits a network's passes, None if they are not split."""
    found = vars(network).get(FORWARD)
    return found if isinstance(found, SplitPasses) else None


@contextmanager
def whole_passes(network: nn.Module) -> Iterator[None]:
    """Let each rank pass all of the network's input through it inside this context."""
    passes = passes_of(network)
    if passes is None:
        yield
        return
    before, passes.whole = passes.whole, True
    try:
        yield
    finally:
        passes.whole = before


@contextmanager
def own_passes(network: nn.Module, share: Share | None) -> Iterator[None]:
    """Let a network take this rank's own rows of a batch and return their output; with None as `whole_passes`.

    Statistics of batch norm are those of the whole batch if they are synchronised.
    """
    passes = passes_of(network)
    if passes is None or share is None:
        with whole_passes(network):
            yield
        return
    before, passes.own = passes.own, share
    try:
        yield
    finally:
        passes.own = before


def gathered_output(out: Any, share: Share | None) -> Any:
    """Return a network's output for all parts of a batch. out: nested named tuples of tensors (n, ...) or None."""
    if share is None or out is None:
        return out
    if isinstance(out, Tensor):
        return share.gather(out)
    return type(out)(*(gathered_output(part, share) for part in out))
