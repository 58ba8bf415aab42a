"""Written tables: what stands in them, and the same bytes from the same runs."""

import csv
import dataclasses
import json
import re

import pytest

from clp_aug.contract.errors import InputError
from clp_train.bench.remarks import rows_with_fewer_seeds
from clp_train.bench.spec import Column, Row, Scale, Table
from clp_train.bench.write import seconds_text, write_table
from tests.clp_train.bench.tiny_tables import RESULTS

CPU = Scale((), (), "fewer pictures")
TABLE = Table(
    "t", "Errors & spreads", {"a": Column("A", "error", cpu=CPU), "b": Column("B", "worst", shared="a")},
    {"ce": Row("CE", "erm", quoted={}), "la": Row("L<A>", "logit-adjust", quoted={"a": 20.0}),
     "clp": Row("CLP", "clp", quoted={}), "other": Row("Not run", "mwn", quoted={"b": 3.0})},
    ("quoted from somewhere",),
)  # fmt: skip
WHOLE = [
    r | {"augment": [], "train": [], "attention": None, "history": [], "fingerprint": "f", "versions": {"torch": "2"}}
    for r in RESULTS
]


def test_markdown_says_what_a_reader_must_know(tmp_path):
    text = write_table(TABLE, "cpu", WHOLE, tmp_path)[1].read_text()
    assert "| CE | - | 29.0 ± 1.0 | - | 3 | - | 50.0 ± 0.0 | - | 3 | 2 | 1.0 |" in text
    assert "| CLP | - | 10.7 ± 2.1* | 5.0 | 1 | - | 60.0 ± 0.0 | 50.0 | 1 | 11 | 5.5 |" in text
    assert "| Not run | - | - | - | - | 3.0 | - | - | - | - | - |" in text
    for remark in ("Made by `clp-bench t.toml --scale cpu`", "Cut at this scale, A: fewer pictures.",
                   "quoted from somewhere",
                   "Seeds 0, 1, 2; 10 runs", "A: top-1 error in percent, the lower the better."):  # fmt: skip
        assert remark in text
    assert "by test" not in text, "no run watched the test set"


def test_rows_stand_under_the_headings_of_their_blocks(tmp_path):
    blocks = {"ce": "Nothing", "la": "Nothing", "clp": "B", "other": ""}
    rows = {name: dataclasses.replace(row, block=blocks[name]) for name, row in TABLE.rows.items()}
    paths = write_table(dataclasses.replace(TABLE, rows=rows), "cpu", WHOLE, tmp_path)
    lines = [line for line in paths[1].read_text().split("## ")[1].splitlines() if line.startswith("| ")][1:]
    firsts = [line.split("|")[1].strip() for line in lines]
    assert firsts[:2] == ["**Nothing**", "CE"]
    assert firsts[3:] == ["**B**", "CLP", "Not run"]
    assert {len(line.split("|")) for line in lines} == {len(lines[1].split("|"))}
    assert '<td class="block">B</td>' in paths[3].read_text()
    plain = write_table(TABLE, "cpu", WHOLE, tmp_path)[1].read_text()
    assert "**" not in plain


def test_what_no_run_is_of_is_not_shown(tmp_path):
    rows = {"ce": Row("CE", "erm", quoted={"b": 3.0}), "clp": Row("CLP", "clp"), "uw": Row("Failed", "uw")}
    table = Table("t", "T", {"a": Column("A", "error", cpu=CPU), "b": Column("B", "worst", cpu=CPU)}, rows)
    plain = [r for r in WHOLE if r["protocol"] == "common" and r["row"] != "la"]
    text = write_table(table, "cpu", plain, tmp_path)[1].read_text()
    assert "| method | A: ours | A: rank | s an epoch | cost |" in text
    assert "| CE | 29.0 ± 1.0 | 2 | 2 | 1.0 |" in text
    assert "- Not run: B." in text
    assert "| Failed | - | - | - | - |" in text
    assert "B" not in write_table(table, "cpu", plain, tmp_path)[3].read_text().split("<ul>")[0]


