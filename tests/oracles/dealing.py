"""Dealing copies one by one, with a generator of its own for each picture."""

import numpy as np

from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.contract.seeds import rng_for
from clp_aug.sharding import Copy


def draws(seed: int, sample_ids: np.ndarray, stage: str) -> list[float]:
    """Return the first number of each picture's generator."""
    return [rng_for(seed, int(i), stage).random() for i in sample_ids]


def plan(labels, sample_ids, cf, f, ratio: int, seed: int) -> list[list[Copy]]:
    """Return the copies of each picture: kinds in turn, and of each kind the next fill."""
    lottery = np.array(draws(seed, sample_ids, "plan"))
    kinds = [kind for kind, fills in ((COUNTERFACTUAL, cf), (FACTUAL, f)) if fills]
    fills, dealt = {COUNTERFACTUAL: cf, FACTUAL: f}, {COUNTERFACTUAL: 0, FACTUAL: 0}
    copies: list[list[Copy]] = [[] for _ in labels]
    for rank, i in enumerate(np.lexsort((lottery, labels))):
        for number in range(ratio):
            kind = kinds[(rank + number) % len(kinds)]
            copies[i].append(Copy(kind, fills[kind][dealt[kind] % len(fills[kind])], number))
            dealt[kind] += 1
        copies[i].sort(key=lambda copy: (copy.kind, copy.number))
    return copies
