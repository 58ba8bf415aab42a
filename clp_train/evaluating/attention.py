"""EVALUATE: the share of a classifier's maps that is inside the boxes, on the meta originals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clp_aug.contract.schema import ORIGINAL
from clp_train.evaluating.gradcam import gradcam, why_no_map
from clp_train.evaluating.metrics import predict_parts
from clp_train.evaluating.outputs import BATCH as AT_A_TIME
from clp_train.evaluating.outputs import evenly, gathered, most_at_once
from clp_train.models.parts import Classifier
from clp_train.pictures.types import BoxedPictures, as_input, masks, rows_of_kinds

SHOWN, BATCH = 24, 50


class Look(NamedTuple):
    """One picture and where the classifier looked. Rows of batches: `map(Look, images, maps, box, label, predicted)`.

    image: uint8 (3, H, W); cam: float (H, W) >= 0, raw; box: int64 (4,), half-open pixels; label, predicted: class.
    """

    image: Tensor
    cam: Tensor
    box: Tensor
    label: Tensor
    predicted: Tensor


def inside_share(maps: Tensor, inside: Tensor) -> Tensor:
    """Return the share of each map that lies in its box, float (n,) in [0, 1]; NaN for a map that is zero throughout.

    maps: float (n, H, W) >= 0; inside: bool (n, H, W), True in the box. Source: ours, with the energy-based pointing
    game of Wang et al. 2020.
    """
    return (maps * inside).sum((1, 2)) / maps.sum((1, 2))


def pointing(maps: Tensor, inside: Tensor) -> Tensor:
    """Return for each map whether a maximum of it is in its box: bool (n,); False for a zero map.

    Source: the pointing game, Zhang et al. 2018.
    """
    peak = maps.amax((1, 2), keepdim=True)
    return (((maps == peak) & inside).any(2).any(1)) & (peak[:, 0, 0] > 0)


def area_of(inside: Tensor) -> float:
    """Return the mean share of the picture that boxes cover. inside: bool (n, H, W), True in the box."""
    return inside.double().mean().item()


@dataclass(frozen=True)
class Attention:
    """Where the maps of one split are. All shares in [0, 1]; inside and pointing over non-zero maps, None for none.

    inside: mean `inside_share`; pointing: share of maps that point into the box; area: mean share of the picture that
    the box covers, the value of `inside` for a flat map; maps: their number; zero: the number of all-zero maps.
    """

    inside: float | None
    pointing: float | None
    area: float
    maps: int
    zero: int


def attention(maps: Tensor, inside: Tensor) -> Attention:
    """Return the summary of maps, float (n, H, W), n >= 1, and boxes as masks, bool (n, H, W)."""
    return summary(inside_share(maps, inside), pointing(maps, inside), area_of(inside))


def summary(shares: Tensor, points: Tensor, area: float) -> Attention:
    """Return the summary of the results of `inside_share` and `pointing`, (n,) each; area: the result of `area_of`."""
    nonzero = ~shares.isnan()
    has_maps = bool(nonzero.any())
    return Attention(
        inside=shares[nonzero].double().mean().item() if has_maps else None,
        pointing=points[nonzero].double().mean().item() if has_maps else None,
        area=area,
        maps=len(shares),
        zero=int((~nonzero).sum()),
    )


def look_at(network: Classifier, meta: BoxedPictures) -> tuple[dict[str, Any], list[Look]]:
    """Return the share of attention inside the boxes as plain JSON, and some pictures with their maps for the page.

    The maps are Grad-CAM of each original's own label. The pictures for the page are spread evenly over the originals,
    which are ordered by class and group. A network without a last feature map has no maps, and `no_map` gives the
    reason. The network is left in evaluation mode.
    """
    places = rows_of_kinds(meta.kind, (ORIGINAL,))  # pictures are copied in batches, not all at once
    box, label, first = meta.box[places], meta.label[places], meta.images[places[:1]]
    sides, batches = first.shape[2:], torch.arange(len(places)).split(BATCH)
    pixels = sum(int(masks(box[rows], *sides).sum()) for rows in batches)
    area = pixels / (len(places) * sides.numel())
    reason = why_no_map(network, as_input(first))
    if reason:
        nothing = Attention(inside=None, pointing=None, area=area, maps=0, zero=0)
        return {**dataclasses.asdict(nothing), "no_map": reason}, []
    predicted = predict_parts(network, (meta.images[some] for some in places.split(AT_A_TIME)), len(places))
    shown, kept = torch.linspace(0, len(places) - 1, min(SHOWN, len(places))).round().long(), list[Tensor]()

    def judged() -> Iterator[tuple[Tensor, Tensor]]:  # a few maps at a time: all of them may not fit into memory
        most = most_at_once(network, first)
        for rows in (rows for batch in batches for rows in evenly(batch, most)):
            maps = gradcam(network, as_input(meta.images[places[rows]]), label[rows])
            inside = masks(box[rows], *sides)
            kept.extend(maps[torch.isin(rows, shown)])
            yield inside_share(maps, inside), pointing(maps, inside)

    shares, points = gathered(judged(), len(places))
    columns = (box, label, predicted.to(box.device))
    others = (column[shown] for column in columns)
    return dataclasses.asdict(summary(shares, points, area)), list(map(Look, meta.images[places[shown]], kept, *others))
