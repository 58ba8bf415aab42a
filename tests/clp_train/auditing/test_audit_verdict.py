"""The verdict: each word from figures that call for it, where it changes, and what its evidence says."""

from dataclasses import replace

import numpy as np
import pytest

from clp_aug.contract.schema import EMPTY, FALLBACK, OK
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.figures import NOT_MADE, measure
from clp_train.auditing.verdict import (
    CANNOT_TELL,
    NONE_SEEN,
    SOME,
    STRONG,
    STRONG_GAP,
    WIDE_GAP,
    enough_pictures,
    verdict_of,
)
from clp_train.auditing.views import MIX_OTHER, NONE
from clp_train.auditing.words import in_percent, in_points, percent, points
from tests.clp_train.auditing.made import made_audit


def judged(pictures=300, classes=2, reliance=0.5, accuracy=0.9, known=None, change=None, seed=0, **more):
    """The verdict on a made model; change: what becomes of the audit set before."""
    audit_set, answers = made_audit(pictures, classes, 2, reliance, accuracy, np.random.default_rng(seed), **more)
    audit_set = change(audit_set) if change else audit_set
    figures = measure(audit_set, answers, np.ones(classes, bool) if known is None else np.array(known), resamples=200)
    return verdict_of(figures, audit_set)


@pytest.fixture(scope="module")
def plain():
    """Figures and audit set of a model without reliance, of 300 pictures."""
    audit_set, answers = made_audit(300, 2, 2, 0.0, 0.9, np.random.default_rng(0))
    return measure(audit_set, answers, np.ones(2, bool), resamples=200), audit_set


def with_gap(plain, value, low, high):
    """The verdict on these figures with another gap."""
    figures, audit_set = plain
    return verdict_of(replace(figures, gap=Estimate(value, low, high, 300)), audit_set)


@pytest.mark.parametrize(
    ("gap", "word"),
    [
        ((0.20, 0.12, 0.28), STRONG),
        ((0.07, STRONG_GAP, 0.09), STRONG),
        ((0.07, STRONG_GAP - 1e-6, 0.09), SOME),
        ((0.20, 0.01, 0.40), SOME),  # wide, but it is there
        ((0.03, 1e-6, 0.06), SOME),
        ((0.009, 0.004, 0.013), NONE_SEEN),  # tiny, however sure
        ((0.03, 0.0, 0.06), NONE_SEEN),
        ((0.0, -0.02, 0.02), NONE_SEEN),
        ((-0.05, -0.08, -0.02), NONE_SEEN),
        ((0.03, -0.03, WIDE_GAP - 1e-6), NONE_SEEN),
        ((0.03, -0.03, WIDE_GAP), CANNOT_TELL),
        ((0.20, -0.01, 0.40), CANNOT_TELL),
        ((0.20, None, None), CANNOT_TELL),
        ((None, None, None), CANNOT_TELL),
    ],
)
def test_the_word_hangs_on_the_interval_of_the_gap(plain, gap, word):
    assert with_gap(plain, *gap).word == word


@pytest.mark.parametrize("gap", [(0.2, 0.1, 0.3), (0.03, 1e-6, 0.06), (0, -0.02, 0.02), (0, -0.2, 0.2), (None,) * 3])
def test_every_verdict_says_where_backgrounds_come_from(plain, gap):
    assert "backgrounds from split train" in " ".join(with_gap(plain, *gap).evidence)


def test_made_models_get_the_word_that_they_deserve():
    assert judged(reliance=0.5).word == STRONG
    assert judged(pictures=600, reliance=0.06, seed=1).word == SOME
    assert judged(reliance=0.0).word == NONE_SEEN
    assert judged(pictures=24, reliance=0.1, accuracy=0.8).word == CANNOT_TELL


def test_evidence_has_figures_with_intervals():
    found = judged(reliance=0.5)
    assert found.evidence[0].startswith("Of pictures of split test, with backgrounds from split train, ")
    assert " points (" in found.evidence[0]
    assert any(line.startswith("Of 2 classes, class ") and "shows it most clearly" in line for line in found.evidence)
    assert any(line.startswith("The predicted class changes with the background in ") for line in found.evidence)
    assert any(line.startswith("The background alone gives the label away: ") for line in found.evidence)
    none = judged(reliance=0.0)
    assert any(
        line.startswith("The background alone does not give the label of these pictures away: ")
        for line in none.evidence
    )
    assert not any("most clearly" in line for line in none.evidence)


