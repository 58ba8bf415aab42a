"""The version stands in one place; the installed package, CITATION.cff and CHANGELOG.md agree with it."""

import importlib.metadata
import re

import pytest

import clp_aug
from clp_aug.contract import schema
from tests.release.declared import ROOT, declared

NAME = "causal-logit-perturbation"


def test_setup_takes_the_version_from_the_package():
    metadata = declared()["metadata"]
    assert metadata["name"] == NAME
    assert metadata["version"] == "attr: clp_aug.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+(rc\d+)?", clp_aug.__version__)


def test_the_installed_package_has_it():
    installed = importlib.metadata.version(NAME)
    assert installed == clp_aug.__version__, "install the package again: make, or pip install -e ."


def test_shards_store_it():
    """So another version gives other bytes of every shard."""
    assert "tool_version" in schema.TEXT_ATTRIBUTES


def test_the_citation_has_it():
    yaml = pytest.importorskip("yaml", reason="the extra [dev] is not installed")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == clp_aug.__version__
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == declared()["metadata"]["license"] == "MIT"
    assert [author["name"] for author in citation["authors"]] == [declared()["metadata"]["author"]]
    assert citation["keywords"] == declared()["metadata"]["keywords"].split(", ")
    assert {"type", "title", "authors"} <= citation["preferred-citation"].keys()


def test_the_newest_entry_of_the_changelog_has_it():
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    versions = [version for version, _ in headings]
    assert versions[0] == "Unreleased"
    assert versions[1] == clp_aug.__version__
    assert len(set(versions)) == len(versions)
    assert all(re.fullmatch(r" - (\d{4}-\d{2}-\d{2}|not published yet)", when) for _, when in headings[1:])


def test_the_sections_of_the_changelog_are_those_of_its_form():
    sections = set(re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
