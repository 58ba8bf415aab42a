"""Environments of a batch, for example pictures with the same place, and penalties on differences between them.

A mean over environments is over those in the batch; environments that are not in the batch, or have too few pictures
for a term, do not count.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clp_train.methods.parts.divided import Parts


def even_weights(parts: Parts, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return n / (P n_p) for each picture, (n,): with these, a mean over pictures is a mean over the present parts."""
    return len(parts.place) / ((parts.counts > 0).sum() * parts.counts[parts.place].to(dtype))


def scale_slopes(logits: Tensor, label: Tensor) -> Tensor:
    """Return d CE(s z, y) / ds at s = 1 of each picture, (n,): <softmax(z), z> - z_y. logits: (n, C)."""
    return (logits.softmax(1) * logits).sum(1) - logits.gather(1, label[:, None]).squeeze(1)


def invariance(logits: Tensor, label: Tensor, parts: Parts, halves: bool = False) -> Tensor:
    """Return IRM's penalty, a scalar: the mean over environments of (d R_e(s z) / ds at s = 1)^2.

    logits: (n, C); label: int64 (n,). halves: instead of the square, use the product of the derivatives of two halves
    of the pictures, an unbiased estimate that can be negative; an environment with one picture gives 0. Source:
    Arjovsky et al. 2019, IRMv1 and its appendix on estimates from batches.
    """
    slopes = scale_slopes(logits, label)
    if not halves:
        return parts.mean_over(parts.means(slopes).square())
    order, counts = parts.place.argsort(stable=True), parts.counts
    place = torch.empty_like(order)  # a picture's number within its environment
    place[order] = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[parts.place[order]]
    half = 2 * parts.place + place % 2
    sums = slopes.new_zeros(2 * len(counts)).index_add(0, half, slopes)
    sizes = half.new_zeros(2 * len(counts)).index_add(0, half, torch.ones_like(half)).clamp(min=1)
    pairs = (sums / sizes).view(-1, 2)
    return parts.mean_over(
        pairs.prod(1) if parts.known else pairs[:, 0] * pairs[:, 1]
    )  # prod's backward searches zeros


def risk_variance(losses: Tensor, parts: Parts) -> Tensor:
    """Return V-REx's penalty, a scalar: the population variance of the environments' mean losses. losses: (n,).

    Source: Krueger et al. 2021.
    """
    return parts.variance_over(parts.means(losses))


def feature_variance(features: Tensor, parts: Parts) -> Tensor:
    """Return IB-IRM's bottleneck, a scalar: features' variances (n - 1), the mean over features and environments.

    features: (n, A). An environment with one picture does not count; without others the result is 0. Source: Ahuja et
    al. 2021.
    """
    counts = parts.counts.to(features)
    squares = parts.means((features - parts.means(features)[parts.place]).square().mean(1))
    has_variance = counts > 1
    variances = squares * counts / (counts - 1).clamp(min=1)
    variances = variances[has_variance] if parts.known else torch.where(has_variance, variances, 0)
    return variances.sum() / has_variance.sum().clamp(min=1)


def alignment(features: Tensor, parts: Parts) -> Tensor:
    """Return CORAL's penalty, a scalar: squared differences of means and covariances, the mean over pairs and entries.

    features: (n, A). Covariances are those with n - 1; an environment with one picture is aligned only by its mean. No
    loop over pairs is needed: the sum over pairs of |a_e - a_f|^2 is E sum_e |a_e - mean|^2. Source: Sun and Saenko
    2016, whose term, of covariances only, is a quarter of ours; means as in Gulrajani and Lopez-Paz 2021.
    """
    means = parts.means(features)
    centred = features - means[parts.place]
    rows, counts = [parts.rows(centred, k) for k in range(len(means))], parts.counts
    covariances = torch.stack([part.T @ part / (n - 1).clamp(min=1) for part, n in zip(rows, counts, strict=True)])
    variances = (parts.variance_over(means, 1, 1), parts.variance_over(covariances, 2, 1))
    return sum((2 * variance.mean() for variance in variances), features.new_zeros(()))
