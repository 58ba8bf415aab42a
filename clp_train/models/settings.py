"""The settings of the classifier. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clp_aug.common.settings import Settings, setting
from clp_train.models import NAMES, check_model


@dataclass(frozen=True)
class ModelSettings(Settings):
    """Which classifier learns."""

    model: str = setting("resnet8", f"Classifier: {', '.join(NAMES)}.", option=True)
    freeze_batch_norm: bool = setting(
        False, "Keep the batch-norm statistics of the start, for pretrained models on small batches.",
        works_with=("trainable", ("all",)),
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model(self.model)
