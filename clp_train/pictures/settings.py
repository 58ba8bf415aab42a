"""The settings of batches: how many pictures, how they are transformed, and where they are stored. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clp_aug.common.settings import Settings, setting
from clp_aug.nets.devices import AUTO
from clp_train.pictures.transforms import TRANSFORMS

WHOLE_NETWORK = ("trainable", ("all",))
DEVICE, MEMORY, MAPPED = "device", "memory", "mapped"
STORES = (AUTO, DEVICE, MEMORY, MAPPED)
"""Where pictures are stored: automatic choice, the training device, the CPU's memory, a memory-mapped file."""


@dataclass(frozen=True)
class BatchSettings(Settings):
    """The training batch of a step."""

    batch_size: int = setting(100, "Training pictures per step.", low=2, option=True)
    transform: str = setting(
        "pad-crop-flip", "Random transform of pictures and boxes together.", choices=TRANSFORMS,
        works_with=WHOLE_NETWORK, own="transform",
    )  # fmt: skip


@dataclass(frozen=True)
class StoreSettings(Settings):
    """Where pictures are stored while a device learns from them; the result is the same."""

    store: str = setting(
        AUTO, "Where pictures are stored: on the device, in memory, or mapped from the file of a cache; auto is the"
        " device if they fit into half of its free memory, else where they are read.", choices=STORES, option=True,
    )  # fmt: skip
