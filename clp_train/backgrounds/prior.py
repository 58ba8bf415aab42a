"""BACKGROUND: what a picture without its object says about the label, by a classifier that has not seen it.

It is added to the logits in the loss, so the network learns only what the background does not explain. The log class
prior does the same for class sizes. The two are equal if backgrounds say nothing about labels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.method import BACKGROUND, LEARNT_BACKGROUND, Context, Scores
from clp_train.algorithm.quick_optimisers import LBFGS

FOLDS = 5
DECAYS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of weights on features of mean square 1; the last leaves the class priors
STEPS = 50
SHARE = 0.01  # of the class priors in the result, so no background excludes a class


def background_start(scores: Scores, context: Context) -> Tensor:
    """Return log P(class | background) of the training pictures, float32 (N, C), each row a distribution.

    It is computed by a linear classifier on the network's present features. If the whole network learns, networks of
    the same kind are also trained for it, because their features may hold more; the one with the lower loss on unseen
    pictures is used. Source: ours.
    """
    rng, table = rng_for(context.seed, 0, "background"), context.table
    linear_prior = background_log_prior(scores(BACKGROUND).features, table.label, table.classes, rng)
    if context.trainable == "head":
        return linear_prior
    network_prior = never_zero(scores(LEARNT_BACKGROUND).logits.softmax(1), table.label)
    return min(linear_prior, network_prior, key=lambda log_p: F.nll_loss(log_p, table.label).item())


def background_log_prior(features: Tensor, label: Tensor, classes: int, rng: np.random.Generator) -> Tensor:
    """Return log P(class | background) of each training picture, float32 (N, C), each row a distribution.

    features: float32 (N, A), of the pictures without their objects; label: int64 (N,); rng: draws the folds. Each
    picture is predicted by a multinomial logistic regression on the other folds; the weight decay is the one of DECAYS
    with the lowest loss on unseen pictures. Source: ours, for the bias product of Clark et al. 2019.
    """
    x = features - features.mean(0)
    x = x / x.square().sum(1).mean().sqrt().clamp(min=1e-12)
    fold, lowest = folds(label.numpy(), rng), float("inf")
    best = never_zero(torch.zeros(len(label), classes).softmax(1), label)
    for decay in DECAYS:
        logits = torch.empty(len(label), classes)
        for k in range(FOLDS):
            held_out = torch.from_numpy(fold == k)
            if held_out.any():
                weight, bias = fit_logistic(x[~held_out], label[~held_out], classes, decay)
                logits[held_out] = x[held_out] @ weight.T + bias
        log_p = never_zero(logits.softmax(1), label)
        loss = F.nll_loss(log_p, label).item()
        if loss < lowest:
            best, lowest = log_p, loss
    return best


def never_zero(p: Tensor, label: Tensor) -> Tensor:
    """Return the logarithms of probabilities (N, C) after mixing in a share of the class priors; label: int64 (N,)."""
    prior = torch.bincount(label, minlength=p.shape[1]).float() / len(label)
    return ((1 - SHARE) * p + SHARE * prior).clamp(min=1e-12).log()


def folds(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each picture, int64 (N,), with each class spread over all folds; label: int64 (N,)."""
    fold = np.empty(len(label), np.int64)
    for c in np.unique(label):
        rows = rng.permutation(np.flatnonzero(label == c))
        fold[rows] = (rng.integers(FOLDS) + np.arange(len(rows))) % FOLDS
    return fold


def fit_logistic(x: Tensor, label: Tensor, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """Return weights (C, A) and biases (C,) that minimise mean cross entropy + decay / 2 |weights|^2, by L-BFGS.

    x: float32 (n, A); label: int64 (n,). Biases start at the log shares of the classes, weights at 0.
    """
    counts = torch.bincount(label, minlength=classes).float()
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = ((counts + 0.5) / (counts + 0.5).sum()).log().requires_grad_()
    solver = LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, label) + decay / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    return weight.detach(), bias.detach()
