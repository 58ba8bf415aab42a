"""The machine-readable list of shipped weights is complete, and says what their model cards say."""

import hashlib
import json
import re
from importlib import resources

import pytest

from clp_aug.nets.shipped import FOLDER, SHIPPED
from tests.release.declared import ROOT

LISTED = json.loads((ROOT / "assets" / "licences.json").read_text("utf-8"))
KEYS = {"name", "file", "sha256", "licence", "model_card", "used_by", "own_weights", "trained_on"}


def test_every_file_of_weights_is_listed():
    files = {path.name for path in (ROOT / "assets").iterdir() if path.suffix not in (".md", ".json", ".py", ".typed")}
    assert {entry["file"] for entry in LISTED["weights"]} == files - {"__pycache__"}
    assert {entry["name"] for entry in LISTED["weights"]} == set(SHIPPED)


def test_it_is_where_the_package_looks_for_weights():
    assert json.loads((resources.files(FOLDER) / "licences.json").read_text("utf-8")) == LISTED


@pytest.mark.parametrize("entry", LISTED["weights"], ids=lambda entry: entry["name"])
def test_an_entry_says_what_is_so(entry):
    assert entry.keys() == KEYS
    assert entry["sha256"] == hashlib.sha256((ROOT / "assets" / entry["file"]).read_bytes()).hexdigest()
    assert entry["sha256"] == SHIPPED[entry["name"]].sha256
    assert (ROOT / "assets" / entry["model_card"]).is_file()
    assert "MIT" in entry["licence"]
    references = set(re.findall(r"LicenseRef-[\w.-]+", entry["licence"]))
    assert all(f"{reference}:" in LISTED["about"] for reference in references)


@pytest.mark.parametrize("entry", LISTED["weights"], ids=lambda entry: entry["name"])
def test_its_data_and_terms_are_those_of_the_model_card(entry):
    card = (ROOT / "assets" / entry["model_card"]).read_text("utf-8")
    table = card.partition("## Data and terms\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    assert [[row["data"], row["used_as"], row["terms"]] for row in entry["trained_on"]] == rows[2:]
    assert f"`{entry['sha256']}`" in card
    assert f"`{entry['own_weights']}`" in card
