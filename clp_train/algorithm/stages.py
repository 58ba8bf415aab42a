"""A run is a list of stages: what learns, from which pictures, in which order. Most methods have one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clp_aug.contract.errors import SettingError, pick

STREAMS = ("train", "meta", "both")
TRAINABLE = ("all", "head")


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    share: its part of the epochs, in (0, 1]; stream: "train", "meta" for the meta originals, or "both" for the training
    pictures followed by them; sampler: a name of `pictures.samplers`; trainable: "all", or "head" for the last layer on
    the features of a frozen body, which are computed once, in evaluation mode, from pictures without augmentation;
    rate: factor of the run's learning rates; fresh_head: initialise the last layer again; restart: reset the whole
    network to the run's first weights. Raises UsageError for an unknown stream or trainable.
    """

    share: float = 1.0
    stream: str = "train"
    sampler: str = "natural"
    trainable: str = "all"
    rate: float = 1.0
    fresh_head: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        pick(dict.fromkeys(STREAMS), self.stream, "stream")
        pick(dict.fromkeys(TRAINABLE), self.trainable, "trainable")


def plan(stages: Sequence[Stage], epochs: int, trainable: str) -> list[tuple[Stage, range]]:
    """Return each stage with its epochs, numbered from 0 over the whole run; trainable "head" applies to all stages.

    The shares add up to 1. Raises SettingError if a stage would get no epoch.
    """
    plans: list[tuple[Stage, range]] = []
    start, share = 0, 0.0
    for stage in stages:
        share += stage.share
        stop = round(share * epochs)
        if stop <= start:
            raise SettingError(
                "epochs", epochs, f"the method has {len(stages)} stages and one of them would get none; raise epochs"
            )
        narrowed = stage if trainable == "all" else replace(stage, trainable=trainable)
        plans.append((narrowed, range(start, stop)))
        start = stop
    return plans
