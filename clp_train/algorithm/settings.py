"""The settings of Algorithm 1: the optimiser of the classifier, the meta step, and the saliency term. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError

META_STEP, META_DELTA, SALIENCY = "meta step", "perturbed meta logits", "saliency"
"""Parts of a run that only some methods have; a setting of a part that the method lacks is an error."""

TARGET_NAMES = ("probability", "log-probability", "logit", "logit-gap")
BY_STEPS = ("schedule", ("steps",))
BY_SGD = ("optimiser", ("sgd",))


@dataclass(frozen=True)
class SgdSettings(Settings):
    """How the classifier learns: SGD with momentum, or AdamW, over body and head."""

    optimiser: str = setting(
        "sgd", "Optimiser of the classifier; adamw needs another learning rate, such as 1e-3.",
        choices=("sgd", "adamw"), source="eq. (10) has sgd", option=True,
    )  # fmt: skip
    lr: float = setting(0.1, "Learning rate of the classifier.", above=0, option=True)
    head_lr: float | None = setting(None, "Learning rate of the last layer.", above=0, shown="as lr")
    schedule: str = setting(
        "steps",
        "Schedule of the learning rates; steps: divide by 10 at first_drop and at second_drop of the epochs.",
        choices=("steps", "constant", "cosine"),
        option=True,
    )
    first_drop: float = setting(
        0.6, "Share of a stage's epochs before the first drop of the learning rate.", low=0, high=1, works_with=BY_STEPS
    )
    second_drop: float = setting(
        0.8, "Share of a stage's epochs before the second drop; at least first_drop.", low=0, high=1,
        works_with=BY_STEPS,
    )  # fmt: skip
    warmup_epochs: int = setting(
        0, "Warm-up: first epochs of a stage, in which the learning rates rise linearly to their schedule.", low=0
    )
    momentum: float = setting(0.9, "Momentum.", low=0, high=0.999, works_with=BY_SGD)
    weight_decay: float = setting(5e-4, "Weight decay of the classifier.", low=0, option=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.second_drop < self.first_drop:
            raise SettingError("second_drop", self.second_drop, f"expected a number from {self.first_drop} to 1")


@dataclass(frozen=True)
class MetaStepSettings(Settings):
    """How Omega's gradient is taken: eqs. (8) and (9) of the paper."""

    meta_delta: str = setting(
        "none", "Perturb the meta logits too (paper), as eq. (9) of the paper is written.", choices=("none", "paper"),
        source="eq. (9)", part=META_DELTA, option=True,
    )  # fmt: skip
    meta_step: str = setting(
        "exact", "exact: a virtual step before the real one; lagged: the real step also serves as the virtual one.",
        choices=("exact", "lagged"), source="eqs. (8), (9); lagged is ours", part=META_STEP,
    )  # fmt: skip
    meta_scope: str = setting(
        "all", "Weights that the virtual step moves.", choices=("all", "last-block"), source="eq. (8)", part=META_STEP
    )
    meta_batch_norm: str = setting(
        "batch", "Batch norm statistics of the meta loss: of the meta batch, or the running ones as in evaluation.",
        choices=("batch", "running"), part=META_STEP,
    )  # fmt: skip
    meta_interval: int = setting(1, "Steps from one meta step to the next.", low=1, part=META_STEP)
    hypergradient: str = setting(
        "central", "How the derivative along the meta gradient is taken: one forward-mode pass, a central difference of"
        " two passes, a one-sided difference of the training pass and one more, or the double backward (reference,"
        " for tests).",
        choices=("forward", "central", "one-sided", "reference"), source="eq. (9)", part=META_STEP,
    )  # fmt: skip
    virtual_momentum: bool = setting(
        False, "Use momentum and weight decay in the virtual step of SGD too; AdamW always uses its own step.",
        source="eq. (8) is plain SGD", part=META_STEP, works_with=BY_SGD,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.meta_step == "lagged" and self.hypergradient == "reference":
            raise SettingError(
                "meta_step", "lagged", "cannot be used with hypergradient reference", {"hypergradient": "central"}
            )


@dataclass(frozen=True)
class SaliencySettings(Settings):
    """The saliency term, eq. (6): it penalises a classifier that reacts to pixels outside the box."""

    saliency_lambda: float = setting(
        0.2, "Weight of the saliency term, lambda of eq. (6); 0 is off.", low=0, source="eq. (6)", part=SALIENCY,
        option=True,
    )  # fmt: skip
    saliency_target: str = setting(
        "probability", "What eq. (6) differentiates, of the picture's label.", choices=TARGET_NAMES,
        source="eq. (6) has the probability", part=SALIENCY, option=True,
    )  # fmt: skip
    saliency_scale: str = setting(
        "mean", "Mean or sum over the background pixels.", choices=("mean", "sum"), source="eq. (6) has the mean",
        part=SALIENCY,
    )  # fmt: skip
    saliency_relative: bool = setting(
        False, "Scale the term to lambda times the batch's cross entropy.", source="ours", part=SALIENCY
    )
    saliency_on: str = setting(
        "both", "Batches that the term is applied to.", choices=("both", "train", "meta"), source="eqs. (6), (9)",
        part=SALIENCY,
    )  # fmt: skip
    saliency_interval: int = setting(
        1, "Steps from one use of the saliency term to the next.", low=1, part=SALIENCY, option=True
    )
    saliency_subset: float = setting(
        1.0, "Share of each batch that the saliency term is computed on.", low=1e-6, high=1, part=SALIENCY
    )
