"""REPORT: several runs on one page: their figures side by side, single pictures, in text and in a browser."""

import json
import re
import statistics
import subprocess

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_train.report import compare_pictures
from clp_train.report.compare import as_json, compared, write_compare_page
from clp_train.report.compare_looks import looks_of
from clp_train.report.compare_parts import curves, groups, headline, headline_table, measures, spread
from clp_train.report.compare_pictures import agreement, answers_of, disagreements
from clp_train.report.compare_runs import read_runs, splits_of
from tests.clp_train.report.compared_runs import (
    CLASSES,
    FILES,
    GROUP,
    GROUPS,
    LABEL,
    made_result,
    three_runs,
    write_run,
)
from tests.clp_train.report.test_page import CHROMIUM, SWITCHES, Page

CASES = 10


@pytest.fixture
def three(tmp_path):
    """Two runs of erm and one of clp, read."""
    return three_runs(tmp_path)


def written(runs, out):
    """Write the page of runs whose shard is gone; return it read."""
    write_compare_page(out, compared(runs, looks_of(runs, None, "cpu"), None))
    return Page(out.read_text())


def test_spread_is_the_mean_and_the_deviation_of_a_sample():
    rng = np.random.default_rng(1)
    for n in range(2, 8):
        values = rng.random(n)
        mean, deviation = np.mean(100 * values), np.std(100 * values, ddof=1)
        assert spread([*values, None]) == f"{mean:.1f} ± {deviation:.1f} %"
    assert spread([0.25]) == "25.0 %"
    assert spread([None]) == spread([]) == "–"


def test_single_pictures_are_as_counted_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(compare_pictures, "NAMED", 3)
    rng = np.random.default_rng(2)
    for case in range(CASES):
        predicted = [rng.integers(2, size=12) for _ in range(5)]
        folders = [
            write_run(tmp_path / f"{case}-{i}", predicted[i], method=method, seed=i)
            for i, method in enumerate(["erm", "erm", "clp", "clp", "clp"])
        ]
        runs = read_runs(folders)
        answers = answers_of(runs, "test")
        right = [[predicted[run][i] == LABEL[i] for run in range(5)] for i in range(12)]
        assert agreement(answers) == {
            "pictures": 12,
            "all right": sum(map(all, right)),
            "all wrong": sum(not any(each) for each in right),
            "some right": sum(any(each) and not all(each) for each in right),
            "different answers": sum(len({int(p[i]) for p in predicted}) > 1 for i in range(12)),
        }
        change = [statistics.fmean(each[2:]) - statistics.fmean(each[:2]) for each in right]
        (pair,) = disagreements(runs, answers)
        assert (pair["name"], pair["against"]) == ("clp", "erm")
        assert pair["gained"] == sum(c > 1e-9 for c in change)
        assert pair["lost"] == sum(c < -1e-9 for c in change)
        for g, (name, n, gained, lost) in enumerate(pair["parts"]):
            of_group = [c for c, group in zip(change, GROUP, strict=True) if group == g]
            expected = (GROUPS[g], 3, sum(c > 1e-9 for c in of_group), sum(c < -1e-9 for c in of_group))
            assert (name, n, gained, lost) == expected
        for (title, entries), sign in zip(pair["named"], (1, -1), strict=True):
            order = sorted((-round(sign * c, 9), i) for i, c in enumerate(change) if sign * c > 1e-9)
            assert [entry["file"] for entry in entries] == [FILES[i] for _, i in order[:3]], title


def test_what_a_picture_is_taken_for_is_counted_over_runs(three):
    (pair,) = disagreements(three, answers_of(three, "test"))
    gained = {entry["file"]: entry for entry in pair["named"][0][1]}
    assert list(gained) == ["03.png", "04.png", "06.png", "05.png"]  # the last: one of two runs alone was wrong
    assert gained["05.png"] == {
        "file": "05.png",
        "what": GROUPS[1],
        "first": f"{CLASSES[0]} (1 of 2), {CLASSES[1]} (1 of 2)",
        "second": CLASSES[0],
    }


