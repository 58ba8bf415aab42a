"""The checks that several methods put their run through."""

from __future__ import annotations

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.method import Context

FEATURES_ONCE = "changes pictures at every step, and a frozen body's features are made once"


def require_learning_body(context: Context, reason: str) -> None:
    """Raise SettingError for a run of the last layer only, of a method that needs more; reason: follows its name."""
    if context.trainable == "head":
        raise SettingError("trainable", "head", f"method {context.method} {reason}", {"trainable": "all"})


def require_exact_meta_step(context: Context, reason: str) -> None:
    """Raise SettingError for a meta step behind the real step; reason: follows the method's name."""
    if context.meta_step.meta_step == "lagged":
        raise SettingError("meta_step", "lagged", f"method {context.method} {reason}", {"meta_step": "exact"})
