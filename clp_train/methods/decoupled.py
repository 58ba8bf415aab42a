"""Cross entropy as pictures come, then a short second stage in which all classes come equally often.

cRT and LWS (Kang et al. 2020) keep the body of the first stage, batch norm included, and learn a new last layer or one
number a class; class-balanced fine-tuning (Cui et al. 2018) moves the whole network at a smaller learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.stages import Stage
from clp_train.models.parts import Classifier


@dataclass(frozen=True)
class Options(Settings):
    """The settings of cRT and LWS. Source: the authors' settings for ImageNet-LT."""

    share: float = setting(
        0.1, "Share of the run's epochs for the second stage.", above=0, below=1, source="10 epochs after 90"
    )
    rate: float = setting(1.0, "Learning rate of the second stage, as a multiple of the run's.", low=0)


@dataclass(frozen=True)
class FineTuneOptions(Options):
    """The settings of class-balanced fine-tuning. Source: ours; the paper gives neither."""

    share: float = setting(
        0.1, "Share of the run's epochs for the second stage.", above=0, below=1, source="ours: 20 epochs of 200"
    )
    rate: float = setting(0.1, "Learning rate of the second stage, as a multiple of the run's.", low=0, source="ours")


OPTIONS = {"crt": Options, "lws": Options, "cb-fine-tune": FineTuneOptions}


class TwoStages(Method):
    """The two stages; of what learns in the second, trainable and fresh_head as in `Stage`."""

    def __init__(self, options: Options, trainable: str, fresh_head: bool = False) -> None:
        second = Stage(options.share, "train", "class", trainable, options.rate, fresh_head)
        self.stages = (Stage(share=1 - options.share), second)


class WeightScaling(TwoStages):
    """LWS: the numbers of the classes stay 1 in the first stage; in the second nothing else learns."""

    head = "scaled"

    def enter(self, stage: int, network: Classifier) -> None:
        for name, values in network.head.named_parameters():
            values.requires_grad_((name == "scale") == (stage == 1))


def build(options: Options, context: Context) -> TwoStages:
    """Return the method."""
    if context.method == "cb-fine-tune":
        return TwoStages(options, "all")
    return TwoStages(options, "head", fresh_head=True) if context.method == "crt" else WeightScaling(options, "head")
