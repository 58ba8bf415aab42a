"""Which runs a table needs: each once, named by all that decides its result."""

from pathlib import Path

import pytest

from clp_aug.contract.errors import UsageError
from clp_train.bench import jobs
from clp_train.bench.jobs import COMMON, OWN, jobs_of, plan
from clp_train.bench.spec import Column, Row, Scale, Table
from tests.clp_train.bench.tiny_tables import table

WORK = Path("work")


def test_runs_seed_by_seed_and_shared_columns_once():
    runs = plan(table(), "cpu", [0, 3], WORK, columns=["a", "b"])
    assert [(r.row, r.column, r.seed, r.protocol) for r in runs] == [
        (row, "a", seed, protocol)
        for seed in (0, 3)
        for row, protocol in (("ce", COMMON), ("clp", COMMON), ("clp", OWN))
    ]
    assert len({r.folder for r in runs}) == 6
    assert len({r.shard.path for r in runs}) == 2
    assert [job.row for job in jobs_of(runs)] == 2 * ["shards", "ce", "clp", "clp"]


def test_arguments_in_the_order_in_which_later_ones_win():
    run = plan(table(), "cpu", [7], WORK, rows=["clp"], columns=["a"])[1]
    assert run.arguments == ("--method", "clp", "--epochs", "2", "--lr", "1", "--seed", "7")
    assert run.shard.arguments == (
        "--dataset", "demo", "--cf", "tile", "--f", "random", "--ratio", "2", "--seed", "7"
    )  # fmt: skip
    assert run.folder.name.startswith("clp-seed7-")


def test_rows_columns_and_tables_that_ask_for_the_same_training_share_it():
    cpu, rows = Scale(("--dataset", "demo"), ("--epochs", "2")), {"x": Row("X", "clp"), "y": Row("Y", "clp")}
    here = plan(table(), "cpu", [0], WORK, rows=["clp"], columns=["a"])[:1]
    there = plan(Table("u", "U", {"d": Column("D", cpu=cpu)}, rows), "cpu", [0], WORK)
    assert len({run.folder for run in here + there}) == 1
    assert [job.row for job in jobs_of(here + there)] == ["shards", "clp"]
    assert [(run.row, run.column) for run in there] == [("x", "d"), ("y", "d")]


def test_rows_of_other_fills_have_other_shards_and_none_is_left_out():
    rows = {"g": Row("G", "clp", cf="grey", f=""), "s": Row("S", "clp", cf="", f="shuffle"), "m": Row("M", "meta-lp")}
    runs = plan(table(**rows), "cpu", [0], WORK, columns=["a"])
    assert len({run.shard.path for run in runs}) == 3
    assert "--f" not in runs[0].shard.arguments
    assert "--cf" not in runs[1].shard.arguments


def test_other_code_is_another_run(monkeypatch):
    before = plan(table(), "cpu", [0], WORK, columns=["a"])
    monkeypatch.setattr(jobs, "run_version", lambda method, arguments: "another")
    monkeypatch.setattr(jobs, "shard_version", lambda: "another")
    after = plan(table(), "cpu", [0], WORK, columns=["a"])
    assert not {run.folder for run in before} & {run.folder for run in after}
    assert not {run.shard.path for run in before} & {run.shard.path for run in after}


def test_columns_that_the_scale_lacks_are_left_out_unless_asked_for():
    assert table().at("cpu") == ["a", "b"]
    assert plan(table(), "cpu", [0], WORK) == plan(table(), "cpu", [0], WORK, columns=["a", "b"])


def test_a_row_is_left_out_of_columns_that_it_cannot_do():
    rows = {"ce": Row("CE", "erm"), "cnc": Row("CnC", "cnc", without=("a",))}
    assert [run.row for run in plan(table(**rows), "cpu", [0], WORK, columns=["b"])] == ["ce"]


def test_unknown_names_and_scales():
    with pytest.raises(UsageError, match="unknown scale 'gpu': choose one of cpu, paper"):
        plan(table(), "gpu", [0], WORK)
    with pytest.raises(UsageError, match="unknown row 'x': choose one of ce, clp"):
        plan(table(), "cpu", [0], WORK, rows=["x"])
    with pytest.raises(UsageError, match="unknown column 'x': choose one of a, b, c"):
        plan(table(), "cpu", [0], WORK, columns=["x"])
    with pytest.raises(UsageError, match="column c has no settings of scale cpu; leave it out with --columns"):
        plan(table(), "cpu", [0], WORK, columns=["c"])
