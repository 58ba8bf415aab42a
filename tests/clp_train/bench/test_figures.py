"""Figures: one drawing a kind, the right numbers in it, the same bytes from the same runs."""

import dataclasses
import math
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from clp_aug.contract.errors import UsageError
from clp_train.bench.figures import DRAWINGS, dots, lines, per_class, raised_losses, write_figure
from clp_train.bench.scores import cells
from clp_train.bench.spec import FARTHEST, Column, Row, Table
from clp_train.evaluating.raised_losses import RIGHT_UP, WRONG_UP

COLUMNS = {"a": Column("A", "error"), "b": Column("B", "worst", shared="a")}
ROWS = {"ce": Row("CE", "erm", x=0.0), "clp": Row("CLP", "clp", x=2.0)}
TABLE = Table("f", "F", COLUMNS, ROWS, axis="ratio")


def result(row, seed, average):
    metrics = {"average": average, "worst": 0.5, "per_class": [average, 0.1 + 0.1 * seed, 0.2]}
    history = [{RIGHT_UP: 0.5 + 0.1 * seed, WRONG_UP: 0.2}, {RIGHT_UP: 0.7, WRONG_UP: 0.1}]
    return {"row": row, "column": "a", "seed": seed, "protocol": "common", "epochs": 2,
            "seconds": 1.0, "cpu_seconds": 1.0,
            "metrics": {"last": {"test": metrics}, "selected": {}, "best_on_test": {}},
            "attention": {"inside": average, "area": 0.3},
            "history": history if row == "clp" else [{}, {}]}  # fmt: skip


RESULTS = [result("ce", 0, 0.6), result("ce", 1, 0.7), result("clp", 0, 0.8), result("clp", 1, 0.9)]


def axes():
    return Figure().add_subplot()


@pytest.mark.parametrize("draw", DRAWINGS)
def test_every_drawing_writes_both_forms_and_the_same_bytes(draw, tmp_path):
    table = dataclasses.replace(TABLE, draw=draw)
    written = []
    for name, results in (("1", RESULTS), ("2", RESULTS[::-1])):
        (tmp_path / name).mkdir()
        written.append([path.read_bytes() for path in write_figure(table, results, tmp_path / name)])
    assert written[0] == written[1]
    assert written[0][0].lstrip().startswith(b"<?xml")
    assert written[0][1].startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_figure_without_runs_is_empty_and_no_error(draw, tmp_path):
    assert len(write_figure(dataclasses.replace(TABLE, draw=draw), [], tmp_path)) == 2


def test_tables_without_a_drawing_have_none_and_unknown_ones_are_named(tmp_path):
    assert write_figure(TABLE, RESULTS, tmp_path) == []
    with pytest.raises(
        UsageError, match="unknown drawing 'pie': choose one of attention, classes, dots, lines, raised"
    ):
        write_figure(dataclasses.replace(TABLE, draw="pie"), RESULTS, tmp_path)


def test_a_panel_for_each_column_that_was_run(tmp_path):
    columns = {"not run": Column("N", "error"), **COLUMNS}
    table = dataclasses.replace(TABLE, columns=columns, draw="dots")
    text = write_figure(table, RESULTS, tmp_path)[0].read_text()
    assert 'id="axes_2"' in text, "b shares the runs of a"
    assert 'id="axes_3"' not in text


def test_dots_are_seeds_and_means_the_first_row_on_top():
    drawn = axes()
    dots(drawn, TABLE, "a", cells(TABLE, RESULTS, "last"), RESULTS)
    means, seeds = ([line for line in drawn.lines if line.get_marker() == marker] for marker in "Do")
    assert [float(line.get_xdata()[0]) for line in means] == pytest.approx([35, 15])
    assert [list(line.get_xdata()) for line in seeds] == [pytest.approx([40, 30]), pytest.approx([20, 10])]
    assert [label.get_text() for label in drawn.get_yticklabels()] == ["CE", "CLP"]
    low, high = drawn.get_ylim()
    assert low > high, "the first row at the top"
    assert max(drawn.get_xlim()) > 40, "no seed is cut off"
    assert min(drawn.get_xlim()) < 10


def test_one_seed_has_no_spread():
    drawn = axes()
    dots(drawn, TABLE, "a", cells(TABLE, RESULTS[::2], "last"), RESULTS[::2])
    assert not [part for part in drawn.collections if part.get_paths()]


def test_lines_stand_at_their_x():
    drawn = axes()
    lines(drawn, TABLE, "a", cells(TABLE, RESULTS, "last"), RESULTS)
    assert drawn.lines[0].get_xdata() == pytest.approx([0, 2])
    assert drawn.lines[0].get_ydata() == pytest.approx([35, 15])
    assert drawn.get_xlabel() == "ratio"


def test_classes_from_the_rarest():
    assert per_class(RESULTS[:2], "test") == pytest.approx([20, 15, 65])
    assert per_class([], "test") == []
    assert per_class(RESULTS, "val") == [], "none was measured there"
    assert per_class([*RESULTS[:2], {"metrics": {"last": {"test": {}}}}], "test") == pytest.approx([20, 15, 65])


def test_raised_losses_over_the_epochs():
    drawn = axes()
    raised_losses(drawn, TABLE, "a", {}, RESULTS)
    assert [line.get_label() for line in drawn.lines] == ["CLP, right labels", "CLP, wrong labels"]
    assert drawn.lines[0].get_ydata() == pytest.approx([55, 70])
    assert drawn.lines[1].get_ydata() == pytest.approx([20, 10])


def test_a_class_without_pictures_is_not_drawn(tmp_path):
    runs = [{"metrics": {"last": {"test": {"per_class": [0.5, None, 1.0]}}}}] * 2
    first, second, third = per_class(runs, "test")
    assert (first, third) == (100, 50)
    assert math.isnan(second)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize("x", [(-FARTHEST, FARTHEST), (0, 5e-324), (FARTHEST, FARTHEST), (1e15, 1e15 + 1)])
def test_the_farthest_places_are_drawn_in_silence(draw, x, tmp_path):
    rows = {key: dataclasses.replace(row, x=value) for (key, row), value in zip(ROWS.items(), x, strict=True)}
    assert len(write_figure(dataclasses.replace(TABLE, rows=rows, draw=draw), RESULTS, tmp_path)) == 2


NAMES = ("$\\frac$", "_hidden", "a\x1b[2J\nb", "[red] | <b>")


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize("name", NAMES)
def test_names_are_drawn_as_they_are(draw, name, tmp_path):
    """No mathematics, nothing that XML forbids, nothing that a legend leaves out."""
    columns = {key: dataclasses.replace(column, title=name) for key, column in COLUMNS.items()}
    rows = {key: dataclasses.replace(row, title=name) for key, row in ROWS.items()}
    table = dataclasses.replace(TABLE, columns=columns, rows=rows, axis=name, draw=draw)
    root = ElementTree.fromstring(write_figure(table, RESULTS, tmp_path)[0].read_bytes())
    legends = [part for part in root.iter() if (part.get("id") or "").startswith("legend")]
    assert len(legends) == (2 if draw in ("classes", "raised", "attention") else 0)
