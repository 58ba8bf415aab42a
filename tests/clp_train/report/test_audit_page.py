"""REPORT: the page of an audit: what it says of one model and of two, in text."""

import base64
import dataclasses
import hashlib
import re
from functools import partial

import numpy as np
import pytest

from clp_aug import pipeline
from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.answers import Answers
from clp_train.auditing.figures import compare
from clp_train.auditing.looking import without_maps
from clp_train.auditing.views import MIX_OTHER, MIX_SAME, read_audit_set
from clp_train.auditing.words import percent, points
from clp_train.report.audit_page import CANNOT_SEE, write_audit_page
from tests.clp_train.report.audits import HOSTILE, Page, audited, made, page_of, shelf_of, twice


@pytest.fixture
def written(tmp_path):
    """Write the page of one audit or two, return it read."""
    return partial(page_of, tmp_path)


@pytest.fixture(scope="module")
def one():
    return made()


@pytest.fixture(scope="module")
def two(one):
    return one, twice(one, 0.05)


def test_one_model(written, one):
    page, figures = written(one), one.figures
    text = page.words()
    for part in (
        "Does runs/erm look at the background?",
        "made, test: 40 pictures · 2 classes · 4 groups",
        f"Reliance on backgrounds {one.verdict.word}",
        *one.verdict.evidence,
        *CANNOT_SEE,
        "pictures of the split “train”, at most 5 a class, whose own objects were removed first (cagan)",
        "cut out along its matte",
        "pictures are resized to 160 pixels",
        f"original {percent(figures.by_view['original'].value)}",
        f"on other classes' backgrounds (mix-other) {percent(figures.by_view[MIX_OTHER].value)}",
        f"all pictures {points(figures.gap.value)}",
        f"class 1, against {points(figures.gap_by_group[3].value)}",
        "guessing: 50.0 %",
        "a classifier fitted to backgrounds: 87.5 %",
        "a model that follows them scores as guessing does here: only the gap shows it.",
        f"between backgrounds of the own and another class {percent(figures.flips.value)}",
        f"worst group of originals {percent(figures.by_group[figures.worst_group].value)}",
        "within the box 62.5 % the box covers 25.0 %; 30 maps",
        "All 40 pictures.",
        "made.h5",
    ):
        assert part in text
    assert "minus A" not in text
    assert "somewhere" not in page.html
    assert 'class="key' not in page.html


def test_strips_stand_in_order_with_all_views(written, one):
    page, moved = written(one), one.figures.moved
    assert page.places() == list(range(40))
    assert len(page.images) == len(page.said) == 40 * 10
    ids = [int(strip["id"].removeprefix("sample-")) for strip in page.strips]
    assert sorted(ids) == one.audit_set.sample_id.tolist()
    assert [moved[i] for i in ids] == sorted(moved, reverse=True)
    for strip, i in zip(page.strips, ids, strict=True):
        assert (strip["data-class"], strip["data-group"]) == (str(one.audit_set.label[i]), str(one.audit_set.group[i]))
        assert "data-moved1" not in strip
    assert set(page.said) <= {"right", "wrong", "same", "other"}
    assert page.options["class"] == ["", "0", "1"]
    assert page.options["changes"] == ["", "any", "none"]


def test_no_more_pictures_than_asked_for(written, one):
    page = written(one, rows=11)
    assert len(page.strips) == 11
    assert (
        "11 of 40 pictures: up to 6 that the background moved most under the model, the others spread" in page.words()
    )
    assert "11 of 11 pictures" in page.text


def test_two_models(written, two):
    page = written(*two)
    text = page.words()
    both = compare(two[0].audit_set, two[0].answers, two[1].answers, two[0].class_map.known, resamples=100)
    for part in (
        "Before and after: how much two models rely on the background",
        "A before: runs/erm run",
        "B after: runs/clp run",
        f"background gap, in points {points(both.gaps[0].value)} {points(both.gaps[1].value)} {points(both.gap.value)}",
        f"accuracy of originals {percent(both.originals[0].value)} {percent(both.originals[1].value)}",
    ):
        assert part in text
    assert len(page.said) == 2 * len(page.images) == 2 * 400
    assert page.options["changes"] == ["", "any", "both", "only-0", "only-1", "none"]
    assert {"moved-0", "moved-1", "sure-1", "unsure-1"} <= set(page.options["sort"])
    assert page.html.count('class="fill1"') == page.html.count('class="fill0"') > 10


