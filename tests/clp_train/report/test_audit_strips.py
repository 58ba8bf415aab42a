"""REPORT: single pictures of an audit: which are chosen, which views are shown, what is said of them."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from clp_aug.contract.images import data_uri
from clp_train.auditing.spreading import spread
from clp_train.auditing.views import BACKGROUND, MIX_OTHER, MIX_OWN, MIX_SAME, OBJECT, ORIGINALS
from clp_train.report import audit_strips
from clp_train.report.audit_strips import change_tokens, changes, choose, named, strata_of, strips, thumbnail
from tests.clp_train.report.audits import made, row_of, shelf_of, twice


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def dealt(strata, count):
    """Oracle: how many cards each stratum is sure of, and at most, if cards are dealt round by round."""
    left = {s: strata.count(s) for s in strata}
    level = 0
    while sum(min(n, level + 1) for n in left.values()) <= count and level < len(strata):
        level += 1
    return {s: (min(n, level), min(n, level + 1)) for s, n in left.items()}


def test_spread_deals_evenly_and_the_first_of_each_first():
    rng = np.random.default_rng(0)
    for _ in range(300):
        strata = rng.integers(0, int(rng.integers(1, 9)), int(rng.integers(0, 40))).tolist()
        count = int(rng.integers(0, 45))
        chosen = spread(np.array(strata, np.int64), count)
        assert len(set(chosen.tolist())) == len(chosen) == min(count, len(strata))
        for stratum, (least, most) in dealt(strata, count).items():
            of_it = [i for i, s in enumerate(strata) if s == stratum]
            taken = sorted(i for i in chosen.tolist() if strata[i] == stratum)
            assert least <= len(taken) <= most
            assert taken == of_it[: len(taken)]


def test_spread_over_more_strata_than_places_takes_them_from_everywhere():
    chosen = np.sort(spread(np.arange(200), 30))
    assert np.diff(chosen).max() <= 12
    assert chosen[0] <= 12
    assert chosen[-1] >= 187


def test_half_is_most_moved_under_either_model_and_half_spread():
    rng = np.random.default_rng(1)
    for _ in range(200):
        pictures, rows = int(rng.integers(1, 50)), int(rng.integers(1, 60))
        moved = [rng.uniform(-1, 1, pictures) for _ in range(int(rng.integers(1, 3)))]
        for each in moved:
            each[rng.random(pictures) < 0.3] = np.nan
        strata = rng.integers(0, 4, pictures)
        chosen = choose(strata, moved, rows).tolist()
        assert len(set(chosen)) == len(chosen) == min(rows, pictures)
        best = [max((m[i] for m in moved if np.isfinite(m[i])), default=-np.inf) for i in range(pictures)]
        by_best = sorted((i for i in range(pictures) if best[i] > -np.inf), key=lambda i: -best[i])
        first = by_best[: (rows + 1) // 2]
        assert set(first) <= set(chosen)
        rest = [i for i in range(pictures) if i not in first]
        for stratum, (least, most) in dealt([int(strata[i]) for i in rest], rows - len(first)).items():
            taken = [i for i in chosen if i in rest and strata[i] == stratum]
            assert least <= len(taken) <= most
        order = [moved[0][i] if np.isfinite(moved[0][i]) else -2 for i in chosen]
        assert order == sorted(order, reverse=True)


def test_strata_are_pairs_of_class_and_group():
    audit = made(30, 3)
    strata, audit_set = strata_of(audit.audit_set), audit.audit_set
    pairs = list(zip(audit_set.label.tolist(), audit_set.group.tolist(), strict=True))
    for i in range(30):
        for j in range(30):
            assert (strata[i] == strata[j]) == (pairs[i] == pairs[j])


def test_changes_by_loops():
    audit = made(60, 3, draws=2, reliance=0.5)
    rows, predicted = audit.audit_set.rows, audit.answers.predicted
    rows[MIX_SAME][3, 1], rows[MIX_OTHER][4] = -1, -1
    found = [changes(audit.audit_set, audit.answers, i) for i in range(60)]
    for i, changed in enumerate(found):
        pairs = [(a, b) for a in rows[MIX_SAME][i] for b in rows[MIX_OTHER][i] if a >= 0 and b >= 0]
        assert changed == any(predicted[a] != predicted[b] for a, b in pairs)
    assert not found[4]
    assert 0 < sum(found) < 60


@pytest.mark.parametrize(
    ("changed", "tokens"),
    [
        ([True], ["any"]), ([False], ["none"]), ([True, False], ["any", "only-0"]), ([False, True], ["any", "only-1"]),
        ([True, True], ["any", "both"]), ([False, False], ["none"]),
    ],
)  # fmt: skip
def test_choices_of_the_filter(changed, tokens):
    assert change_tokens(changed) == tokens


def test_each_view_has_its_pixels_and_its_answers():
    first = made(20, 3, draws=4, reliance=0.6)
    audits = [first, twice(first, 0.1)]
    shelf, chosen = shelf_of(first), np.array([7, 2, 19])
    audit_set = first.audit_set
    found = list(strips(audits, shelf, chosen))
    assert [s["id"] for s in found] == audit_set.sample_id[chosen].tolist()
    views = [(ORIGINALS, 0), (f"{OBJECT}grey", 0), (f"{BACKGROUND}cagan", 0), (MIX_OWN, 0)]
    views += [(view, draw) for view in (MIX_SAME, MIX_OTHER) for draw in range(3)]
    for strip, i in zip(found, chosen.tolist(), strict=True):
        cells = [cell for _, part in strip["parts"] for cell in part]
        assert len(cells) == len(views) == 10
        assert [bool(cell["box"]) for cell in cells] == [True] + [False] * 9
        label = int(audit_set.label[i])
        for cell, (view, draw) in zip(cells, views, strict=True):
            row = int(audit_set.rows[view][i, draw])
            assert row_of(decoded(cell["uri"])[3, 4]) == row
            for audit, said in zip(audits, cell["answers"], strict=True):
                predicted = int(audit.answers.predicted[row])
                right = predicted == label
                sign = ("=" if right else "≠") if view.startswith(BACKGROUND) else ("✓" if right else "✗")
                assert said["sign"] == sign
                assert said["name"] == audit_set.class_names[predicted]
                assert said["sure"] == f"{100 * audit.answers.of_predicted[row]:.0f}\N{NO-BREAK SPACE}%"
            if view == MIX_SAME:
                assert cell["caption"] == f"of {audit_set.class_names[label]}"
            if view == MIX_OTHER:
                assert cell["caption"] in {f"of {audit_set.class_names[c]}" for c in range(3) if c != label}
                assert cell["title"] == f"mix-other: background of sample {audit_set.donor[view][i, draw]}"
        assert strip["moved"] == [f"{audit.figures.moved[i]:.4f}" for audit in audits]
        original = audit_set.rows[ORIGINALS][i, 0]
        assert strip["sure"] == [f"{audit.answers.of_predicted[original]:.4f}" for audit in audits]


def test_views_that_are_missing_leave_a_place_or_none():
    audit = made(12, 2)
    audit.audit_set.rows[MIX_OTHER][5, 1] = -1
    del audit.audit_set.rows[MIX_OWN], audit.audit_set.rows[f"{BACKGROUND}cagan"]
    strip = next(strips([audit], shelf_of(audit), np.array([5])))
    own, _, other = (part for _, part in strip["parts"])
    assert [cell["title"] for cell in own] == [ORIGINALS, f"{OBJECT}grey", f"{BACKGROUND}grey"]
    assert [(bool(c["uri"]), len(c["answers"])) for c in other] == [(True, 1), (False, 0), (True, 1)]
    assert other[1]["caption"] == "could not be made"


def test_another_class_and_a_shard_that_does_not_name_donors():
    audit, view = made(12, 2), MIX_OTHER
    audit.answers.predicted[audit.audit_set.rows[view][0, 0]] = -1
    shelf = shelf_of(audit)
    del shelf.tables["train/label"]
    cell = next(strips([audit], shelf, np.array([0])))["parts"][2][1][0]
    assert (cell["answers"][0]["name"], cell["answers"][0]["mark"]) == ("another class", "wrong")
    assert cell["caption"] == f"of sample {audit.audit_set.donor[view][0, 0]}"


def test_a_picture_whose_move_is_unknown():
    audit = made(12, 2)
    moved = audit.figures.moved.copy()
    moved[3] = np.nan
    audit = dataclasses.replace(audit, figures=dataclasses.replace(audit.figures, moved=moved))
    strip = next(strips([audit], shelf_of(audit), np.array([3])))
    assert (strip["moved"], strip["moved_text"]) == ([""], ["-"])


def test_names_are_one_short_line():
    assert named("dog") == "dog"
    assert named("") == "(no name)"
    assert named("a\nb\u202ec") == "a\ufffdb\ufffdc"
    assert named("x" * 1000) == "x" * 59 + "…"
    assert len(named("y" * 60)) == 60


def test_thumbnails_are_small_and_true():
    tiny = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    np.testing.assert_array_equal(decoded(thumbnail(tiny)), tiny)
    side = np.linspace(0, 255, 320).astype(np.uint8)
    ramp = np.stack(np.broadcast_arrays(side, side[:200, None], np.uint8(90)), -1)
    small = decoded(thumbnail(ramp))
    assert small.shape == (100, 160, 3)
    assert np.abs(small.astype(int) - ramp[::2, ::2]).max() <= 12
    assert audit_strips.SIDE == 160


def test_compact_pictures_take_half_as_much():
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).resize((160, 160), Image.Resampling.BICUBIC)
    picture = np.clip(np.asarray(coarse) + rng.normal(0, 8, (160, 160, 3)), 0, 255).astype(np.uint8)
    compact, full = data_uri(picture, compact=True), data_uri(picture)
    assert len(compact) < 0.6 * len(full)
    assert full == data_uri(picture, compact=False)
    assert np.abs(decoded(compact).astype(int) - picture).mean() < 12
