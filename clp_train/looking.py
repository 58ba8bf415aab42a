"""EVALUATE: where the trained classifier looks on the meta originals, whose boxes are known."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from clp_aug.contract.schema import ORIGINAL
from clp_train.batches import BoxedPictures, masks, meta_of_kinds
from clp_train.gradcam import attention, gradcam
from clp_train.metrics import predict
from clp_train.report.page import Look

SHOWN, BATCH = 24, 50


def look_at(network: nn.Module, meta: BoxedPictures) -> tuple[dict, list[Look]]:
    """Return the share of attention inside the boxes as plain JSON, and some pictures with their maps for the page.

    Grad-CAM of each original's own label; the pictures shown are spread evenly over the originals, whose order goes
    through classes and groups. The network is left in evaluation mode.
    """
    originals = meta_of_kinds(meta, (ORIGINAL,))
    predicted = predict(network, originals.images)
    maps = torch.cat([_maps(network, originals, rows) for rows in torch.arange(len(originals)).split(BATCH)])
    inside = masks(originals.box, *originals.images.shape[2:])
    rows = torch.linspace(0, len(originals) - 1, min(SHOWN, len(originals))).round().long()
    columns = (originals.images, maps, originals.box, originals.label, predicted)
    return dataclasses.asdict(attention(maps, inside)), list(map(Look, *(column[rows] for column in columns)))


def _maps(network: nn.Module, pictures: BoxedPictures, rows: Tensor) -> Tensor:
    return gradcam(network, pictures.images[rows].float() / 255, pictures.label[rows])