def test_one_section_where_nothing_could_be_selected(tmp_path):
    paths = write_table(TABLE, "cpu", WHOLE, tmp_path)
    for text in (paths[1].read_text(), paths[3].read_text()):
        assert "Last epoch (also the one that is selected, where there are validation pictures)" in text
        assert "Epoch selected" not in text
    assert "selected,ce,a," in paths[2].read_text(), "who reads the CSV finds both"
    selected = WHOLE[0] | {"metrics": WHOLE[0]["metrics"] | {"selected": {"test": {"average": 0.9, "worst": 0.9}}}}
    text = write_table(TABLE, "cpu", [selected, *WHOLE[1:]], tmp_path)[1].read_text()
    assert text.index("## Epoch selected on validation") < text.index("## Last epoch\n")


@pytest.mark.parametrize(("seconds", "text"), [(0.1234, "0.12"), (9.94, "9.9"), (10.4, "10"), (141.6, "142")])
def test_seconds_have_no_exponent(seconds, text):
    assert seconds_text(seconds) == text


def test_times_of_two_presets_have_columns_of_their_own(tmp_path):
    table = Table("t", "T", {"a": Column("A", "worst", cpu=CPU), "b": Column("B", "worst", cpu=CPU)}, TABLE.rows)
    plain = [r | {"train": ["--preset", "head"]} for r in WHOLE if r["protocol"] == "common"]
    slow = [
        r | {"column": "b", "cpu_seconds": 10 * r["cpu_seconds"], "train": ["--preset", "whole"]} for r in plain[:6]
    ]
    paths = write_table(table, "cpu", plain + slow, tmp_path)
    text = paths[1].read_text()
    assert "| head: s an epoch | head: cost | whole: s an epoch | whole: cost |" in text
    assert "| 11 | 5.5 | - | - |" in text
    assert "| 4 | 2.0 | 40 | 2.0 |" in text
    rows = list(csv.DictReader(paths[2].read_text().splitlines()))
    assert [r["seconds"] for r in rows if (r["when"], r["row"]) == ("last", "la")] == ["4", "40"]
    page = paths[3].read_text()
    times = "<th>s an epoch</th><th>cost</th>"
    assert '<th colspan="2">head</th><th colspan="2">whole</th></tr>' in page
    assert f"{times}{times}</tr>" in page
    above, below = re.findall(r"<tr><th>.*</tr>", page)[:2]
    spans = [int(span or 1) for span in re.findall(r'<th(?: colspan="(\d+)")?>', above)]
    assert sum(spans) == below.count("<th>"), "as wide as the line below"


def test_all_forms_and_the_same_bytes(tmp_path):
    first = [path.read_bytes() for path in write_table(TABLE, "cpu", WHOLE, tmp_path / "1")]
    second = [path.read_bytes() for path in write_table(TABLE, "cpu", WHOLE[::-1], tmp_path / "2")]
    assert first == second
    assert [path.name for path in sorted((tmp_path / "1").iterdir())] == [
        "table.csv", "table.html", "table.json", "table.md"
    ]  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "1" / "table.csv").read_text().splitlines()))
    assert len(rows) == 2 * 4 * 2
    clp = next(r for r in rows if (r["when"], r["row"], r["column"]) == ("last", "clp", "a"))
    assert (clp["mean"], clp["seeds"], clp["rank"], clp["seconds"], clp["cost"]) == ("10.6667", "3", "1", "11", "5.5")
    assert len(json.loads((tmp_path / "1" / "table.json").read_text())["runs"]) == len(WHOLE)


def test_the_page_escapes_and_marks_the_best(tmp_path):
    page = write_table(TABLE, "cpu", WHOLE, tmp_path)[3].read_text()
    assert "Errors &amp; spreads" in page
    assert "L&lt;A&gt;" in page
    assert page.count('class="best"') == 3, "CLP is best in A, LA and CLP in B"
    assert "http" not in page


def test_a_figure_is_shown_on_its_page_and_a_table_has_none(tmp_path):
    drawn = write_table(dataclasses.replace(TABLE, draw="dots"), "cpu", WHOLE, tmp_path / "drawn")
    assert "![Errors & spreads](figure.svg)" in drawn[1].read_text()
    assert '<img src="figure.svg" alt="Errors &amp; spreads">' in drawn[3].read_text()
    plain = write_table(TABLE, "cpu", WHOLE, tmp_path / "plain")
    assert not any("figure.svg" in path.read_text() for path in plain)


