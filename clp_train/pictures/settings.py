"""The settings of batches: how many pictures, and how they are transformed. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clp_aug.common.settings import Settings, setting
from clp_train.pictures.transforms import TRANSFORMS

WHOLE_NETWORK = ("trainable", ("all",))


@dataclass(frozen=True)
class BatchSettings(Settings):
    """The training batch of a step."""

    batch_size: int = setting(100, "Training pictures a step.", low=2, option=True)
    transform: str = setting(
        "pad-crop-flip", "Random transform of pictures and boxes together.", choices=TRANSFORMS,
        works_with=WHOLE_NETWORK,
    )  # fmt: skip
