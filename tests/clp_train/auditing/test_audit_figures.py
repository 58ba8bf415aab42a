"""Figures of an audit: by hand, beside loops, what is left out, coverage of intervals, paired differences."""

from dataclasses import replace

import numpy as np
import pytest

from clp_train.auditing.answers import Answers
from clp_train.auditing.cells import cells_of, donor_ids, index_of, labels_of_rows
from clp_train.auditing.estimates import Plan, estimate
from clp_train.auditing.figures import NO_PAIR, NOT_MADE, UNKNOWN_CLASS, compare, is_right, measure, take_difference
from clp_train.auditing.views import MIX_OTHER, MIX_OWN, MIX_SAME, NONE, ORIGINALS
from tests.clp_train.auditing.made import BACKGROUND, made_audit


def made(seed=0, pictures=60, classes=3, draws=2, reliance=0.4, accuracy=0.9, **more):
    """A made audit set, its answers, and all classes known."""
    audit_set, answers = made_audit(pictures, classes, draws, reliance, accuracy, np.random.default_rng(seed), **more)
    return audit_set, answers, np.ones(classes, bool)


def value_by_loops(audit_set, value, view, chosen):
    """The mean over draws and chosen pictures of a value of rows."""
    seen = [value[row] for i in np.flatnonzero(chosen) for row in audit_set.rows[view][i] if row >= 0]
    return float(np.mean(seen)) if seen else None


def value_over_classes(audit_set, value, view, chosen):
    """The mean of such means over the classes that have pictures."""
    means = [
        value_by_loops(audit_set, value, view, chosen & (audit_set.label == c))
        for c in range(len(audit_set.class_names))
    ]
    return float(np.mean([mean for mean in means if mean is not None]))


@pytest.mark.parametrize("case", range(6))
def test_figures_are_those_of_loops(case):
    audit_set, answers, known = made(case, pictures=15 + case, draws=1 + case % 3, groups=case % 2 == 0)
    known[0] = case != 4
    found = measure(audit_set, answers, known, resamples=20)
    right = (answers.predicted == labels_of_rows(audit_set, len(answers.predicted))).astype(float)
    chosen = known[audit_set.label]
    for view in audit_set.rows:
        assert found.by_view[view].value == pytest.approx(value_over_classes(audit_set, right, view, chosen))
        assert found.by_view[view].pictures == chosen.sum()
    for strata, estimates in ((audit_set.label, found.gap_by_class), (audit_set.group, found.gap_by_group)):
        for s, each in enumerate(estimates):
            means = [value_by_loops(audit_set, right, view, chosen & (strata == s)) for view in (MIX_SAME, MIX_OTHER)]
            assert each.value == (None if None in means else pytest.approx(means[0] - means[1]))
    others = [value_by_loops(audit_set, right, MIX_OTHER, chosen & (audit_set.label == c)) for c in range(3)]
    assert [each.value for each in found.others_by_class] == [None if v is None else pytest.approx(v) for v in others]
    assert found.lowest_before_others.value == pytest.approx(min(v for v in others if v is not None))
    same, other = (value_over_classes(audit_set, answers.of_label, view, chosen) for view in (MIX_SAME, MIX_OTHER))
    assert found.confidence_shift.value == pytest.approx(same - other, abs=1e-6)
    pairs = [
        [
            answers.predicted[a] != answers.predicted[b]
            for i in np.flatnonzero(chosen & (audit_set.label == c))
            for a in audit_set.rows[MIX_SAME][i]
            for b in audit_set.rows[MIX_OTHER][i]
        ]
        for c in np.unique(audit_set.label[chosen])
    ]
    assert found.flips.value == pytest.approx(np.mean([np.mean(some) for some in pairs]))
    assert len(found.gap_by_group) == len(found.by_group) == len(audit_set.group_names)


