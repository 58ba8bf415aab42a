"""REPORT: bars of an audit: where they begin and end, what they say, which rows are left out."""

import numpy as np
import pytest

from clp_train.auditing.estimates import Estimate
from clp_train.report.audit_bars import MOST_ROWS, Mark, clearest, interval_text, panel


def of(value, low=None, high=None):
    return Estimate(value, low, high, 10)


def test_shares_lie_on_an_axis_from_0_to_1():
    found = panel("t", [("a", [of(0.25, 0.125, 0.5), of(1.0, 0.9, 1.0)])], True, [Mark(0.5, "guessing")], "n")
    first, second = found.rows[0].bars
    assert first == (0, 0.0, 25.0, 12.5, 50.0, "25.0 %", "12.5 to 50.0")
    assert second == (1, 0.0, 100.0, 90.0, 100.0, "100.0 %", "90.0 to 100.0")
    assert found.lines == ((50.0, "guessing: 50.0 %"),)
    assert [(t.x, t.text) for t in found.ticks] == [(0, "0"), (25, "25"), (50, "50"), (75, "75"), (100, "100")]
    assert [t.main for t in found.ticks] == [True, False, True, False, True]
    assert (found.zero, found.title, found.note) == (0.0, "t", "n")


def test_differences_go_both_ways_from_zero():
    """By hand: the axis goes from -20 to 40 points, so zero is at a third and 15 points are a quarter."""
    found = panel("gap", [("a", [of(0.15, -0.2, 0.4)]), ("b", [of(-0.1, -0.2, 0.0)])], False)
    assert [t.text for t in found.ticks] == ["-20", "0", "20", "40"]
    assert [t.main for t in found.ticks] == [False, True, False, True]
    assert found.zero == 33.33
    right, left = (row.bars[0] for row in found.rows)
    assert (right.start, right.width, right.low, right.high) == (33.33, 25.0, 0.0, 100.0)
    assert (left.start, left.start + left.width) == pytest.approx((16.67, 33.33), abs=0.02)
    assert (right.text, left.text) == ("15.0", "-10.0")


def test_nothing_leaves_the_frame_and_order_is_kept():
    """Positions are a straight line through zero, whatever the figures: an oracle of each by hand."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = np.sort(rng.uniform(-1, 1, (int(rng.integers(1, 6)), 3)) * rng.choice([1, 0.1, 0.003]), 1)
        found = panel("t", [(str(i), [of(v, low, high)]) for i, (low, v, high) in enumerate(values.tolist())], False)
        texts = [float(t.text) / 100 for t in found.ticks]
        span = texts[-1] - texts[0]
        assert found.ticks[0].x == 0
        assert found.ticks[-1].x == 100
        for row, (low, value, high) in zip(found.rows, values.tolist(), strict=True):
            bar = row.bars[0]
            wanted = [100 * (v - texts[0]) / span for v in (low, high, min(0, value))]
            assert [bar.low, bar.high, bar.start] == pytest.approx(wanted, abs=0.011)
            assert bar.width == pytest.approx(100 * abs(value) / span, abs=0.021)
            assert 0 <= bar.low <= bar.high <= 100


def test_without_intervals_and_without_pictures():
    found = panel("t", [("few", [of(0.5), of(None)]), ("none", [of(None), of(None)])], True)
    assert [row.name for row in found.rows] == ["few"]
    few, none = found.rows[0].bars
    assert (few.low, few.high, few.text, few.interval) == (None, None, "50.0 %", "no interval")
    assert (none.start, none.width, none.low, none.text) == (0.0, 0.0, None, "-")
    assert none.interval == "no pictures to compute it of"
    assert panel("t", [("none", [of(None)])], False) is None
    assert panel("t", [], True) is None
    assert interval_text(of(0.5, -0.0004, 0.5)) == "0.0 to 50.0"


def test_of_many_classes_those_with_the_surest_figures_are_shown_and_the_rest_told():
    rng = np.random.default_rng(1)
    lows = rng.permutation(50) / 100 - 0.2
    rows = [(f"c{i}", [of(0.6 - low, low, 0.9), of(None)]) for i, low in enumerate(lows.tolist())]
    unsure = [("one picture", [of(1.0), of(None)]), ("empty", [of(None), of(None)])]
    shown, note = clearest([*unsure, *rows], "classes")
    assert [name for name, _ in shown] == [f"c{i}" for i in np.argsort(-lows)[:MOST_ROWS]]
    assert note == (
        f"Shown: {MOST_ROWS} of 51 classes, those whose interval has the highest low end; of so many, some stand out by"
        " chance. Without pictures: 1 of 52 classes."
    )
    assert clearest(rows[:MOST_ROWS], "classes") == (rows[:MOST_ROWS], "")
    assert clearest([rows[0], unsure[1]], "groups") == ([rows[0]], "Without pictures: 1 of 2 groups.")


def test_either_model_may_have_the_surest_figure():
    rows = [(f"c{i}", [of(0.0, -0.1, 0.1), of(0.0)]) for i in range(30)]
    rows[7], rows[9] = ("b", [of(0.1, -0.2, 0.3), of(0.9, 0.8, 1.0)]), ("a", [of(0.5, 0.4, 0.6), of(None)])
    assert [name for name, _ in clearest(rows, "classes")[0]][:2] == ["b", "a"]
