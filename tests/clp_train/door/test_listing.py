"""clp-train --list-methods, the page of the docs and the README name what is registered."""

import dataclasses
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from clp_train import cli
from clp_train.methods import METHODS
from clp_train.methods.listing import COLUMNS, NEEDS, by_family, methods_table, row

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_of_the_docs_is_the_table():
    page = (ROOT / "docs" / "reference" / "methods.md").read_text()
    assert page == methods_table(markdown=True) + "\n", "run: make docs"


def test_the_readme_names_methods_that_there_are_and_the_page_with_all_of_them():
    text = (ROOT / "README.md").read_text()
    named = {name for names in re.findall(r"--methods? ([a-z0-9,-]+)", text) for name in names.split(",")}
    assert {"erm", "clp"} < named <= set(METHODS)
    assert f"[{len(METHODS)} methods](docs/reference/methods.md)" in text


def test_a_line_a_method_with_its_needs_and_cost():
    lines = CliRunner().invoke(cli.train, ["--list-methods"]).stdout.splitlines()
    assert re.split(r" {2,}", lines[0]) == list(COLUMNS)
    assert len(lines) == 1 + len(METHODS)
    cells = {parts[0]: parts for parts in (re.split(r" {2,}", line) for line in lines[1:])}
    assert set(cells) == set(METHODS)
    for name, entry in METHODS.items():
        words = {"meta": "meta set", "groups": "group labels", "stages": "stages", "noise": "noise rate"}
        needs = ", ".join(words[need] for need in entry.needs)
        assert cells[name] == [name, entry.source, entry.family, needs or "-", entry.cost]


def test_every_need_has_words():
    assert {need for entry in METHODS.values() for need in entry.needs} <= set(NEEDS)
    assert not any("|" in cell for name in METHODS for cell in row(name, METHODS[name])), "it would break the page"


def test_families_stay_together_whatever_the_order_of_the_registry(monkeypatch):
    names = by_family()
    assert sorted(names) == sorted(METHODS)
    assert names[0] == "erm"
    families = [METHODS[name].family for name in names]
    starts = [f for i, f in enumerate(families) if i == 0 or families[i - 1] != f]
    assert len(starts) == len(set(families))
    assert starts[1:] == sorted(starts[1:])
    monkeypatch.setattr("clp_train.methods.listing.METHODS", dict(reversed(METHODS.items())))
    assert by_family() == names


@pytest.mark.parametrize("arguments", [["--list-methods"], ["--list-methods", "--markdown"]])
def test_it_trains_nothing_and_ends_well(arguments, monkeypatch):
    monkeypatch.setattr(cli, "run", lambda *_: pytest.fail("a run"))
    done = CliRunner().invoke(cli.train, arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == methods_table("--markdown" in arguments) + "\n"


def test_names_of_methods_make_no_columns_and_no_tags(monkeypatch):
    monkeypatch.setitem(METHODS, "mine", dataclasses.replace(METHODS["erm"], source="a|b <b>"))
    line = next(line for line in methods_table(markdown=True).splitlines() if "`mine`" in line)
    assert line.startswith("| `mine` | a\\|b &lt;b> | ")
