"""LEARN THE BACKGROUNDS: networks like the run's own learn pictures without objects, and predict those not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.losses import Check, check_finite, deferred_checks, settle
from clp_train.algorithm.noise import same_noise
from clp_train.algorithm.optimiser import build_optimiser, rate_factor, set_rates
from clp_train.algorithm.settings import SgdSettings
from clp_train.evaluating.outputs import BATCH, join, score_backgrounds, without_object
from clp_train.models.parts import Classifier, Output, device_of, heads
from clp_train.pictures.batching import make_batch, steps_per_epoch
from clp_train.pictures.keys import generator_for
from clp_train.pictures.settings import BatchSettings
from clp_train.pictures.types import BoxedPictures
from clp_train.ranks.splitting import split_passes
from clp_train.ranks.team import ALONE, Ranks

NETWORKS = 2


@dataclass(frozen=True)
class Fitting:
    """How background networks learn: as the run does.

    start: makes the run's classifier as it is before the first step; ranks: the processes that learn them together.
    """

    start: Callable[[], Classifier]
    seed: int
    epochs: int
    sgd: SgdSettings
    batches: BatchSettings
    ranks: Ranks = ALONE


def learn_backgrounds(fitting: Fitting, pictures: BoxedPictures, watch: Watch = unwatched) -> Output:
    """Return features (N, A) and logits (N, C) of each picture without its object, by a network that has not seen it.

    watch: wraps the epochs for a progress bar. Each of two networks learns one half of the pictures with the run's
    settings and length, and predicts the other half after each epoch. The result is from the epoch with the lowest loss
    on that half, because a network that trains longer memorises rare pictures. It costs about as much as a run with
    plain cross entropy. Raises DivergedError. Source: ours, for the biased model of Clark et al. 2019.
    """
    half = halves_of(pictures.label.numpy(), rng_for(fitting.seed, 0, "background networks"))
    learn_rows, judge_rows = (
        [np.flatnonzero((half == k) == is_own) for k in range(NETWORKS)] for is_own in (False, True)
    )
    order = torch.from_numpy(np.concatenate(judge_rows).argsort())
    networks = [fitting.start() for _ in range(NETWORKS)]
    optimisers = [build_optimiser(network, heads(network), fitting.sgd) for network in networks]
    best: Output | None = None
    lowest = float("inf")
    for epoch in watch(range(fitting.epochs), "BACKGROUND"):
        outputs = []
        for k, (network, optimiser) in enumerate(zip(networks, optimisers, strict=True)):
            set_rates(optimiser, rate_factor(fitting.sgd, epoch, fitting.epochs))
            with split_passes(network, fitting.ranks):
                learn_epoch(network, optimiser, pictures, learn_rows[k], epoch * NETWORKS + k, fitting)
                outputs.append(judge(network, pictures, judge_rows[k]))
        out = join(outputs)
        out = Output(out.features[order], out.logits[order])
        loss = F.cross_entropy(out.logits, pictures.label).item()
        if loss < lowest or best is None:
            best, lowest = out, loss
    if best is None:
        raise ValueError("backgrounds need at least one epoch")
    return best


def halves_of(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the network, 0 or 1, that learns each picture, int64 (N,): shares differ by at most one, per class too."""
    order = rng.permutation(len(label))
    order = order[np.argsort(label[order], kind="stable")]
    part = np.empty(len(label), np.int64)
    part[order] = np.arange(len(label)) % NETWORKS
    return part


def learn_epoch(
    network: Classifier,
    optimiser: torch.optim.Optimizer,
    pictures: BoxedPictures,
    rows: np.ndarray,
    turn: int,
    fitting: Fitting,
) -> None:
    """Go once through some rows, int64 (n,), of the pictures without their objects, with plain cross entropy.

    On a device other than the CPU, losses that are not finite are reported at the end, so that no step waits for them.
    """
    network.train()
    device, checks = device_of(network), list[Check]()
    noise = rng_for(fitting.seed, turn, "background noise")
    order = rng_for(fitting.seed, turn, "background order").permutation(rows)
    generator = generator_for(fitting.seed, turn, "background transform")
    for part in np.array_split(order, steps_per_epoch(len(rows), fitting.batches.batch_size)):
        originals = pictures.take(torch.from_numpy(part))
        hidden = replace(originals, images=without_object(originals.images, originals.box))
        batch = make_batch(hidden, np.arange(len(part)), generator, fitting.batches.transform)
        batch = batch.to(device)
        with same_noise(int(noise.integers(2**63)), device), deferred_checks(checks, device):
            losses = F.cross_entropy(network(batch.images).logits, batch.label, reduction="none")
            check_finite(losses, batch.sample_id, "loss of pictures without their objects", turn)
        optimiser.zero_grad()
        losses.mean().backward()
        average_gradients(network, fitting.ranks)
        optimiser.step()
        fitting.ranks.even_out(network)
    settle(checks)


def average_gradients(network: Classifier, ranks: Ranks) -> None:
    """Replace the weights' gradients by their mean over ranks, in place."""
    weights = [w for w in network.parameters() if w.grad is not None]
    gradients = [w.grad for w in weights if w.grad is not None]
    for w, gradient in zip(weights, ranks.average(gradients), strict=True):
        w.grad = gradient


def judge(network: Classifier, pictures: BoxedPictures, rows: np.ndarray) -> Output:
    """Return a network's output on some rows, int64 (n,), of the pictures without objects, computed a few at a time."""
    return join([score_backgrounds(network, pictures.take(part)) for part in torch.from_numpy(rows).split(BATCH)])
