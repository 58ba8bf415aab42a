"""AUDIT DATA: the verdict in words on how much backgrounds foretell the label, with its evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clp_aug.contract.schema import FULL, OK
from clp_train.auditing.data_figures import LEAST, DataFigures
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.verdict import CANNOT_TELL, NONE_SEEN, SOME, STRONG, Verdict
from clp_train.auditing.words import in_percent, in_points, percent

TELLING = (STRONG, SOME)
HALFWAY = 0.5  # of the way from chance to certainty, from which on backgrounds foretell the label strongly
MATTERS = 0.25  # of that way: where so much is likely, "none" would be said too soon
SLIGHT = 0.05  # of that way: less is none to speak of
MOST_UNCERTAIN = 0.5  # share of boxes that another matte than the chosen one gave
NAMED = 3  # classes that a line names


def verdict_on_data(figures: DataFigures, outcome: np.ndarray, class_names: Sequence[str]) -> Verdict:
    """Return a word and its evidence: how far backgrounds lead from chance to certainty of the label, beyond what boxes
    alone tell.

    strong: half of the way or more; some: less, but the 95 % intervals of that and of what is learnt in nats are above
    0; none seen: one of these intervals is not, or it is less than a twentieth of the way, and no more than a quarter
    is likely; cannot tell: more is likely, or of fewer than two classes, or of less than half of them, there are LEAST
    pictures, or more than half of the boxes are not the chosen matte's. outcome: of the boxes, uint8 (N,), of the
    contract. Source: ours; where the lines are is a convention.
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
    """Say that an interval reaches as far as backgrounds that matter; empty where it does not."""
    high = figures.beyond.high
    if high is None or high <= MATTERS * (1 - figures.chance):
        return ""
    return (
        "backgrounds may tell something or nothing, as far as so few pictures show: more training pictures, or boxes of"
        " more of them, are needed"
    )


def share_of_the_way(figures: DataFigures) -> float | None:
    """Return which share of the way from chance to certainty backgrounds lead beyond boxes; None where unknown."""
    return None if figures.beyond.value is None or figures.chance >= 1 else figures.beyond.value / (1 - figures.chance)


def doubts_of(figures: DataFigures, outcome: np.ndarray, class_names: Sequence[str]) -> tuple[str, ...]:
    """Return why nothing can be said, a line each; none where it can."""
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
    """Return the share of boxes that the chosen matte did not give, of outcomes of the contract, uint8 (N,)."""
    return float((~np.isin(outcome, (OK, FULL))).mean()) if len(outcome) else 0.0


def facts(figures: DataFigures) -> tuple[str, ...]:
    """Return the evidence: figures in words, a line each, the first the one that the verdict hangs on."""
    way = share_of_the_way(figures)
    so_far = "" if way is None or way <= 0 else f", {100 * way:.0f} % of the way to certainty"
    return (
        f"backgrounds tell classes better than chance and boxes by {in_points(figures.beyond)}{so_far}",
        f"pictures without their objects: balanced accuracy {in_percent(figures.background)}, chance"
        f" {percent(figures.chance)}",
        f"place and size of the box alone: {in_percent(figures.control)}",
        f"what is learnt of the label beyond class priors: {in_nats(figures.gain)}",
    )


def in_nats(estimate: Estimate) -> str:
    """Return an estimate in nats with its interval as text: "0.354 nats (0.329 to 0.377)"."""
    if estimate.value is None:
        return "unknown"
    ends = "" if estimate.low is None or estimate.high is None else f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:.3f} nats{ends}"