def test_what_a_background_does_to_pictures_of_all_classes_is_no_gap():
    """Before one class's backgrounds all objects are hard to see, and the classes differ in size: no shortcut."""
    audit_set, answers, known = made(pictures=90, classes=3, draws=3, reliance=0.0, accuracy=1.0)
    keep = np.flatnonzero((audit_set.label != 0) | (np.arange(90) % 5 == 0))
    rows = {view: some[keep] for view, some in audit_set.rows.items()}
    donor = {view: some[keep] for view, some in audit_set.donor.items()}
    own = audit_set.label[keep]
    audit_set = replace(audit_set, label=own, group=own, sample_id=audit_set.sample_id[keep], box=audit_set.box[keep],
                        outcome=audit_set.outcome[keep], rows=rows, donor=donor)  # fmt: skip
    predicted = answers.predicted.copy()
    predicted[rows[MIX_SAME]] = np.where(own[:, None] == 2, 1 - own[:, None], own[:, None])  # 2 before its own: wrong
    behind = (own[:, None] + 1 + np.arange(3) % 2) % 3  # the class of each other background, both equally often
    rows = {**rows, MIX_OTHER: rows[MIX_OTHER][:, :2]}
    donor = {**donor, MIX_OTHER: donor[MIX_OTHER][:, :2]}
    predicted[rows[MIX_OTHER]] = np.where(behind[:, :2] == 2, -1, own[:, None])
    found = measure(
        replace(audit_set, rows=rows, donor=donor), answers._replace(predicted=predicted), known, resamples=200
    )
    assert found.gap.value == pytest.approx(0, abs=1e-9)
    assert [each.value for each in found.gap_by_class] == pytest.approx([0.5, 0.5, -1.0])


def test_a_set_of_two_pictures_by_hand():
    audit_set, answers, known = made(pictures=2, classes=2, draws=2, groups=True)
    predicted, of_label = np.zeros_like(answers.predicted), np.full_like(answers.of_label, 0.5)
    rows = audit_set.rows
    predicted[rows[ORIGINALS][1]] = 1  # both originals are right; picture 0 is of class 0
    predicted[rows[MIX_OWN][1]] = 0  # once pasted, picture 1 is taken for 0
    predicted[rows[MIX_SAME]] = [[0, 1], [1, 1]]  # right: 1 of 2, 2 of 2
    predicted[rows[MIX_OTHER]] = [[1, 1], [0, 1]]  # right: 0 of 2, 1 of 2
    of_label[rows[MIX_SAME]] = [[0.8, 0.6], [0.9, 0.9]]
    of_label[rows[MIX_OTHER]] = [[0.2, 0.4], [0.9, 0.7]]
    audit_set = replace(audit_set, donor={**audit_set.donor, MIX_SAME: np.array([[70, 71], [72, 73]])})
    found = measure(audit_set, Answers(predicted, of_label, of_label), known, resamples=10)
    assert (found.by_view[MIX_SAME].value, found.by_view[MIX_OTHER].value) == (0.75, 0.25)
    assert [each.value for each in (found.gap, *found.gap_by_class)] == [0.5, 0.5, 0.5]
    assert (found.by_view[ORIGINALS].value, found.cutting.value) == (1, 0.5)
    assert found.flips.value == 4 / 8  # picture 0: 0 and 1 beside 1 and 1; picture 1: 1 and 1 beside 0 and 1
    assert found.flips_anyway.value == 0.5
    assert found.moved == pytest.approx([0.4, 0.1])
    assert found.confidence_shift.value == pytest.approx(0.25)
    assert found.guessing == 0.5


def test_pictures_of_classes_that_the_model_does_not_have_are_left_out_and_counted():
    audit_set, answers, known = made(pictures=31, classes=3)
    known[1] = False
    found = measure(audit_set, answers, known, resamples=10)
    count = int((audit_set.label == 1).sum())
    assert found.left_out == {UNKNOWN_CLASS: count, NO_PAIR: 0, NOT_MADE: 0}
    assert found.usable.sum() == 31 - count
    assert (found.gap_by_class[1].value, found.gap_by_class[1].pictures) == (None, 0)
    assert found.by_class.tolist() == [11, 0, 10]
    assert found.guessing == 0.5
    assert np.isnan(found.moved[audit_set.label == 1]).all()


