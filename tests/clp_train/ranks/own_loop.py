"""One process of somebody's loop, python -m tests.clp_train.ranks.own_loop OUT: half of each batch where two are."""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD

from clp_train import Bilevel
from clp_train.ranks.launching import joined, ranks_of
from tests.clp_train.algorithm.small_loops import batches, net_of, weighted_by_a_net


def network_of():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(36, 3)).double()


def own_part(batch, ranks):
    """Return the rows of a batch that this process has."""
    share = ranks.share(len(batch[0]))
    return batch if share is None else tuple(part[share.rows] for part in batch)


def main(out):
    ranks = ranks_of(os.environ)
    with joined(ranks):
        network, net = network_of(), net_of()
        core = nn.parallel.DistributedDataParallel(network) if ranks.size > 1 else network
        optimiser = SGD(network.parameters(), lr=0.1, momentum=0.9)
        train = [own_part(batch, ranks) for batch in batches(count=6)]
        meta = [own_part(batch, ranks) for batch in batches(count=6, seed=1)]
        bilevel = Bilevel(core, optimiser, net, meta, weighted_by_a_net, meta_loss=F.cross_entropy)
        for x, y in train:
            bilevel.step(x, y)
        state = {**network.state_dict(), **{f"learned.{k}": v for k, v in net.state_dict().items()}}
        save_file(
            {k: v.contiguous() for k, v in state.items()}, Path(out, f"rank{ranks.rank}of{ranks.size}.safetensors")
        )


if __name__ == "__main__":
    main(sys.argv[1])