def test_a_column_with_fewer_seeds_is_named(tmp_path):
    table = Table("t", "T", {"a": Column("A", "error", cpu=CPU), "b": Column("B", "worst", cpu=CPU)}, TABLE.rows)
    plain = [r for r in WHOLE if r["protocol"] == "common"]
    one = [r | {"column": "b"} for r in plain if r["seed"] == 0]
    assert "- Fewer seeds than other columns: B (1)." in write_table(table, "cpu", plain + one, tmp_path)[1].read_text()
    assert "Fewer seeds than other" not in write_table(table, "cpu", plain, tmp_path)[1].read_text()


def test_rows_with_fewer_seeds_are_named():
    runs = [
        {"column": column, "row": row, "seed": seed}
        for column, row, seeds in (("a", "ce", 3), ("a", "la", 2), ("a", "clp", 3), ("b", "ce", 1), ("b", "clp", 1))
        for seed in range(seeds)
    ]
    assert rows_with_fewer_seeds(TABLE, runs) == [f"{TABLE.rows['la'].title} (2)"]
    assert rows_with_fewer_seeds(TABLE, [run for run in runs if run["row"] != "la"]) == []


HOSTILE = Table(
    "a`b", "T | <b>x</b> [y", {"a": Column("C|<i>", "worst", cpu=Scale((), (), "cut | <u>"))},
    {"ce": Row("R | <script>\n\x1b", "erm"), "clp": Row("CLP", "clp")}, ("note <img src=x> | y",), "dots",
)  # fmt: skip


def test_names_make_no_columns_and_no_tags_of_markdown(tmp_path):
    text = write_table(HOSTILE, "cpu", [r for r in WHOLE if r["row"] != "la"], tmp_path)[1].read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert not re.search(r"<[A-Za-z/!?]", text)
    assert "# T \\| &lt;b>x&lt;/b> [y" in text
    assert "![T \\| &lt;b>x&lt;/b> \\[y](figure.svg)" in text
    assert "Made by `` clp-bench 'a`b.toml' --scale cpu ``." in text
    assert "| R \\| &lt;script>\ufffd\ufffd | " in text
    assert "| method | C\\|&lt;i>: ours | " in text
    assert "- note &lt;img src=x> \\| y\n" in text
    assert "- Cut at this scale, C\\|&lt;i>: cut \\| &lt;u>.\n" in text


def test_the_page_of_hostile_names_has_none_of_their_tags(tmp_path):
    page = write_table(HOSTILE, "cpu", WHOLE[:3], tmp_path)[3].read_text("utf-8")
    assert not re.search(r"<(script|img src=x|i|u|b)>", page)


def test_tables_are_utf_8_wherever_they_are_made(tmp_path, monkeypatch):
    """The page says that it is, and a spread is more than ASCII."""
    monkeypatch.setattr("locale.getencoding", lambda: "ascii", raising=False)
    monkeypatch.setattr("io.text_encoding", lambda encoding, stacklevel=2: encoding or "ascii")
    paths = write_table(dataclasses.replace(TABLE, name="caf\udce9"), "cpu", WHOLE, tmp_path)
    assert all("29.0 ± 1.0" in path.read_bytes().decode("utf-8") for path in (paths[1], paths[3]))
    assert "clp-bench 'caf\ufffd.toml'" in paths[1].read_text("utf-8")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot make .*file/x \(Not a directory\); a part of the path is a file; "):
        write_table(TABLE, "cpu", WHOLE, tmp_path / "file" / "x")


def test_what_the_selection_of_epochs_knew_stands_in_the_notes(tmp_path):
    assert "selection of epochs knew" not in write_table(TABLE, "cpu", WHOLE, tmp_path)[1].read_text()
    same = [r | {"selection_knew": "classes of val"} for r in WHOLE]
    text = write_table(TABLE, "cpu", same, tmp_path)[1].read_text()
    assert "- The selection of epochs knew classes of val, in every row." in text
    knew = {"ce": "classes of val", "la": "groups of val", "clp": "classes of val"}
    mixed = [r | {"selection_knew": knew[r["row"]]} for r in WHOLE]
    page = write_table(TABLE, "cpu", mixed, tmp_path)[3].read_text()
    assert "What the selection of epochs knew: classes of val: CE, CLP; groups of val: L&lt;A&gt;." in page
