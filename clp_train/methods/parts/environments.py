"""Environments of a batch, pictures with the same place for instance, and penalties on what differs between them.

`env`: int64 (n,), the environment of each picture, any numbers. A mean over environments is over those in the batch;
one that is not there, or has too few pictures for a term, has no part in it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def part_means(values: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each part that is there, (P,) or (P, A), and its pictures, (P,). values: (n,) or (n, A)."""
    _, place, counts = part.unique(return_inverse=True, return_counts=True)
    counts = counts.to(values)
    sums = values.new_zeros(len(counts), *values.shape[1:]).index_add(0, place, values)
    return sums / counts.view(-1, *[1] * (values.dim() - 1)), counts


def even_weights(part: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return n / (P n_p) for each picture, (n,): so weighted, a mean over pictures is one over the parts there."""
    _, place, counts = part.unique(return_inverse=True, return_counts=True)
    return len(part) / (len(counts) * counts[place].to(dtype))


def scale_slopes(logits: Tensor, label: Tensor) -> Tensor:
    """Return d CE(s z, y) / ds at s = 1 of each picture, (n,): <softmax(z), z> - z_y. logits: (n, C)."""
    return (logits.softmax(1) * logits).sum(1) - logits.gather(1, label[:, None]).squeeze(1)


def invariance(logits: Tensor, label: Tensor, env: Tensor, halves: bool = False) -> Tensor:
    """Return IRM's penalty, a scalar: the mean over environments of (d R_e(s z) / ds at s = 1)^2.

    logits: (n, C); label: int64 (n,). halves: the product of the derivatives of every other picture and of the rest in
    place of the square, an unbiased estimate that can be negative; an environment with one picture gives 0. Source:
    Arjovsky et al. 2019, IRMv1 and its appendix on estimates from batches.
    """
    slopes = scale_slopes(logits, label)
    if not halves:
        return part_means(slopes, env)[0].square().mean()
    environments, environment, counts = env.unique(return_inverse=True, return_counts=True)
    order = environment.argsort(stable=True)
    place = torch.empty_like(order)  # the how-manieth of its environment a picture is
    place[order] = torch.arange(len(env), device=env.device) - (counts.cumsum(0) - counts)[environment[order]]
    half = 2 * environment + place % 2
    sums = slopes.new_zeros(2 * len(environments)).index_add(0, half, slopes)
    sizes = torch.bincount(half, minlength=2 * len(environments)).clamp(min=1)
    return (sums / sizes).view(-1, 2).prod(1).mean()


def risk_variance(losses: Tensor, env: Tensor) -> Tensor:
    """Return V-REx's penalty, a scalar: the population variance of the environments' mean losses. losses: (n,).

    Source: Krueger et al. 2021.
    """
    return part_means(losses, env)[0].var(unbiased=False)


def feature_variance(features: Tensor, env: Tensor) -> Tensor:
    """Return IB-IRM's bottleneck, a scalar: features' variances (n - 1), the mean over features and environments.

    features: (n, A). An environment with one picture has no part in it; without others it is 0. Source: Ahuja et al.
    2021.
    """
    means, counts = part_means(features, env)
    place = env.unique(return_inverse=True)[1]
    squares, _ = part_means((features - means[place]).square().mean(1), env)
    has_variance = counts > 1
    return (squares * counts / (counts - 1).clamp(min=1))[has_variance].sum() / has_variance.sum().clamp(min=1)


def alignment(features: Tensor, env: Tensor) -> Tensor:
    """Return CORAL's penalty, a scalar: squared differences of means and covariances, the mean over pairs and entries.

    features: (n, A). Covariances are those with n - 1; an environment with one picture is aligned only by its mean.
    Pairs are never gone through: the sum over pairs of |a_e - a_f|^2 is E sum_e |a_e - mean|^2. Source: Sun and Saenko
    2016, whose term, of covariances only, is a quarter of ours; means as in Gulrajani and Lopez-Paz 2021.
    """
    means, counts = part_means(features, env)
    centred = features - means[env.unique(return_inverse=True)[1]]
    parts = [centred[env == e] for e, n in zip(env.unique(), counts, strict=True) if n > 1]
    covariances = [part.T @ part / (len(part) - 1) for part in parts]
    terms = [torch.stack(values) for values in (list(means), covariances) if len(values) > 1]
    return sum((2 * values.var(0).mean() for values in terms), features.new_zeros(()))
