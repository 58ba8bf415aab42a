"""Which results of a finished table count again: those of the same training for the same row and column."""

import json
from pathlib import Path

import pytest

from clp_aug.contract.errors import InputError
from clp_train.bench.jobs import plan
from clp_train.bench.known import known_results, shared_results, still_to_do
from clp_train.bench.spec import Column, Row, Scale, Table

CPU = Scale(("--dataset", "demo"), ("--epochs", "2"))


def table(**rows):
    return Table("t", "T", {"a": Column("A", cpu=CPU)}, rows)


def results_of(runs):
    return [{"run": run.folder.name, "row": run.row, "column": run.column, "seed": run.seed} for run in runs]


def test_the_same_training_of_another_row_is_still_to_be_collected(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"runs": results_of(plan(table(x=Row("X", "clp")), "cpu", [0], Path()))}))
    two = table(x=Row("X", "clp"), y=Row("Y", "clp"))
    known = known_results(two, "cpu", path)
    assert [result["row"] for result in known] == ["x"]
    assert [run.row for run in still_to_do(plan(two, "cpu", [0], Path()), known)] == ["y"]
    assert known_results(table(y=Row("Y", "clp")), "cpu", path) == [], "a row that is no more"


def test_the_same_training_in_another_table_is_not_done_again(tmp_path):
    runs = plan(table(y=Row("Y", "clp"), z=Row("Z", "erm")), "cpu", [0], Path())
    folder = tmp_path / "other-cpu"
    folder.mkdir()
    (folder / "table.json").write_text(
        json.dumps({"runs": results_of(plan(table(x=Row("X", "clp")), "cpu", [0], Path()))})
    )
    shared = shared_results(runs, [], "cpu", tmp_path)
    assert [(result["row"], result["column"], result["protocol"]) for result in shared] == [("y", "a", "common")]
    assert [run.row for run in still_to_do(runs, shared)] == ["z"]
    assert shared_results(runs, shared, "cpu", tmp_path) == [], "what is known already"
    assert shared_results(runs, [], "paper", tmp_path) == [], "tables of another scale"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"runs": 3}', '{"runs": [{}]}'])
def test_a_file_that_is_no_table(tmp_path, text):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"table.json: no table of results; remove it, or give another --out") as error:
        known_results(table(x=Row("X", "clp")), "cpu", path)
    assert "\n" not in str(error.value)