def test_fitted_and_guessing_of_two_models_may_differ(written, two):
    other = dataclasses.replace(two[1], fitted=0.75, attention=without_maps("it is a program"))
    text = written(two[0], other).words()
    assert "a classifier fitted to backgrounds (A): 87.5 %" in text
    assert "a classifier fitted to backgrounds (B): 75.0 %" in text
    assert "no map: it is a program" in text
    none = dataclasses.replace(two[1], fitted=None)
    assert "fitted to backgrounds (A): 87.5 %" in written(two[0], none).text


def test_without_groups_and_with_too_few_pictures(written):
    audit = made(4, 2, groups=False)
    page = written(audit)
    assert "cannot tell" in page.text
    assert "each group" not in page.text
    assert "worst group" not in page.text
    assert "group" not in page.options


def test_of_200_classes_the_largest_gaps(written):
    page = written(made(400, 200, draws=1))
    assert "Shown: 20 of 200 classes, those whose interval has the highest low end" in page.words()
    assert len(page.strips) == 60
    assert len({strip["data-class"] for strip in page.strips}) >= 30


def test_hostile_names_are_text_and_short(written):
    audit = made(40, 4, names=HOSTILE)
    page = written(audit)
    assert page.tags.count("script") == 1
    assert HOSTILE[0] in page.text
    assert all(image["src"].startswith("data:image/") for image in page.images)
    assert "onerror" not in {name for image in page.images for name in image}
    assert "\u202e" not in page.html
    assert "x" * 5000 in page.html  # once a row, in its title
    assert len(page.html) < 1_500_000


def test_only_its_own_script_may_run_and_nothing_is_loaded(written, one):
    page = written(one)
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in page.html
    assert "default-src 'none'" in page.html
    assert "http:" not in page.html
    assert "https:" not in page.html
    assert not re.search(r"""(?:src|href)="(?!data:)|url\(|@import""", page.html)


def test_the_same_audits_give_the_same_bytes(written, two):
    assert written(*two).html == written(*two).html


def test_other_audits_are_refused(one, two, tmp_path):
    other = made(30)
    for audits, message in (
        ([], "a page shows one audit or two, not 0"),
        ([one] * 3, "a page shows one audit or two, not 3"),
        ([one, other], "both audits of a page must be of the same pictures"),
    ):
        with pytest.raises(ValueError, match=message):
            write_audit_page(tmp_path / "page.html", audits, shelf_of(one), None)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_is_one_line(one, tmp_path):
    with pytest.raises(InputError, match=r"^cannot write .*nowhere/page.html \(No such file"):
        write_audit_page(tmp_path / "nowhere" / "page.html", [one], shelf_of(one), None)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A shard of clp-augment --audit, of the built-in set."""
    out = tmp_path_factory.mktemp("shard") / "audit.h5"
    settings = {"dataset": "demo", "audit": "auto", "limit": 8, "draws": 2, "pool": 4, "remove": "tile", "size": 32}
    return pipeline.augment(AugmentConfig(**settings, out=out)).path


def answered(reader):
    """Return the audit of a model that answers at random."""
    rng, rows = np.random.default_rng(0), len(reader)
    answers = Answers(rng.integers(0, 2, rows), rng.random(rows, np.float32), rng.random(rows, np.float32))
    return audited(read_audit_set(reader), answers)


def test_a_real_shard(shard, tmp_path):
    reader = ShardReader(shard)
    audit = answered(reader)
    write_audit_page(tmp_path / "page.html", [audit], reader, None)
    page = Page((tmp_path / "page.html").read_text())
    assert len(page.strips) == 8
    assert len(page.images) == 8 * (4 + 2 + 2)
    assert page.text.count("mix-") == 3  # the names of views; captions say whose background it is
    assert all(name in page.text for name in ("of ring", "of cross", "ring on garden"))
    x0, y0, x1, y1 = audit.audit_set.box[int(np.argmax(audit.figures.moved))].tolist()
    assert f'<rect x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}"/>' in page.html
    assert audit.audit_set.rows[MIX_SAME].shape == (8, 2)


def test_a_damaged_picture_leaves_no_page(shard, tmp_path):
    data = bytearray(shard.read_bytes())
    reader = ShardReader(shard)
    data[data.index(reader.image(0).tobytes())] ^= 1
    path = tmp_path / "broken.h5"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.h5: /meta/images\[0\] is damaged"):
        write_audit_page(tmp_path / "page.html", [answered(reader)], ShardReader(path), None)
    assert list(tmp_path.iterdir()) == [path]
