"""Protocol: the meaning of texts such as "flip:0.4" and "10/class". No numpy: every --help imports this."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clp_aug.contract.errors import UsageError, suggestion

KINDS = ("uniform", "flip", "flip-similar")
MAX_SEED = 2**32 - 1  # the largest seed of numpy's RandomState
PER = ("class", "group", "balanced", "cluster")


@dataclass(frozen=True)
class NoiseSpec:
    """One kind of label noise. kind: one of KINDS; ratio: p, the share of labels that are drawn again, in [0, 1)."""

    kind: str
    ratio: float


def parse_noise(spec: str) -> NoiseSpec:
    """Read "uniform:0.4", "flip:0.4" or "flip-similar:0.4". Raises UsageError for anything else."""
    kind, _, text = spec.partition(":")
    try:
        ratio = float(text)
    except ValueError:
        ratio = float("nan")
    if kind not in KINDS or not 0 <= ratio < 1:
        hint = suggestion(KINDS, kind) if kind not in KINDS else ""
        raise UsageError(
            f"noise {spec!r}: {hint}expected one of {', '.join(KINDS)} and a ratio in [0, 1), such as flip:0.4"
        )
    return NoiseSpec(kind, ratio)


@dataclass(frozen=True)
class MetaSpec:
    """One kind of meta set. count: pictures per class, per group or per cluster of a class; for "balanced" the total,
    shared equally by the classes. per: one of PER.
    """

    count: int
    per: str


def parse_meta(spec: str) -> MetaSpec:
    """Read "10/class", "10/group", "10/cluster" or "1000/balanced". Raises UsageError for anything else."""
    match = re.fullmatch(r"(\d{1,9})/([a-z]+)", spec)
    if not match or match[2] not in PER or int(match[1]) < 1:
        hint = suggestion(PER, match[2]) if match and match[2] not in PER else ""
        raise UsageError(
            f"meta set {spec!r}: {hint}expected a count >= 1 and one of {', '.join(PER)}, such as 10/class"
        )
    return MetaSpec(int(match[1]), match[2])
