"""Cross entropy as pictures come, then a short second stage in which all classes come equally often.

cRT and LWS (Kang et al. 2020) keep the body of the first stage, batch norm included, and learn a new last layer or one
number a class; class-balanced fine-tuning (Cui et al. 2018) moves the whole network at a smaller rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.table import TrainTable
from clp_train.algorithm.stages import Stage


@dataclass(frozen=True)
class Options:
    """share: of the run's epochs for the second stage; rate: its step sizes, in those of the run.

    Source: 10 epochs after 90, at the same rate, in the authors' settings for ImageNet-LT.
    """

    share: float = 0.1
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise UsageError(f"--set share={self.share}: expected a number > 0 and < 1")
        require_within("rate", self.rate, 0)


@dataclass(frozen=True)
class FineTuneOptions(Options):
    """As those of cRT. Source: share and rate are ours, 20 epochs of 200 at a tenth; the paper names neither here."""

    rate: float = 0.1


OPTIONS = {"crt": Options, "lws": Options, "cb-fine-tune": FineTuneOptions}


class TwoStages(Method):
    """The two stages; of what learns in the second, trainable and fresh_head as in `Stage`."""

    def __init__(self, options: Options, trainable: str, fresh_head: bool = False) -> None:
        second = Stage(options.share, "train", "class", trainable, options.rate, fresh_head)
        self.stages = (Stage(share=1 - options.share), second)


class WeightScaling(TwoStages):
    """LWS: the numbers of the classes stay 1 in the first stage; in the second nothing else learns."""

    head = "scaled"

    def enter(self, stage: int, network: nn.Module) -> None:
        for name, values in network.head.named_parameters():
            values.requires_grad_((name == "scale") == (stage == 1))


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> TwoStages:
    """Return the method."""
    options = make_options(config.method, config.options)
    if config.method == "cb-fine-tune":
        return TwoStages(options, "all")
    return TwoStages(options, "head", fresh_head=True) if config.method == "crt" else WeightScaling(options, "head")
