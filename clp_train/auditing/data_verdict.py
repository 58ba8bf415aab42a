"""AUDIT DATA: the verdict, in words, on how well backgrounds predict the label, with its evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clp_aug.contract.schema import FULL, OK
from clp_train.auditing.data_figures import LEAST, DataFigures
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.verdict import CANNOT_TELL, NONE_SEEN, SOME, STRONG, Verdict
from clp_train.auditing.words import in_percent, in_points, percent

TELLING = (STRONG, SOME)
HALFWAY = 0.5  # share of the way from chance to certainty: from here on the verdict is "strong"
MATTERS = 0.25  # share of that way: "none seen" needs an interval below it
SLIGHT = 0.05  # share of that way: less counts as nothing
MOST_UNCERTAIN = 0.5  # share of boxes that did not come from the chosen matte
NAMED = 3  # classes that one line names


def verdict_on_data(figures: DataFigures, outcome: np.ndarray, class_names: Sequence[str]) -> Verdict:
    """Return the verdict and its evidence: how far backgrounds lead from chance to certainty, beyond the boxes alone.

    strong: half of the way or more; some: less, but the 95 % intervals of this share and of the gain in nats are above
    0; none seen: one of these intervals is not above 0, or the share is below a twentieth, and the interval ends below
    a quarter; cannot tell: the interval reaches a quarter or more, or fewer than two classes or fewer than half of them
    have LEAST pictures, or more than half of the boxes are not from the chosen matte. outcome: of the boxes, uint8
    (N,), of the contract. Source: ours; the thresholds are a convention.
    """
    doubts, said = doubts_of(figures, outcome, class_names), facts(figures)
    way, beyond, gain = share_of_the_way(figures), figures.beyond.low, figures.gain.low
    if doubts or way is None or beyond is None or gain is None:
        return Verdict(CANNOT_TELL, (*doubts, *said))
    if beyond <= 0 or gain <= 0 or way < SLIGHT:
        wide = too_wide(figures)
        return Verdict(CANNOT_TELL, (wide, *said)) if wide else Verdict(NONE_SEEN, said)
    return Verdict(STRONG if way >= HALFWAY else SOME, said)


def too_wide(figures: DataFigures) -> str:
    """Return a sentence if the interval still contains shares that matter, else an empty one."""
    high = figures.beyond.high
    if high is None or high <= MATTERS * (1 - figures.chance):
        return ""
    return (
        "there are too few pictures to say whether backgrounds predict the label: more training pictures, or boxes of"
        " more of them, are needed"
    )


def share_of_the_way(figures: DataFigures) -> float | None:
    """Return the share of the way from chance to certainty that backgrounds lead beyond boxes; None if unknown."""
    return None if figures.beyond.value is None or figures.chance >= 1 else figures.beyond.value / (1 - figures.chance)


def doubts_of(figures: DataFigures, outcome: np.ndarray, class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the reasons why no verdict is possible, one line each; empty if it is."""
    doubts = []
    enough, there = int(figures.counted.sum()), len(class_names)
    if enough < 2 or enough < there / 2:
        doubts.append(
            f"{enough} of {there} classes have {LEAST} training pictures or more ({rare(figures, class_names)})"
        )
    uncertain = uncertain_share(outcome)
    if uncertain > MOST_UNCERTAIN:
        doubts.append(f"{percent(uncertain)} of the boxes are guesses: the chosen matte found no object there")
    return tuple(doubts)


def rare(figures: DataFigures, class_names: Sequence[str]) -> str:
    """Return the first classes with too few pictures, as text with their numbers of pictures."""
    few = np.flatnonzero(~figures.counted).tolist()
    names = ", ".join(f"{class_names[c]} {figures.counts[c]:,}" for c in few[:NAMED])
    return names + (", ..." if len(few) > NAMED else "")


def uncertain_share(outcome: np.ndarray) -> float:
    """Return the share of boxes that are not from the chosen matte. outcome: of the contract, uint8 (N,)."""
    return float((~np.isin(outcome, (OK, FULL))).mean()) if len(outcome) else 0.0


def facts(figures: DataFigures) -> tuple[str, ...]:
    """Return the evidence: figures in words, one line each; the verdict depends on the first."""
    way = share_of_the_way(figures)
    so_far = "" if way is None or way <= 0 else f", {100 * way:.0f} % of the way to certainty"
    return (
        f"backgrounds predict classes better than chance and boxes by {in_points(figures.beyond)}{so_far}",
        f"pictures without their objects: balanced accuracy {in_percent(figures.background)}, chance"
        f" {percent(figures.chance)}",
        f"place and size of the box alone: {in_percent(figures.control)}",
        f"information about the label beyond class priors: {in_nats(figures.gain)}",
    )


def in_nats(estimate: Estimate) -> str:
    """Return an estimate in nats with its interval as text: "0.354 nats (0.329 to 0.377)"."""
    if estimate.value is None:
        return "unknown"
    ends = "" if estimate.low is None or estimate.high is None else f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:.3f} nats{ends}"
