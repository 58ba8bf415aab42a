"""Deep feature reweighting (Kirichenko et al. 2023): cross entropy, then a new last layer on group-balanced features.

"l1", as published: before the last epoch the layer is fitted by sparse logistic regression on standardised features,
and SGD does not move it. "sgd", ours: SGD learns the layer for half of the epochs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.schema import ORIGINAL
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.stages import Stage
from clp_train.methods.parts.sparse_logistic import fit_sparse
from clp_train.models.parts import Classifier
from clp_train.pictures.types import BoxedPictures, meta_of_kinds

STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""Candidates of C; of equally good ones the first is chosen. Source: the authors' runs on Waterbirds."""
FITTED = ("fit", ("l1",))


@dataclass(frozen=True)
class Options(Settings):
    """The settings of DFR. Source: the authors' runs on Waterbirds, unless a setting says otherwise."""

    fit: str = setting(
        "l1", "How the new last layer learns: sparse logistic regression, or SGD for half of the epochs.",
        choices=("l1", "sgd"), source="sgd is ours",
    )  # fmt: skip
    drawn_from: str = setting(
        "meta", "Source of the balanced draws: meta originals, or training pictures.", choices=("meta", "train"),
        source="their DFR-val and DFR-train", works_with=FITTED,
    )  # fmt: skip
    draws: int = setting(10, "Balanced draws; the last layer is the mean of their fits.", low=1, works_with=FITTED)
    strength: float | None = setting(
        None, "C, weight of the cross entropies against the l1 penalty.", above=0, works_with=FITTED,
        shown="the best of 1 to 0.01 on the worst group of held-out pictures",
    )  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """Some pictures. features: float64 (n, A); label, group: int64 (n,)."""

    features: np.ndarray
    label: np.ndarray
    group: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Sample:
        return Sample(self.features[rows], self.label[rows], self.group[rows])

    def balanced(self, rng: np.random.Generator) -> Sample:
        """Return as many pictures of each group as the smallest has, drawn at random, none twice."""
        rows = [rng.permutation(np.flatnonzero(self.group == g)) for g in np.unique(self.group)]
        smallest = min(map(len, rows))
        return self[np.concatenate([part[:smallest] for part in rows])]

    def halves(self, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """Return two random halves of each group; the first has one picture more if the number is odd."""
        rows = [rng.permutation(np.flatnonzero(self.group == g)) for g in np.unique(self.group)]
        parts = [(part[: -(-len(part) // 2)], part[-(-len(part) // 2) :]) for part in rows]
        first, second = (self[np.concatenate(half)] for half in zip(*parts, strict=True))
        return first, second


class Standard:
    """Scales features to mean 0 and standard deviation 1 over some pictures, and converts weights back.

    features: float64 (n, A), of these pictures; a constant feature is only shifted. without_bias: the last layer has no
    bias to undo a shift, so features are only scaled.
    """

    def __init__(self, features: np.ndarray, without_bias: bool = False) -> None:
        std = features.std(0)
        self.mean = np.zeros(features.shape[1]) if without_bias else features.mean(0)
        self.std = np.where(std > 0, std, 1.0)
        self.without_bias = without_bias

    def fit(self, sample: Sample, classes: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (C, A) and biases (C,) for unscaled features, fitted on standardised ones."""
        scaled = (sample.features - self.mean) / self.std
        ones = np.ones((len(scaled), 0 if self.without_bias else 1))
        weight = fit_sparse(np.hstack([scaled, ones]), sample.label, classes, strength)
        biases = np.zeros(classes) if self.without_bias else weight[:, -1]
        slopes = weight[:, : scaled.shape[1]] / self.std
        return slopes, biases - slopes @ self.mean


def worst_group(logits: np.ndarray, sample: Sample) -> float:
    """Return the accuracy of the worst group, in [0, 1]; 1 without pictures. logits: (n, C)."""
    right = logits.argmax(1) == sample.label
    return min((float(right[sample.group == g].mean()) for g in np.unique(sample.group)), default=1.0)


def choose_strength(fitted: Sample, held_out: Sample, standard: Standard, classes: int) -> float:
    """Return the strength whose fit to one sample is best on the worst group of another."""

    def merit(strength: float) -> float:
        weight, bias = standard.fit(fitted, classes, strength)
        return worst_group(held_out.features @ weight.T + bias, held_out)

    return max(STRENGTHS, key=merit)


class SparseFit(Method):
    """ERM in all epochs but the last; before the last epoch the last layer is fitted.

    strength: C, NaN until it is known. The layer is the network's own, so the run's state contains it.
    """

    head_of_run: nn.Linear
    meta: BoxedPictures

    def __init__(self, options: Options, context: Context) -> None:
        self.options, self.table, self.seed = options, context.table, context.seed
        before = (context.epochs - 1) / context.epochs
        self.stages = (Stage(share=before), Stage(share=1 - before, stream="meta", trainable="head", rate=0))
        self.stage, self.strength = 0, math.nan

    def enter(self, stage: int, network: Classifier) -> None:
        self.stage, self.head_of_run = stage, network.head

    def additions(self, meta: BoxedPictures) -> None:
        """Keep labels and groups of the meta originals; no picture is added to the stream."""
        self.meta = meta_of_kinds(meta, (ORIGINAL,))

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if self.stage == 1:
            train = sample_of(scores("train").features, self.table.label, self.table.group)
            meta = sample_of(scores("meta").features, self.meta.label, self.meta.group)
            self.put(*self.fit(train, meta, without_bias=self.head_of_run.bias is None))

    def fit(self, train: Sample, meta: Sample, without_bias: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (C, A) and biases (C,) of the last layer, and keep the strength."""
        standard, classes = Standard(train.features, without_bias), self.table.classes
        is_of_train, chosen = self.options.drawn_from == "train", self.options.strength
        if chosen is None and is_of_train:
            chosen = choose_strength(train.balanced(rng_for(self.seed, 0, "dfr choice")), meta, standard, classes)
        elif chosen is None:
            half, held_out = meta.halves(rng_for(self.seed, 0, "dfr halves"))
            half = half.balanced(rng_for(self.seed, 0, "dfr choice"))
            chosen = choose_strength(half, held_out, Standard(half.features, without_bias), classes)
        self.strength, pool = chosen, train if is_of_train else meta
        draws = [pool.balanced(rng_for(self.seed, k, "dfr draw")) for k in range(self.options.draws)]
        return mean_of([standard.fit(draw, classes, chosen) for draw in draws])

    @torch.no_grad()
    def put(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Put weights (C, A) and biases (C,) into the network."""
        self.head_of_run.weight.copy_(torch.from_numpy(weight))
        if self.head_of_run.bias is not None:
            self.head_of_run.bias.copy_(torch.from_numpy(bias))

    def numbers(self) -> dict[str, float]:
        return {} if math.isnan(self.strength) else {"strength": self.strength}

    def state_dict(self) -> dict[str, Tensor]:
        return {"strength": torch.tensor(self.strength, dtype=torch.float64)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.strength = float(state["strength"])


class SgdFit(Method):
    """ERM, then a new last layer on its frozen features, learnt from the meta originals with all groups equally often.

    Each takes half of the epochs.
    """

    stages = (Stage(share=0.5), Stage(share=0.5, stream="meta", sampler="group", trainable="head", fresh_head=True))


def sample_of(features: Tensor, label: Tensor, group: Tensor) -> Sample:
    """Return pictures of a stream as a sample."""
    return Sample(features.double().numpy(), label.numpy(), group.numpy())


def mean_of(fits: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of weights and that of biases."""
    return np.mean([weight for weight, _ in fits], 0), np.mean([bias for _, bias in fits], 0)


def build(options: Options, context: Context) -> Method:
    """Return the method before its first step."""
    return SgdFit() if options.fit == "sgd" else SparseFit(options, context)
