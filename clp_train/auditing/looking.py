"""AUDIT: figures that need the network itself: where it looks, and what its features know about backgrounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.contract.schema import OK
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.answers import at_once
from clp_train.auditing.classes import ClassMap
from clp_train.auditing.opened import resized
from clp_train.auditing.spreading import spread
from clp_train.auditing.subject import Subject
from clp_train.auditing.views import BACKGROUND, ORIGINALS, AuditSet
from clp_train.backgrounds.prior import FOLDS, background_log_prior
from clp_train.evaluating.attention import BATCH, attention
from clp_train.evaluating.gradcam import gradcam, why_no_map
from clp_train.models.parts import Classifier, device_of
from clp_train.pictures.types import as_input, masks

MOST_MAPS = 200
"""Most pictures with a map: each costs a backward pass, and this many give the mean to a few hundredths."""
MOST_FITTED = 2000
"""Most backgrounds to fit a classifier to: it is fitted 25 times."""
NO_NETWORK = "a model of kind {kind} is a program, and its inner maps cannot be read"
NOT_ASKED = "maps were not asked for"


def attention_in_boxes(
    subject: Subject, class_map: ClassMap, reader: ShardReader, audit_set: AuditSet
) -> dict[str, Any]:
    """Return how much of Grad-CAM lies within the boxes, as plain JSON: the fields of `evaluating.attention.Attention`
    or None each, and `no_map`: None, or the reason why there are no maps.

    At most MOST_MAPS originals with a box that is ok are used, spread over the classes of the model. The map is that of
    the label's logit, or of the largest one if the label has several. Raises InputError for a damaged picture. Source:
    ours, on Selvaraju et al. 2017.
    """
    network = subject.network
    chosen = some_of(audit_set.label, class_map.known[audit_set.label] & (audit_set.outcome == OK), MOST_MAPS)
    if network is None or not len(chosen):
        reason = NO_NETWORK.format(kind=subject.kind) if network is None else "no picture has a certain box"
        return without_maps(reason)
    picture = picture_at(reader, audit_set, chosen[0])
    reason = why_no_map(network, asked(picture, subject, network))
    if reason:
        return without_maps(reason)
    some = max(1, min(BATCH, at_once(subject, picture) // 2))  # gradients need as much memory again
    maps = [
        maps_of(subject, network, class_map, reader, audit_set, chosen[start : start + some])
        for start in range(0, len(chosen), some)
    ]
    inside = masks(torch.from_numpy(audit_set.box[chosen].astype(np.int64)), *reader.shape[1:3])
    return {**dataclasses.asdict(attention(torch.cat(maps), inside)), "no_map": None}


def without_maps(reason: str) -> dict[str, Any]:
    """Return the result of `attention_in_boxes` without maps."""
    return {"inside": None, "pointing": None, "area": None, "maps": 0, "zero": 0, "no_map": reason}


def some_of(label: np.ndarray, chosen: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` of the chosen pictures, bool (P,), spread over their classes: int64, ascending."""
    rows = np.flatnonzero(chosen)
    return np.sort(rows[spread(label[rows], most)])


def picture_at(reader: ShardReader, audit_set: AuditSet, picture: int) -> Tensor:
    """Return the original of an audited picture, uint8 (1, 3, H, W)."""
    return torch.from_numpy(reader.image(int(audit_set.rows[ORIGINALS][picture, 0]))).permute(2, 0, 1)[None]


def asked(pictures: Tensor, subject: Subject, network: Classifier) -> Tensor:
    """Return uint8 pictures (n, 3, H, W) as the network takes them, on its device."""
    return resized(as_input(pictures.to(device_of(network))), subject.size)


def maps_of(
    subject: Subject,
    network: Classifier,
    class_map: ClassMap,
    reader: ShardReader,
    audit_set: AuditSet,
    some: np.ndarray,
) -> Tensor:
    """Return the maps of some audited pictures, of the shard's size, float32 (n, H, W) on the CPU."""
    pictures = torch.cat([picture_at(reader, audit_set, i) for i in some.tolist()])
    of_label = class_map.index[None] == audit_set.label[some][:, None]  # (n, K)
    logits = subject.logits(pictures).masked_fill(~torch.from_numpy(of_label), -torch.inf)
    maps = gradcam(network, asked(pictures, subject, network), logits.argmax(1))
    return F.interpolate(maps.cpu()[:, None], reader.shape[1:3], mode="bilinear", align_corners=False)[:, 0]


def fitted_accuracy(
    subject: Subject, reader: ShardReader, audit_set: AuditSet, known: np.ndarray, seed: int = 0
) -> float | None:
    """Return how often a classifier that is fitted to backgrounds is right on unseen pictures, in [0, 1], the mean over
    classes.

    It is a logistic regression, out of fold, on the network's features of the first view of backgrounds alone, for at
    most MOST_FITTED pictures; known: bool (C,), classes to use. None without a network, and without two classes of
    FOLDS pictures. Source: ours; the background start of CLP does the same with training pictures.
    """
    view = next((view for view in audit_set.rows if view.startswith(BACKGROUND)), None)
    if view is None or subject.network is None:
        return None
    rows = audit_set.rows[view][:, 0]
    chosen = some_of(audit_set.label, known[audit_set.label] & (rows >= 0), MOST_FITTED)
    names, label, counts = np.unique(audit_set.label[chosen], return_inverse=True, return_counts=True)
    if (counts >= FOLDS).sum() < 2:
        return None
    features = torch.cat(list(features_of(subject, subject.network, reader, rows[chosen])))
    of_class = torch.from_numpy(label.ravel())
    log_p = background_log_prior(features, of_class, len(names), rng_for(seed, 0, "audit/background"))
    right = (log_p.argmax(1) == of_class).double()
    return float(np.mean([right[of_class == c].mean().item() for c in range(len(names))]))


@torch.no_grad()
def features_of(subject: Subject, network: Classifier, reader: ShardReader, rows: np.ndarray) -> Iterator[Tensor]:
    """Yield the features of some rows of /meta/images, float32 (n, A) on the CPU, in batches."""
    first = torch.from_numpy(reader.image(int(rows[0]))).permute(2, 0, 1)[None]
    size = at_once(subject, first)
    network.eval()
    for start in range(0, len(rows), size):
        pictures = np.stack([reader.image(int(row)) for row in rows[start : start + size]])
        batch = asked(torch.from_numpy(pictures).permute(0, 3, 1, 2), subject, network)
        yield network(batch).features.float().cpu()
