"""Just train twice (Liu et al. 2021): repeat the errors of a first network more often in a second training.

Training uses no group labels. Both networks learn by plain cross entropy, with the settings of the run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import steps_per_epoch


@dataclass(frozen=True)
class Options(Settings):
    """The settings of JTT. Source: the authors' runs on Waterbirds."""

    first: float = setting(
        60 / 360, "Share of the run's epochs for the first network.", low=0.01, high=0.99,
        source="60 epochs, then 300",
    )  # fmt: skip
    upweight: int = setting(
        100, "Copies of each picture that the first network gets wrong, added to the training pictures.", low=1,
        source="lambda_up of the authors",
    )  # fmt: skip


def upsampled(wrong: np.ndarray, copies: int) -> np.ndarray:
    """Return the rows of all pictures, and `copies` more of each wrong one, int64. wrong: bool (N,)."""
    return np.concatenate([np.arange(len(wrong)), np.tile(np.flatnonzero(wrong), copies)])


def stretch(rows: np.ndarray, start: int, count: int, seed: int) -> np.ndarray:
    """Return the rows from `start` on, int64 (count,), of an endless stream: pass after pass, each in a random order.

    rows: int64 (M,), M >= 1; start: >= 0; count: >= 1.
    """
    first, last = start // len(rows), (start + count - 1) // len(rows)
    passes = [rng_for(seed, number, "jtt pass").permutation(rows) for number in range(first, last + 1)]
    return np.concatenate(passes)[start - first * len(rows) :][:count]


class JustTrainTwice(Method):
    """Stage 0 is ERM; stage 1 starts again, on the training pictures and the copies of those that stage 0 gets wrong.

    wrong: bool (N,), errors of the first network at its end, in evaluation mode, without augmentation; all False until
    then. An epoch has as many pictures as one of ERM, so a pass over pictures and copies takes several epochs; each
    epoch continues where the last one stopped. This is ours: the authors' epoch is a whole pass.
    """

    def __init__(self, options: Options, table: TrainTable, epochs: int, seed: int) -> None:
        self.options, self.label, self.seed, self.stage = options, table.label, seed, 0
        self.stages = (Stage(share=options.first), Stage(share=1 - options.first, restart=True))
        self.start = round(options.first * epochs)
        self.wrong = torch.zeros(len(table.label), dtype=torch.bool)

    def enter(self, stage: int, network: Classifier) -> None:
        self.stage = stage

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            self.wrong = scores("train").logits.argmax(1) != self.label

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        if self.stage == 0:
            return None
        rows, pictures = upsampled(self.wrong.numpy(), self.options.upweight), len(self.wrong)
        drawn = stretch(rows, (epoch - self.start) * pictures, pictures, self.seed)
        return np.array_split(drawn, steps_per_epoch(pictures, batch_size))

    def numbers(self) -> dict[str, float]:
        return {"error_set": int(self.wrong.sum())}

    def state_dict(self) -> dict[str, Tensor]:
        return {"wrong": self.wrong}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.wrong = state["wrong"]


def build(options: Options, context: Context) -> JustTrainTwice:
    """Return the method before its first step."""
    return JustTrainTwice(options, context.table, context.epochs, context.seed)