def test_rows_that_could_not_be_made_are_left_out_and_counted():
    audit_set, answers, known = made(pictures=20, classes=2, draws=2)
    rows = {view: some.copy() for view, some in audit_set.rows.items()}
    rows[MIX_OTHER][3] = NONE  # neither draw: picture 3 has no gap
    rows[MIX_SAME][5, 0] = NONE
    rows[f"{BACKGROUND}tile"][7] = NONE
    answers.predicted[rows[MIX_SAME][5, 1]] = audit_set.label[5]
    found = measure(replace(audit_set, rows=rows), answers, known, resamples=10)
    assert found.left_out == {UNKNOWN_CLASS: 0, NO_PAIR: 1, NOT_MADE: 4}
    assert found.gap.pictures == 19
    assert found.by_view[MIX_SAME].pictures == 20
    assert found.by_view[f"{BACKGROUND}tile"].pictures == 19
    assert np.flatnonzero(~found.usable).tolist() == [3]


def test_without_views_of_one_kind_there_is_no_gap():
    audit_set, answers, known = made(pictures=8, classes=2)
    rows = {view: np.full_like(some, NONE) if view == MIX_OTHER else some for view, some in audit_set.rows.items()}
    found = measure(replace(audit_set, rows=rows), answers, known, resamples=10)
    for each in (found.gap, found.flips, found.confidence_shift, *found.gap_by_class):
        assert (each.value, each.low, each.high, each.pictures) == (None, None, None, 0)
    assert found.by_view[MIX_SAME].value is not None
    assert np.isnan(found.moved).all()


def test_no_class_known_says_nothing():
    audit_set, answers, known = made(pictures=8, classes=2)
    found = measure(audit_set, answers, ~known, resamples=5)
    assert (found.gap.value, found.guessing, found.lowest_before_others.value) == (None, None, None)
    assert found.left_out[UNKNOWN_CLASS] == 8


def test_one_draw_has_no_pair_of_its_own_class():
    found = measure(*made(draws=1), resamples=10)
    assert found.flips_anyway.value is None
    assert found.flips.value is not None


def test_a_pair_with_one_background_twice_is_no_pair():
    audit_set, answers, known = made(pictures=10, draws=2)
    same = audit_set.donor[MIX_SAME].copy()
    same[:, 1] = same[:, 0]
    found = measure(replace(audit_set, donor={**audit_set.donor, MIX_SAME: same}), answers, known, resamples=5)
    assert found.flips_anyway.value is None


def test_the_worst_group_is_that_of_the_originals():
    audit_set, answers, known = made(pictures=300, reliance=0.9, groups=True, agree=0.7)
    found = measure(audit_set, answers, known, resamples=5)
    values = [each.value for each in found.by_group]
    assert values[found.worst_group] == min(values)
    assert audit_set.group_names[found.worst_group].endswith("against")
    assert measure(*made(), resamples=5).worst_group is None


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("reliance", [0.0, 0.3, 1.0])
def test_the_gap_is_what_the_model_was_made_to_have(reliance, classes):
    found = measure(*made(pictures=1500, classes=classes, reliance=reliance, donors=300), resamples=50)
    expected = reliance * (0.9 - 0.1 / (classes - 1))  # of 0.9 that agree, less those of other classes that agree
    assert found.gap.value == pytest.approx(expected, abs=0.04)
    assert found.gap.low <= found.gap.value <= found.gap.high


