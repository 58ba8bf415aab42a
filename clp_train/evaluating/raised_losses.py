"""Fig. 5: for how many training pictures the perturbation raises the loss, for right and for wrong labels.

A raised loss gives a picture more weight, a lowered one less. A perturbation that detects noise raises the losses of
right labels more often than those of wrong ones. Only this report knows which labels are wrong; no method sees it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Method
from clp_train.evaluating.outputs import score
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.types import BoxedPictures

RIGHT_UP, WRONG_UP = "raised_right", "raised_wrong"  # keys of a history line
MOST = 5000  # pictures that are used, drawn once per run
ROUNDING = 1e-9  # a delta that all classes share changes the loss by at most this


def raises(logits: Tensor, delta: Tensor, label: Tensor) -> Tensor:
    """Return for which pictures the perturbation raises the cross entropy, bool (n,). logits, delta: (n, C); label:
    int64 (n,).
    """
    z = logits.double()
    return cross_entropy(z + delta.double(), label) > cross_entropy(z, label) + ROUNDING


@torch.no_grad()
def raised_losses(
    network: Classifier,
    method: Method,
    train: BoxedPictures,
    wrong: Tensor | None,
    seed: int,
    batch_size: int,
    progress: float,
) -> dict[str, float | None]:
    """Return the share of pictures with a loss that the perturbation raises, in [0, 1], for right and for wrong labels.

    wrong: bool (N,), of the training pictures, None if no label is wrong or this is unknown; progress: share of the
    run's epochs that is done. At most MOST pictures are used, untransformed, in batches of the run's size, because the
    characteristics are standardised over a batch. The network is set to evaluation mode and left in it. Empty without
    wrong labels or without a perturbation; None for a kind of label that no picture has. Source: Fig. 5 of the paper;
    the time and the choice of pictures are ours.
    """
    if wrong is None or not method.perturbs:
        return {}
    rows = rng_for(seed, 0, "loss changes").permutation(len(train))[:MOST]
    out = score(network, train.take(torch.from_numpy(rows)))
    head, parts = network.head.weight.detach(), []
    for part in np.array_split(np.arange(len(rows)), steps_per_epoch(len(rows), batch_size)):
        picture_rows = torch.from_numpy(rows[part])
        label, group = train.label[picture_rows], train.group[picture_rows]
        view = View(out.logits[part], out.features[part], head, label, group, picture_rows, progress).to(head.device)
        delta = method.terms(view).delta
        if delta is None:
            raise ValueError(f"{type(method).__name__} says that it perturbs, and its terms have no delta")
        parts.append(raises(out.logits[part], delta.cpu(), label))
    up, kind = torch.cat(parts), wrong[torch.from_numpy(rows)]
    return {name: share(up[kind == is_wrong]) for name, is_wrong in ((RIGHT_UP, False), (WRONG_UP, True))}


def share(true: Tensor) -> float | None:
    """Return the share of True in bool (n,), None for none."""
    return float(true.double().mean()) if len(true) else None
