"""The settings of the classifier. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clp_aug.common.settings import Settings, setting
from clp_train.models import NAMES, check_head, check_model


@dataclass(frozen=True)
class ModelSettings(Settings):
    """The classifier."""

    model: str = setting(
        "resnet8", f"Classifier: {', '.join(NAMES)}. Or your own, MODULE:NAME or FILE.py:NAME. With @WEIGHTS after"
        " its name it starts from a file, or from the folder of a run.", option=True,
    )  # fmt: skip
    model_head: str | None = setting(
        None, "Name of the last layer of your own network, such as classifier.fc.", shown="the last linear one"
    )
    freeze_batch_norm: bool = setting(
        False, "Freeze the batch norm statistics, for pretrained models on small batches.",
        works_with=("trainable", ("all",)),
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model(self.model)
        if self.model_head is not None:
            check_head(self.model, self.model_head)
