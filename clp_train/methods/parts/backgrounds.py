"""The setting of methods that learn the backgrounds. No torch here: the command line lists it."""

from __future__ import annotations

from dataclasses import dataclass

from clp_aug.common.settings import Settings, setting


@dataclass(frozen=True)
class BackgroundEpochs(Settings):
    """How long networks learn to predict the label from pictures without their objects."""

    background_epochs: int | None = setting(
        None, "Epochs of the two networks that learn the backgrounds; few are often enough for a shortcut.", low=1,
        source="ours", shown="as many as the run has", works_with=("trainable", ("all",)),
    )  # fmt: skip