def test_three_pictures_a_class_cannot_tell():
    found = judged(pictures=6, reliance=1.0)
    assert found.word == CANNOT_TELL
    assert found.evidence[0] == (
        "There are too few pictures: 0 classes have 10 or more, two are needed (class 0: 3, class 1: 3)."
    )


@pytest.mark.parametrize(
    ("counts", "enough"),
    [
        ([10, 10], True), ([10, 9], False), ([500, 9], False), ([10, 10, 0, 1], True), ([9] * 12, True),
        ([9] * 11, False), ([12] * 9, True), ([0, 0], False),
    ],
)  # fmt: skip
def test_two_classes_need_ten_pictures_or_ten_classes_a_hundred(counts, enough):
    assert enough_pictures(np.array(counts)) == enough


def test_one_class_cannot_tell():
    one = judged(pictures=40, change=lambda made: replace(made, label=np.zeros_like(made.label)))
    assert one.evidence[0] == ("There are pictures of one class only; a gap needs backgrounds of at least two classes.")
    known = judged(pictures=40, known=[True, False])
    assert (one.word, known.word) == (CANNOT_TELL, CANNOT_TELL)
    assert known.evidence[0].startswith("Of 1 of the 2 classes there are pictures that the model has a class for, ")


@pytest.mark.parametrize(("share", "word"), [(0.4, STRONG), (0.6, CANNOT_TELL)])
def test_uncertain_boxes_cannot_tell(share, word):
    def uncertain(made):
        outcome = np.full(len(made), OK, np.uint8)
        outcome[: int(share * len(made))] = FALLBACK
        outcome[0] = EMPTY
        return replace(made, outcome=outcome)

    found = judged(change=uncertain)
    assert found.word == word
    if word == CANNOT_TELL:
        assert found.evidence[0] == (
            "Boxes are too uncertain: of 60.0 % of the pictures the matte did not find the object; give boxes or masks."
        )


def test_objects_that_are_not_recognised_cannot_tell():
    found = judged(reliance=0.0, accuracy=0.5)
    assert found.word == CANNOT_TELL
    assert found.evidence[0].startswith("Objects that are pasted are not recognised: ")
    assert found.evidence[0].endswith("guessing scores 50.0 %.")


def test_what_is_left_out_is_said():
    def without_some(made):
        rows = {view: some.copy() for view, some in made.rows.items()}
        rows[MIX_OTHER][:5] = NONE
        return replace(made, rows=rows)

    found = judged(classes=3, known=[True, True, False], change=without_some)
    assert "Left out: 100 of 300 pictures, of classes that the model does not have." in found.evidence
    assert "Left out: 4 of 300 pictures, without backgrounds of both kinds." in found.evidence
    assert f"10 {NOT_MADE} are missing in these figures." in found.evidence


def test_small_classes_and_dear_cutting_are_said(plain):
    figures, audit_set = plain
    lines = verdict_of(replace(figures, cutting=Estimate(0.2, 0.1, 0.3, 300)), audit_set).evidence
    assert any(line.startswith("Cutting and pasting alone costs 20.0 points (10.0 to 30.0)") for line in lines)
    assert not any("Cutting" in line or "fewer than" in line for line in verdict_of(figures, audit_set).evidence)
    many = judged(pictures=110, classes=12, reliance=0.3)
    assert "10 classes have fewer than 10 pictures; the gaps of these classes say little." in many.evidence


def test_of_many_classes_one_stands_out_by_chance():
    found = judged(pictures=600, classes=24, reliance=0.4)
    assert any("Of 24 classes, " in line and line.endswith("stand out by chance.") for line in found.evidence)


def test_backgrounds_that_help_are_said(plain):
    assert (
        "Backgrounds of other classes help: more pictures are right on them."
        in with_gap(plain, -0.1, -0.2, -0.05).evidence
    )


def test_figures_as_words():
    assert (percent(0.65), percent(None), points(-0.015), points(None)) == ("65.0 %", "-", "-1.5", "-")
    assert points(-0.0001) == "0.0"
    assert in_percent(Estimate(0.65, 0.581, 0.713, 9)) == "65.0 % (58.1 to 71.3)"
    assert in_points(Estimate(0.25, None, None, 9)) == "25.0 points"
    assert in_points(Estimate(None, None, None, 0)) == "-"
