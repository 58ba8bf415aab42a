"""LEARN THE BACKGROUNDS: networks like the run's own learn pictures without their objects, and judge those not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.contract.seeds import rng_for
from clp_train.batches import BoxedPictures, generator_for, make_batch, steps_per_epoch
from clp_train.config import TrainConfig
from clp_train.data import unwatched
from clp_train.losses import check_finite
from clp_train.models.parts import Output
from clp_train.optimiser import build_optimiser, rate_factor, set_rates
from clp_train.scoring import BATCH, joined, score_backgrounds, without_object

NETWORKS = 2


def learnt_backgrounds(
    start: Callable[[], nn.Module],
    pictures: BoxedPictures,
    config: TrainConfig,
    watch: Callable[[Iterable, str], Iterable] = unwatched,
) -> Output:
    """Return features (N, A) and logits (N, C) of each picture without its object, by a network that has not seen it.

    start: makes the run's classifier as it is before its first step; watch: wraps the epochs for a progress bar. Each
    of two networks learns one half of the pictures with the run's settings and length, and judges the other half after
    each epoch; that of the epoch with the lowest loss there is returned, since a network that goes on learns rare
    pictures by heart. It costs about as much as a run with plain cross entropy. Raises DivergedError. Source: ours, for
    the biased model of Clark et al. 2019.
    """
    fold = parts_of(pictures.label.numpy(), rng_for(config.seed, 0, "background networks"))
    learnt, held = ([np.flatnonzero((fold == k) == own) for k in range(NETWORKS)] for own in (False, True))
    order = torch.from_numpy(np.concatenate(held).argsort())
    networks = [start() for _ in range(NETWORKS)]
    optimisers = [build_optimiser(network, config) for network in networks]
    best, lowest = None, float("inf")
    for epoch in watch(range(config.epochs), "BACKGROUND"):
        for k, (network, optimiser) in enumerate(zip(networks, optimisers, strict=True)):
            set_rates(optimiser, rate_factor(config, epoch, config.epochs))
            learn_epoch(network, optimiser, pictures, learnt[k], epoch * NETWORKS + k, config)
        found = joined([judged(network, pictures, rows) for network, rows in zip(networks, held, strict=True)])
        found = Output(found.features[order], found.logits[order])
        loss = F.cross_entropy(found.logits, pictures.label).item()
        if loss < lowest or best is None:
            best, lowest = found, loss
    return best


def parts_of(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return whose picture each is, int64 (N,): the networks' shares differ by one at most, of a class too."""
    order = rng.permutation(len(label))
    order = order[np.argsort(label[order], kind="stable")]
    part = np.empty(len(label), np.int64)
    part[order] = np.arange(len(label)) % NETWORKS
    return part


def learn_epoch(
    network: nn.Module,
    optimiser: torch.optim.SGD,
    pictures: BoxedPictures,
    rows: np.ndarray,
    turn: int,
    config: TrainConfig,
) -> None:
    """Go once through some rows, int64 (n,), of the pictures without their objects, with plain cross entropy."""
    network.train()
    order = rng_for(config.seed, turn, "background order").permutation(rows)
    generator = generator_for(config.seed, turn, "background transform")
    for part in np.array_split(order, steps_per_epoch(len(rows), config.batch_size)):
        shown = pictures.take(torch.from_numpy(part))
        hidden = replace(shown, images=without_object(shown.images, shown.box))
        batch = make_batch(hidden, np.arange(len(part)), generator, config.transform)
        losses = F.cross_entropy(network(batch.images).logits, batch.label, reduction="none")
        check_finite(losses, batch.sample_id, "loss of pictures without their objects", turn)
        optimiser.zero_grad()
        losses.mean().backward()
        optimiser.step()


def judged(network: nn.Module, pictures: BoxedPictures, rows: np.ndarray) -> Output:
    """Return what a network makes of some rows, int64 (n,), without their objects; taken a few at a time."""
    return joined([score_backgrounds(network, pictures.take(part)) for part in torch.from_numpy(rows).split(BATCH)])
