"""A network whose passes are split: each rank takes its own part of a batch through it, and all get all of the output.

This stands in the network's place of `forward`, so who calls it, with other weights or in evaluation mode, need not
know. What asks for derivatives by pictures, or looks inside, takes whole passes.
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
    """What stands in the place of a network's forward. share: of the pass under way, None for one of all pictures; own:
    of passes that are given this rank's rows alone; whole: whether passes are left as they are.
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
    """Within it, the passes of a network are split over the ranks; alone, nothing changes."""
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
    """Return what splits a network's passes, None where they are not."""
    found = vars(network).get(FORWARD)
    return found if isinstance(found, SplitPasses) else None


@contextmanager
def whole_passes(network: nn.Module) -> Iterator[None]:
    """Within it, each rank takes all that a network is given through it."""
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
    """Within it, a network is given this rank's own rows of a batch, and gives its own output; None: as `whole_passes`.

    Statistics of batch norm are those of the whole batch, where they are synchronised.
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
    """Return what a network says of all parts of a batch: named tuples of tensors (n, ...), or None, within."""
    if share is None or out is None:
        return out
    if isinstance(out, Tensor):
        return share.gather(out)
    return type(out)(*(gathered_output(part, share) for part in out))
