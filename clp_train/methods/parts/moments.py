"""Running mean and covariance of each class's features, and the logit perturbation of ISDA (Wang et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from clp_aug.contract.errors import SettingError, pick
from clp_train.methods.parts.divided import Parts, parts_of

FORMS = ("full", "diag")
LIMIT = 1e9  # bytes of full covariances: 100 classes and 640 features take 0.16e9, 1000 and 2048 take 17e9


class Moments:
    """Means and covariances of all features so far, by class; features are used without a graph.

    count: (C,); mean: (C, A); covariance: (C, A, A), or its diagonals (C, A); population covariances, 0 at the start.
    """

    def __init__(self, count: Tensor, mean: Tensor, covariance: Tensor) -> None:
        self.count, self.mean, self.covariance = count, mean, covariance

    @classmethod
    def start(cls, weight: Tensor, form: str) -> Moments:
        """Return the moments before the first picture, in the head's type, at least float32, on the head's device.

        weight: of the head, (C, A); form: "full" or "diag". Raises SettingError for covariances that need too much
        memory.
        """
        pick(dict.fromkeys(FORMS), form, "covariance")
        (classes, features), dtype = weight.shape, torch.promote_types(weight.dtype, torch.float32)
        size = classes * features**2 * dtype.itemsize
        if form == "full" and size > LIMIT:
            raise SettingError(
                "covariance", form, f"{classes} classes and {features} features take {size / 1e9:.1f} GB, expected at"
                f" most {LIMIT / 1e9:.0f} GB", {"covariance": "diag"},
            )  # fmt: skip
        shape = (classes, features) + (features,) * (form == "full")
        shapes = ((classes,), (classes, features), shape)
        return cls(*(torch.zeros(s, dtype=dtype, device=weight.device) for s in shapes))

    def update(self, features: Tensor, label: Tensor) -> None:
        """Add a batch, in place; the result equals the moments over all pictures so far.

        features: (n, A); label: int64 (n,). With r the batch's share of a class's pictures so far, Sigma becomes
        (1 - r) Sigma + r S' + r (1 - r) (mu - mu')(mu - mu')^T.
        """
        features = features.detach().to(self.mean)
        parts = parts_of(label, len(self.count))
        classes, place, counts, _ = parts
        size = counts.clamp(min=1)[:, None]
        mean = torch.zeros_like(self.mean[classes]).index_add_(0, place, features) / size
        centred, shift = features - mean[place], mean - self.mean[classes]
        share = counts / (self.count[classes] + counts).clamp(min=1)
        if self.covariance.dim() == 2:
            r = share[:, None]
            spread = torch.zeros_like(mean).index_add_(0, place, centred.square()) / size
            self.covariance[classes] = (1 - r) * self.covariance[classes] + r * spread + r * (1 - r) * shift.square()
        elif parts.known:
            self.spread_over_present(parts, centred, shift, share)
        else:
            self.spread_over_all(parts, centred, shift, share)
        self.mean[classes] += share[:, None] * shift
        self.count[classes] += counts

    def spread_over_present(self, parts: Parts, centred: Tensor, shift: Tensor, share: Tensor) -> None:
        """Move the full covariances of the classes that are in a batch.

        parts: the classes; centred: (n, A), features minus their class means; shift: (P, A), of the means; share: r,
        (P,).
        """
        for k, (c, r) in enumerate(zip(parts.ids.tolist(), share.tolist(), strict=True)):
            part = parts.rows(centred, k)
            spread = self.covariance[c].addmm_(part.T, part, beta=1 - r, alpha=r / len(part))
            spread.addr_(shift[k], shift[k], alpha=r * (1 - r))

    def spread_over_all(self, parts: Parts, centred: Tensor, shift: Tensor, share: Tensor) -> None:
        """Do the same for all classes; r of a class that is not in the batch is 0."""
        weight = share / parts.counts.clamp(min=1)
        for k, covariance in enumerate(self.covariance.unbind()):
            part = torch.cat([parts.rows(centred, k), shift[k : k + 1]])
            scale = torch.cat([weight[k].expand(len(centred)), (share[k] * (1 - share[k]))[None]])
            covariance.mul_(1 - share[k]).addmm_(part.T, scale[:, None] * part)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the whole state by name."""
        return {"count": self.count, "mean": self.mean, "covariance": self.covariance}

    def to(self, device: torch.device) -> Moments:
        """Return the same on a device; no copy where it is there already."""
        return Moments(*(values.to(device) for values in self.state_dict().values()))


def class_means(values: Tensor, label: Tensor, classes: int) -> Tensor:
    """Return the mean of each class's rows, (C, A), 0 for none. values: (N, A); label: int64 (N,)."""
    sums = torch.zeros(classes, values.shape[1], dtype=values.dtype, device=values.device).index_add_(0, label, values)
    return sums / label.bincount(minlength=classes).clamp(min=1)[:, None]


def isda_delta(
    weight: Tensor, covariance: Tensor, label: Tensor, strength: float, mixing: Tensor | None = None
) -> Tensor:
    """Return strength / 2 (w_j - w_y)^T Sigma_y (w_j - w_y) of each picture and class j: (n, C), 0 at j = y.

    weight: of the head, (C, A); covariance: (C, A, A) or diagonals (C, A); label: int64 (n,); mixing: (C, C), row c
    the share of each class's covariance in that of class c, None for each class its own. With graphs to weight and
    covariance. Pictures of a class have the same row, so no array of n x C x A numbers is needed.
    """
    classes, place, _, _ = parts_of(label, len(weight))
    if mixing is None:
        spread = covariance[classes]
    else:
        spread = (mixing[classes].to(covariance) @ covariance.flatten(1)).view(-1, *covariance.shape[1:])
    at_label = weight[classes]  # (K, A)
    if covariance.dim() == 2:
        cross = (at_label * spread) @ weight.T
        form = spread @ weight.square().T - 2 * cross + (at_label.square() * spread).sum(1, keepdim=True)
        form = form.scatter(1, classes[:, None], 0.0)  # rounding leaves small other values
    else:
        gaps = (weight - w for w in at_label.unbind())  # (C, A) each
        form = torch.stack([((gap @ s) * gap).sum(1) for gap, s in zip(gaps, spread.unbind(), strict=True)])
    return strength / 2 * form[place]