def test_a_table_that_lacks_or_is_another_is_told(tmp_path):
    a, b = write_run(tmp_path / "a", LABEL), write_run(tmp_path / "b", LABEL, method="clp", table=False)
    runs = read_runs([a, b])
    assert answers_of(runs, "test") == (
        f"{b}/predictions-test.csv does not exist; the command of that run with --resume makes it"
    )
    lines = (a / "predictions-test.csv").read_text().splitlines()
    (b / "predictions-test.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert answers_of(runs, "test") == f"{b}/predictions-test.csv holds other pictures than {a}/predictions-test.csv"
    (b / "predictions-test.csv").write_text("file,label,predicted\nx,y,z\n")
    with pytest.raises(
        InputError, match=r"b/predictions-test.csv: no predictions of this run \(KeyError: 'y'\); remove"
    ):
        answers_of(runs, "test")
    (b / "predictions-test.csv").unlink()
    page = written(runs, tmp_path / "page.html")
    assert "Nothing to show: " in page.text
    assert "Which classes are confused" not in page.text


def test_parts_are_those_of_the_metrics(three):
    found = groups(three, "test")
    assert [name for name, _, _ in found["rows"]] == GROUPS
    for g, (_, pictures, cells) in enumerate(found["rows"]):
        per_run = [run.snapshot["metrics"]["test"]["per_group"][g] for run in three.runs]
        assert pictures == "3"
        assert [cell["text"] for cell in cells] == [spread(per_run[:2]), spread(per_run[2:])]
        assert [x for x, _ in cells[0]["dots"]] == [round(100 * per_run[1], 1), round(100 * per_run[0], 1)]


def test_of_many_classes_only_strata_are_shown(tmp_path):
    names = [f"c{i}" for i in range(40)]
    metrics = {"test": {"average": 0.5, "worst": 0.0, "weighted_average": 0.5, "per_class": [0.5] * 40,
                        "per_group": [0.5] * 40, "class_counts": [2] * 40, "group_counts": [2] * 40,
                        "strata": {"many": 0.75, "few": None}}}  # fmt: skip
    parts = {"class_names": names, "group_names": names, "has_groups": False, "train_group_counts": [3] * 40,
             "last": {"epoch": 3, "metrics": metrics}, "selected": None}  # fmt: skip
    folders = [write_run(tmp_path / m, LABEL, method=m, table=False, **parts) for m in ("erm", "clp")]
    found = groups(read_runs(folders), "test")
    assert [(name, [cell["text"] for cell in cells]) for name, _, cells in found["rows"]] == [
        ("many", ["75.0 %", "75.0 %"]), ("few", ["–", "–"])
    ]  # fmt: skip
    assert found["note"] == "40 rows of single ones: result.json"
    assert found["what"] == "class"


def test_protocols_have_a_column_each(tmp_path):
    result = made_result(LABEL)
    for moment in ("last", "selected"):
        result[moment]["metrics"]["test-2"] = result[moment]["metrics"]["test"]
    result["protocols"] = {"test": "CLT", "test-2": "GLT"}
    assert splits_of(result) == ("test", "test-2")
    titles = [each.title for each in measures(result)]
    assert titles == ["CLT, accuracy", "CLT, mean precision", "GLT, accuracy", "GLT, mean precision"]


def test_each_panel_has_a_curve_a_run(three):
    found = {plot["title"]: plot for plot in curves(three)}
    assert list(found) == ["Loss: train", "Accuracy on val: average", "Accuracy on val: worst"]
    loss = found["Loss: train"]
    assert [series["name"] for series in loss["series"]] == ["erm, seed 1", "erm, seed 0", "clp"]
    assert [series["tone"] for series in loss["series"]] == [0, 0, 1]
    assert [len(series["points"]) for series in loss["series"]] == [3, 3, 5]
    for series in loss["series"]:
        assert series["chosen"] == series["points"][1]  # selected: epoch 2
    assert loss["series"][0]["points"][1][0] < loss["series"][2]["points"][2][0]  # one axis for all


def test_a_run_without_a_selected_epoch_has_no_ring(tmp_path):
    folders = [write_run(tmp_path / m, LABEL, method=m, selected=None) for m in ("erm", "clp")]
    plots = curves(read_runs(folders))
    assert not any(plot["rings"] for plot in plots)
    assert all(series["chosen"] is None for plot in plots for series in plot["series"])
    page = written(read_runs(folders), tmp_path / "page.html")
    assert "test, at the last epoch" in page.text
    assert "ring: selected" not in page.text


def test_the_terminal_has_the_headline(three):
    table = headline_table(three, headline(three), [("gap", ["1", "2", "3", "4"])])
    assert str(table.title) == "3 runs on birds, resnet8"
    titles = [str(column.header) for column in table.columns]
    assert titles == ["run", "seed", "average", "worst group", "weighted average", "map in box", "gap", "epoch", "time"]
    assert [str(cell) for cell in table.columns[0].cells] == ["erm, 2 runs", "  erm, seed 0", "  erm, seed 1", "clp"]
    assert [str(cell) for cell in table.columns[6].cells] == ["1", "2", "3", "4"]


def test_json_says_the_same(three):
    found = json.loads(json.dumps(as_json(compared(three, looks_of(three, None, "cpu"), None))))
    assert [run["name"] for run in found["runs"]] == ["erm, seed 1", "erm, seed 0", "clp"]
    assert [run["figures"][0]["value"] for run in found["runs"]] == pytest.approx([2 / 3, 2 / 3, 5 / 6])
    assert found["variants"] == [
        {"name": "erm", "runs": ["erm, seed 0", "erm, seed 1"]},
        {"name": "clp", "runs": ["clp"]},
    ]
    assert found["splits"]["test"]["agreement"]["pictures"] == 12
    assert found["runs"][0]["audit"] is None


def test_the_page_has_it_all_and_loads_nothing(three, tmp_path):
    page = written(three, tmp_path / "page.html")
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert CLASSES[1] in page.text
    assert not re.search(r"""https?:|(?:src|href)="(?!data:)|url\(|@import""", page.html)
    assert "default-src 'none'" in page.html
    for part in (
        "3 runs on birds", "66.7 ± 0.0 %", "clp against erm: 4 gained, 2 lost", "erm, 2 runs together",
        "Which classes are confused, test", "No Grad-CAM: ", "Settings that differ",
    ):  # fmt: skip
        assert part in page.text, part
    assert [len(line) for line in page.lines] == [3, 3, 5] * 3
    assert page.html.count('class="ring') == 9
    assert written(three, tmp_path / "again.html").html == page.html
    assert page.html.startswith("<!doctype html>\n")


def test_the_page_needs_a_disk(three, tmp_path):
    with pytest.raises(InputError, match=r"^cannot write .*nowhere/page.html \(No such file"):
        written(three, tmp_path / "nowhere" / "page.html")


PROBE = """<script>
addEventListener("load", () => {
  const data = document.body.dataset, light = c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0);
  data.page = light(getComputedStyle(document.body).backgroundColor);
  data.ink = light(getComputedStyle(document.body).color);
  data.wide = document.documentElement.scrollWidth - innerWidth;
  data.curves = [...document.querySelectorAll(".curve")].every(c => c.getBoundingClientRect().height > 100);
  const strokes = [...document.querySelectorAll(".curve:first-of-type polyline")].map(l => getComputedStyle(l).stroke);
  data.colours = new Set(strokes).size;
  const track = document.querySelector(".track").getBoundingClientRect();
  data.dots = [...document.querySelector("tr:nth-child(2) .track").children].map(dot => {
    const at = dot.getBoundingClientRect();
    return ((at.x + at.width / 2 - track.x) / track.width).toFixed(2);
  });
});
</script></body>"""


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 500)])
def test_runs_side_by_side_in_a_browser(three, tmp_path, scheme, width):
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH")
    html = written(three, tmp_path / "page.html").html.replace("default-src 'none';", "script-src 'unsafe-inline';")
    (tmp_path / "probed.html").write_text(html.replace("</body>", PROBE))
    setting = f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}"
    command = [CHROMIUM, *SWITCHES, setting, f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "probed.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    body = Page(done.stdout).body
    assert (int(body["data-page"]) > int(body["data-ink"])) == (scheme == "light")
    assert int(body["data-wide"]) <= 0
    assert body["data-curves"] == "true"
    assert body["data-colours"] == "2"
    shares = [three.runs[i].snapshot["metrics"]["test"]["per_group"][1] for i in three.variants[0].runs]
    assert [float(v) for v in body["data-dots"].split(",")] == pytest.approx(shares, abs=0.02)
