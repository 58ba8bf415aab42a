"""Which results of a finished table count again: those of the same training for the same row and column."""

import json
from pathlib import Path

import pytest

from clp_aug.contract.errors import InputError, UsageError
from clp_train.bench.jobs import plan
from clp_train.bench.known import (
    check_kept,
    check_one_data,
    check_one_length,
    known_results,
    shared_results,
    still_to_do,
)
from clp_train.bench.spec import Column, Row, Scale, Table

CPU = Scale(("--dataset", "demo"), ("--epochs", "2"))


def table(**rows):
    return Table("t", "T", {"a": Column("A", cpu=CPU)}, rows)


def results_of(runs):
    rest = {"protocol": "common", "fingerprint": "0" * 64, "augment": [], "train": [], "history": [], "attention": None}
    rest |= {
        "metrics": {"last": {"test": {"average": 0.5}}},
        "versions": {"torch": "2"},
        "seconds": 1,
        "cpu_seconds": 1,
    }
    rest["epochs"] = 2
    return [{"run": run.folder.name, "row": run.row, "column": run.column, "seed": run.seed, **rest} for run in runs]


def test_the_same_training_of_another_row_is_still_to_be_collected(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"runs": results_of(plan(table(x=Row("X", "clp")), "cpu", [0], Path()))}))
    two = table(x=Row("X", "clp"), y=Row("Y", "clp"))
    known = known_results(two, "cpu", path)
    assert [result["row"] for result in known] == ["x"]
    assert [run.row for run in still_to_do(plan(two, "cpu", [0], Path()), known)] == ["y"]
    assert known_results(table(y=Row("Y", "clp")), "cpu", path) == [], "a row that is no more"


@pytest.mark.parametrize("part", [{"protocol": "own"}, {"seed": 1}, {"row": "y"}, {"column": "b"}, {"run": "other"}])
def test_a_result_of_what_the_table_does_not_ask_for_does_not_count(tmp_path, part):
    """Its label is of another run than its content: it would stand in a cell that it is not of, or in none."""
    one = table(x=Row("X", "clp"))
    (result,) = results_of(plan(one, "cpu", [0], Path()))
    folder = tmp_path / "other-cpu"
    folder.mkdir()
    (folder / "table.json").write_text(json.dumps({"runs": [result | part]}))
    assert known_results(one, "cpu", folder / "table.json") == []
    again = shared_results(plan(one, "cpu", [0], Path()), [], "cpu", tmp_path)
    assert again == ([] if part.keys() & {"seed", "run"} else [result]), "but as what the table asks for"


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
    with pytest.raises(
        InputError, match=r"table.json: not a table of results \(.*\); remove it, or give another --out"
    ) as error:
        known_results(table(x=Row("X", "clp")), "cpu", path)
    assert "\n" not in str(error.value)


BROKEN = {
    "deep": lambda content, run: "[" * 100_000,
    "half a byte": lambda content, run: b"\xff",
    "seed": lambda content, run: run.update(seed="0"),
    "row": lambda content, run: run.update(row=["x"]),
    "no metrics": lambda content, run: run.pop("metrics"),
    "no last": lambda content, run: run["metrics"].pop("last"),
    "moment": lambda content, run: run["metrics"].update(selected=3),
    "split": lambda content, run: run["metrics"]["last"].update(test=[0.5]),
    "figure": lambda content, run: run["metrics"]["last"]["test"].update(average="x"),
    "history": lambda content, run: run.update(history=[1]),
    "attention": lambda content, run: run.update(attention={"inside": 1}),
    "classes": lambda content, run: run["metrics"]["last"]["test"].update(per_class=[0.5, "x"]),
    "words": lambda content, run: run.update(train=[{}]),
    "curve": lambda content, run: run.update(history=[{"right": "x"}]),
    "attention as text": lambda content, run: run.update(attention={"inside": "x", "area": 1}),
    "versions": lambda content, run: run.update(versions={}),
    "run": lambda content, run: content.update(runs=[run, None]),
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_table_whose_parts_are_of_another_kind(tmp_path, damage):
    one = table(x=Row("X", "clp"))
    path = tmp_path / "table.json"
    content = {"runs": results_of(plan(one, "cpu", [0], Path()))}
    text = damage(content, content["runs"][0])
    text = text if isinstance(text, (str, bytes)) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(
        InputError,
        match=r"table.json: not a table of results \(.*expected .*\); remove it, or give another --out$",
    ):
        known_results(one, "cpu", path)


def test_a_table_that_cannot_be_read(tmp_path):
    (tmp_path / "table.json").mkdir()
    with pytest.raises(
        InputError, match=r"^cannot read .*/table.json \(Is a directory\); a folder has this name; choose"
    ):
        known_results(table(x=Row("X", "clp")), "cpu", tmp_path / "table.json")


def test_a_table_is_not_replaced_by_a_smaller_one(tmp_path):
    path = tmp_path / "table.json"
    two = table(x=Row("X", "clp"), y=Row("Y", "erm"))
    check_kept(two, path, set())
    path.write_text(json.dumps({"runs": results_of(plan(two, "cpu", [0, 1], Path()))}))
    whole = {(row, "a", seed, "common") for row in "xy" for seed in (0, 1)}
    check_kept(two, path, whole | {("x", "a", 2, "common")})
    check_kept(table(x=Row("X", "clp")), path, whole - {("y", "a", 0, "common"), ("y", "a", 1, "common")})
    with pytest.raises(UsageError, match=r"holds 1 runs that the new table would lose, such as y, a, seed 1: give"):
        check_kept(two, path, whole - {("y", "a", 1, "common")})


def test_runs_on_different_data_are_not_one_column():
    one, other = (dict.fromkeys(("run",), f"r{k}") | {"column": "a", "fingerprint": f"{k}" * 20} for k in (1, 2))
    check_one_data([one, one, other | {"column": "b"}])
    with pytest.raises(InputError, match=r"^column a: its runs used different data, such as r1 \(data 1{12}\), r2 "):
        check_one_data([other, one])


def of_lengths(run, epochs, classes, **more):
    place = {"run": run, "column": "a", "row": "x", "protocol": "common"}
    last = {"test": {"per_class": [0.5] * classes}, "val": {"average": 0.5}}
    return {**place, "history": [{}] * epochs, "metrics": {"last": last}, **more}


def test_runs_of_other_lengths_have_no_mean():
    one = of_lengths("r1", 2, 3)
    check_one_length([one, one, of_lengths("r2", 5, 3, row="y"), of_lengths("r3", 2, 4, column="b")])
    check_one_length([one, of_lengths("r2", 5, 3, protocol="own")])
    with pytest.raises(
        InputError,
        match=r"^column a, row x, common protocol: its runs differ in epochs, such as r1 \(2\), r2 \(5\); remove",
    ):
        check_one_length([of_lengths("r2", 5, 3), one])
    with pytest.raises(
        InputError,
        match=r"^column a: its runs differ in classes on split test, such as r1 \(3\), r2 \(4\); remove the fo",
    ):
        check_one_length([one, of_lengths("r2", 5, 4, row="y")])
