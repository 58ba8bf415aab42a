"""AUDIT: figures as text: shares in percent, differences of shares in points."""

from __future__ import annotations

from clp_train.auditing.estimates import Estimate

UNKNOWN = "-"


def percent(share: float | None) -> str:
    """Return a share as text, e.g. "65.0 %"; UNKNOWN for None."""
    return UNKNOWN if share is None else f"{tenths(share)} %"


def points(difference: float | None) -> str:
    """Return a difference of shares in points as text, e.g. "-1.5"; UNKNOWN for None."""
    return UNKNOWN if difference is None else tenths(difference)


def tenths(share: float) -> str:
    """Return 100 times a number with one decimal, never "-0.0"."""
    return f"{round(100 * share, 1) + 0.0:.1f}"


def in_percent(estimate: Estimate) -> str:
    """Return an estimate with its interval as text, e.g. "65.0 % (58.1 to 71.3)"."""
    return percent(estimate.value) + interval_of(estimate)


def in_points(estimate: Estimate) -> str:
    """Return an estimate of a difference with its interval as text, e.g. "25.0 points (18.2 to 31.5)"."""
    return UNKNOWN if estimate.value is None else f"{points(estimate.value)} points{interval_of(estimate)}"


def interval_of(estimate: Estimate) -> str:
    """Return the interval as text with a space before it, "" where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({tenths(estimate.low)} to {tenths(estimate.high)})"
