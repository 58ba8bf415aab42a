"""Recorded runs get today's names, stale ones stay, and nothing else of a table changes."""

import json

import pytest

from clp_aug.contract.errors import InputError
from experiments.common import rekey

NEW = "erm-seed0-aaaaaaaaaaaa"
OLD, OTHER = "erm-seed0-0123456789ab", "erm-seed0-ba9876543210"
PLACE = ("own", "cpu", "erm", "c10", 0, "common")


def result(run, column="c10"):
    place = {"run": run, "row": "erm", "column": column, "seed": 0, "protocol": "common"}
    return place | {"augment": ["--old"], "train": ["--old"], "seconds": 1.5}


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Return a folder with one table, and plans of an old and a new tree that differ."""
    folder = tmp_path / "results" / "own-cpu"
    folder.mkdir(parents=True)
    whole = {"table": "own", "scale": "cpu", "code": "c", "runs": [result(OLD), result(OTHER, "c20")]}
    (folder / "table.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / "table.md").write_text(f"- {OLD} and {OTHER}é\n", "utf-8")
    plans = {
        tmp_path: {PLACE: rekey.Planned(OLD, ["--old"], ["--old"])},
        rekey.HERE: {PLACE: rekey.Planned(NEW, ["--new"], ["--old"])},
    }
    monkeypatch.setattr(rekey, "planned", lambda tree, asked: plans[tree])
    return folder


def test_what_the_old_tree_plans_is_renamed_and_the_rest_is_stale(tables, tmp_path):
    before = json.loads((tables / "table.json").read_text())
    (count,) = rekey.rekey(tmp_path, tables.parent).values()
    assert count == {rekey.RENAMED: 1, rekey.STALE: 1}
    before["runs"][0] |= {"run": NEW, "train": ["--new"]}
    assert json.loads((tables / "table.json").read_text()) == before
    assert (tables / "table.md").read_text("utf-8") == f"- {NEW} and {OTHER}é\n"
    (again,) = rekey.rekey(tmp_path, tables.parent).values()
    assert again == {rekey.STALE: 2}


def test_a_dry_run_changes_nothing(tables, tmp_path):
    before = {path: path.read_bytes() for path in tables.iterdir()}
    rekey.rekey(tmp_path, tables.parent, dry_run=True)
    assert {path: path.read_bytes() for path in tables.iterdir()} == before


def test_this_tree_can_be_planned_and_another_folder_cannot(tmp_path):
    found = rekey.planned(rekey.HERE, [("fig5", "cpu", [0, 1]), ("of a user", "cpu", [0])])
    assert {place[0] for place in found} == {"fig5"}
    assert {place[4] for place in found} == {0, 1}
    (tmp_path / "clp_train").mkdir()
    (tmp_path / "clp_train" / "__init__.py").touch()
    with pytest.raises(InputError, match="cannot plan"):
        rekey.planned(tmp_path, [("fig5", "cpu", [0])])
