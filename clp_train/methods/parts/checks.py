"""Checks of a run that several methods share."""

from __future__ import annotations

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.method import Context

FEATURES_ONCE = "changes pictures at every step, but features of a frozen body are computed once"


def require_learning_body(context: Context, reason: str) -> None:
    """Raise SettingError if only the last layer learns, which the method does not allow; reason: follows its name."""
    if context.trainable == "head":
        raise SettingError("trainable", "head", f"method {context.method} {reason}", {"trainable": "all"})


def require_exact_meta_step(context: Context, reason: str) -> None:
    """Raise SettingError for a lagged meta step; reason: text after the method's name."""
    if context.meta_step.meta_step == "lagged":
        raise SettingError("meta_step", "lagged", f"method {context.method} {reason}", {"meta_step": "exact"})
