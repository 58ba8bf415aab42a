"""Cross entropy with natural sampling, then a short second stage that samples all classes equally often.

cRT and LWS (Kang et al. 2020) keep the body of the first stage, batch norm included, and learn a new last layer or one
number per class. Class-balanced fine-tuning (Cui et al. 2018) moves the whole network at a smaller learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.stages import Stage
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.samplers import class_aware, class_aware_size

SAMPLERS = ("class", "class-aware")


@dataclass(frozen=True)
class Options(Settings):
    """The settings of cRT and LWS. Source: the authors' settings for ImageNet-LT."""

    share: float = setting(
        0.1, "Share of the run's epochs for the second stage.", above=0, below=1, source="10 epochs after 90"
    )
    rate: float = setting(1.0, "Learning rate of the second stage, as a multiple of the run's.", low=0)
    sampler: str = setting(
        "class", "An epoch of the second stage: as many pictures as there are, classes drawn evenly; class-aware:"
        " every class as often as the largest, in turn, at most four times all pictures.", choices=SAMPLERS,
        source="ours; class-aware is that of the benchmarks of Tables 7 and 8",
    )  # fmt: skip


@dataclass(frozen=True)
class FineTuneOptions(Options):
    """The settings of class-balanced fine-tuning. Source: ours; the paper gives neither."""

    share: float = setting(
        0.1, "Share of the run's epochs for the second stage.", above=0, below=1, source="ours: 20 epochs of 200"
    )
    rate: float = setting(0.1, "Learning rate of the second stage, as a multiple of the run's.", low=0, source="ours")


OPTIONS = {"crt": Options, "lws": Options, "cb-fine-tune": FineTuneOptions}


class TwoStages(Method):
    """The two stages. trainable, fresh_head: of the second stage, as in `Stage`."""

    def __init__(self, options: Options, context: Context, trainable: str, fresh_head: bool = False) -> None:
        second = Stage(options.share, "train", "class", trainable, options.rate, fresh_head)
        self.stages = (Stage(share=1 - options.share), second)
        self.sampler, self.label = options.sampler, context.table.label.numpy()
        self.first = round((1 - options.share) * context.epochs)  # epochs of the first stage

    def is_class_aware(self, epoch: int) -> bool:
        """Return whether an epoch (from 0) uses the class-aware sampler."""
        return self.sampler == "class-aware" and epoch >= self.first

    def pictures(self, epoch: int) -> int | None:
        return class_aware_size(self.label) if self.is_class_aware(epoch) else None

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        if not self.is_class_aware(epoch):
            return None
        rows = class_aware(self.label, rng)
        return np.array_split(rows, steps_per_epoch(len(rows), batch_size))


class WeightScaling(TwoStages):
    """LWS: the numbers of the classes stay 1 in the first stage; in the second nothing else learns."""

    head = "scaled"

    def enter(self, stage: int, network: Classifier) -> None:
        for name, values in network.head.named_parameters():
            values.requires_grad_((name == "scale") == (stage == 1))


def build(options: Options, context: Context) -> TwoStages:
    """Return the method."""
    if context.method == "cb-fine-tune":
        return TwoStages(options, context, "all")
    if context.method == "crt":
        return TwoStages(options, context, "head", fresh_head=True)
    return WeightScaling(options, context, "head")
