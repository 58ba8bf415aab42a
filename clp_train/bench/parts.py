"""The parts of a run that a table keeps, and the check of each: files of results may come from other people."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

from clp_train.bench.jobs import COMMON, OWN

LISTS = ("per_class", "per_group")
KEPT = (
    "average", "weighted_average", "worst", *LISTS, "precision", "worst_class", "balanced", "group_mean", "macro_f1",
    "auroc", "ece",
)  # fmt: skip
"""The metrics of a split that are kept; those of LISTS are lists."""
MOST = 10**12  # limit for seconds and epochs, so that sums of them are exact
ROUNDING = 1e-9  # tolerance: a weighted mean of shares may exceed 1 by this


def is_text(value: object) -> bool:
    """Return whether a value is text."""
    return isinstance(value, str)


def are_words(value: object) -> bool:
    """Return whether a value is a list of texts."""
    return isinstance(value, list) and all(map(is_text, value))


def is_protocol(value: object) -> bool:
    """Return whether a value is the name of a protocol."""
    return value in (COMMON, OWN)


def is_seed(value: object) -> bool:
    """Return whether a value is a whole number >= 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_amount(value: object) -> bool:
    """Return whether a value is a number in [0, MOST]; NaN is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST


def is_count(value: object) -> bool:
    """Return whether a value is a whole number in [0, MOST]."""
    return is_seed(value) and is_amount(value)


def is_share(value: object) -> bool:
    """Return whether a value is a number in [0, 1], or None where there is none."""
    return value is None or (is_amount(value) and value <= 1 + ROUNDING)  # type: ignore[operator]


def are_shares(value: object) -> bool:
    """Return whether a value is a list of shares."""
    return isinstance(value, list) and all(map(is_share, value))


def are_figures(value: object) -> bool:
    """Return whether a value holds shares by name, or lists of them under the names of LISTS."""
    return isinstance(value, dict) and all(
        are_shares(figure) if name in LISTS else is_share(figure) for name, figure in value.items()
    )


def are_metrics(value: object) -> bool:
    """Return whether a value holds figures by moment and split, the last epoch among the moments."""
    return (
        isinstance(value, dict)
        and "last" in value
        and all(isinstance(splits, dict) and all(map(are_figures, splits.values())) for splits in value.values())
    )


def is_history(value: object) -> bool:
    """Return whether a value is a list of figures, one an epoch."""
    return isinstance(value, list) and all(map(are_figures, value))


def is_attention(value: object) -> bool:
    """Return whether a value holds the share of maps inside the boxes, if any, and the area of the boxes."""
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and {"inside", "area"} <= value.keys()
        and all(is_share(value[key]) for key in ("inside", "area"))
        and value["area"] is not None
    )


def are_versions(value: object) -> bool:
    """Return whether a value names the version of PyTorch, among others."""
    return isinstance(value, dict) and is_text(value.get("torch"))


PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("run", "row", "column", "fingerprint"), (is_text, "text")),
    "protocol": (is_protocol, f"{COMMON} or {OWN}"),
    **dict.fromkeys(("augment", "train"), (are_words, "a list of texts")),
    "seed": (is_seed, "a whole number >= 0"),
    "epochs": (is_count, f"a whole number in [0, {MOST:,}]"),
    **dict.fromkeys(("seconds", "cpu_seconds"), (is_amount, f"a number in [0, {MOST:,}]")),
    "versions": (are_versions, "an object that names torch"),
    "metrics": (are_metrics, "shares in [0, 1] by moment, split and name, with those of the last epoch"),
    "history": (is_history, "a list of shares in [0, 1] by name"),
    "attention": (is_attention, "null, or shares in [0, 1] with inside and area"),
}
"""The parts of a result: name -> its check, and the expected value in words."""


LATER: dict[str, tuple[Callable[[Any], bool], str]] = {"selection_knew": (is_text, "text")}
"""The same for parts that results of earlier versions lack."""


def fault_of(result: object) -> str:
    """Return which part of a result is wrong, and what was expected; "" if all are right."""
    if not isinstance(result, dict):
        return f"{reprlib.repr(result)}, expected an object"
    for name, (fits, expected) in PARTS.items():
        if name not in result:
            return f"{name} is missing, expected {expected}"
        if not fits(result[name]):
            return f"{name} = {reprlib.repr(result[name])}, expected {expected}"
    for name, (fits, expected) in LATER.items():
        if name in result and not fits(result[name]):
            return f"{name} = {reprlib.repr(result[name])}, expected {expected}"
    return ""