def test_the_gap_rises_with_reliance():
    gaps = [measure(*made(pictures=600, reliance=r, donors=100), resamples=5).gap.value for r in (0, 0.2, 0.5, 0.8)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > gaps[0] + 0.5


def test_the_same_seed_gives_the_same_figures():
    one, again, other = (measure(*made(), seed=seed, resamples=50) for seed in (0, 0, 1))
    assert (one.gap, one.by_view) == (again.gap, again.by_view)
    assert one.gap.value == other.gap.value
    assert one.gap.low != other.gap.low


def test_where_nothing_differs_the_interval_goes_three_pictures_either_way():
    audit_set, answers, known = made(pictures=30, reliance=0.0, accuracy=1.0)
    found = measure(audit_set, answers, known, resamples=50)
    assert (found.gap.low, found.gap.value, found.gap.high) == (-0.1, 0, 0.1)
    assert (found.by_view[ORIGINALS].low, found.by_view[ORIGINALS].high) == (0.9, 1)


def only_gap(audit_set, answers, by_class):
    """The gap with its interval, in total and of each class, and nothing else."""
    plan, chosen, right = Plan(), np.ones(len(audit_set), bool), is_right(audit_set, answers)
    classes = len(audit_set.class_names)
    more = (audit_set.label, classes) if by_class else ()
    take_difference(plan, "gap", audit_set, (MIX_SAME, MIX_OTHER), right, chosen, *more)
    return estimate(plan, len(audit_set), len(donor_ids(audit_set)), 0, 250)["gap"]


@pytest.mark.parametrize("by_class", [False, True], ids=["total", "by class"])
def test_intervals_of_a_model_without_reliance_hold_zero(by_class):
    inside, width = [], []
    for seed in range(100):  # donors make it harder or easier, whatever class they are of
        audit_set, answers, _ = made(seed, pictures=150, classes=2, reliance=0, donors=15, donor_spread=0.7)
        inside += [each.low <= 0 <= each.high for each in only_gap(audit_set, answers, by_class)]
        width += [each.high - each.low for each in only_gap(audit_set, answers, by_class)]
    assert np.mean(inside) >= 0.9
    assert np.mean(width) < 0.16  # and not by being wide


def test_intervals_hold_the_gap_of_a_model_with_reliance():
    inside = []
    for seed in range(60):
        audit_set, answers, _ = made(seed, pictures=150, classes=2, reliance=0.4, donors=15, donor_spread=0.5)
        (gap,) = only_gap(audit_set, answers, False)
        inside.append(gap.low <= 0.4 * 0.8 <= gap.high)
    assert np.mean(inside) >= 0.88


def test_models_with_the_same_answers_do_not_differ():
    audit_set, answers, known = made(pictures=30)
    found = compare(audit_set, answers, answers, known, resamples=50)
    assert (found.gap.value, found.gap_p, found.original.value, found.original_p) == (0, 1, 0, 1)
    assert found.gaps[0] == found.gaps[1]


def test_two_models_differ_by_the_difference_of_their_figures():
    audit_set, one, known = made(0, pictures=300, reliance=0.1)
    _, other, _ = made(0, pictures=300, reliance=0.5)
    found = compare(audit_set, one, other, known)
    gaps = [measure(audit_set, each, known).gap for each in (one, other)]
    assert [each.value for each in found.gaps] == [each.value for each in gaps]
    assert found.gap.value == pytest.approx(gaps[1].value - gaps[0].value)
    assert found.gap.low > 0
    assert found.gap_p < 0.01
    assert found.original_p > 0.02
    back = compare(audit_set, other, one, known)
    assert (back.gap.value, back.gap_p) == (pytest.approx(-found.gap.value), found.gap_p)
    independent = np.hypot(*(gap.high - gap.low for gap in gaps))
    assert found.gap.high - found.gap.low < independent


def test_a_difference_is_on_the_classes_that_both_have():
    audit_set, answers, known = made(pictures=30, classes=3)
    known[2] = False
    assert compare(audit_set, answers, answers, known, resamples=5).gap.pictures == 20


def test_pictures_of_no_group_are_in_no_stratum_and_donors_are_found_by_id():
    audit_set, answers, _ = made(pictures=12, groups=True)
    group = audit_set.group.copy()
    group[:4] = -1
    right = is_right(audit_set, answers)
    cells = cells_of(audit_set, MIX_SAME, right, np.ones(12, bool), group)
    assert sorted(set(cells.picture.tolist())) == list(range(4, 12))
    ids = donor_ids(audit_set)
    assert (ids[cells.donors[:, 0]] == audit_set.donor[MIX_SAME][4:].ravel()).all()
    assert index_of(np.array([NONE, ids[3]]), ids).tolist() == [-1, 3]
