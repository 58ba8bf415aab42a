"""Runs that are compared: which are refused, which stand together, what they are called, what differs in them."""

import json
from itertools import combinations

import numpy as np
import pytest

from clp_aug.contract.errors import InputError, UsageError
from clp_train.report.compare_parts import different_settings, headline, measures
from clp_train.report.compare_runs import read_runs, settings_of, variants_of
from tests.clp_train.report.compared_runs import LABEL, made_result, three_runs, write_run

ROUNDS = 30


@pytest.fixture
def three(tmp_path):
    """Two runs of erm and one of clp, read."""
    return three_runs(tmp_path)


def test_runs_that_differ_in_seeds_alone_stand_together(three):
    assert [(v.name, v.runs) for v in three.variants] == [("erm", (1, 0)), ("clp", (2,))]
    assert [run.name for run in three.runs] == ["erm, seed 1", "erm, seed 0", "clp"]
    assert [three.variant_of(i) for i in range(3)] == [0, 0, 1]
    rows = headline(three)
    assert [row.name for row in rows] == ["erm, 2 runs", "erm, seed 0", "erm, seed 1", "clp"]
    assert [row.nested for row in rows] == [False, True, True, False]
    assert rows[0].texts == ("66.7 ± 0.0 %", "16.7 ± 23.6 %", "66.7 ± 0.0 %")
    assert (rows[0].seed, rows[0].epoch, rows[0].seconds) == ("0, 1", "2, 2", "10 s")
    assert rows[3].texts == ("83.3 %", "66.7 %", "83.3 %")
    assert [each.title for each in measures(three.first)] == ["average", "worst group", "weighted average"]


def test_variants_are_as_pair_by_pair():
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS):
        results = [
            made_result(LABEL, method=str(rng.choice(["erm", "clp"])), seed=int(rng.integers(3)),
                        config={"lr": float(rng.choice([0.1, 0.2])), "out": str(i), 
                                "options": {"gamma": int(rng.integers(2))}},
                        shard={"cf": [str(rng.choice(["tile", "grey"]))], "seed": i})
            for i in range(7)
        ]  # fmt: skip

        def key(result):
            config = result["config"]
            return config["method"], config["lr"], config["options"]["gamma"], result["shard_settings"]["cf"]

        variants = variants_of(results)
        assert sorted(i for v in variants for i in v.runs) == list(range(7))
        of_run = {i: v.name for v in variants for i in v.runs}
        for i, j in combinations(range(7), 2):
            assert (of_run[i] == of_run[j]) == (key(results[i]) == key(results[j]))
        assert len({v.name for v in variants}) == len(variants)
        for v in variants:
            seeds = [results[i]["config"]["seed"] for i in v.runs]
            assert seeds == sorted(seeds)


def test_variants_of_one_method_are_named_by_what_differs(tmp_path):
    write_run(tmp_path / "x" / "r", LABEL, config={"lr": 0.1, "device": "cpu"})
    write_run(tmp_path / "y" / "r", LABEL, config={"lr": 0.5, "device": "cuda"})
    write_run(tmp_path / "z", LABEL, config={"lr": 0.5}, shard={"cf": ["grey", "tile"]})
    runs = read_runs([tmp_path / "x" / "r", tmp_path / "y" / "r", tmp_path / "z"])
    assert [v.name for v in runs.variants] == [
        "erm (lr 0.1, cf tile)",
        "erm (lr 0.5, cf tile)",
        "erm (lr 0.5, cf grey, tile)",
    ]
    write_run(tmp_path / "w", LABEL, config={"lr": 0.1})
    again = read_runs([tmp_path / "x" / "r", tmp_path / "w"])
    assert [v.name for v in again.variants] == ["erm"]
    assert [run.name for run in again.runs] == ["erm, seed 0, r", "erm, seed 0, w"]


def test_settings_that_differ_are_shown_and_no_others(three):
    assert different_settings(three) == [("method", ["erm", "clp"]), ("lr", ["0.1", "0.2"])]
    assert "seed" not in settings_of(three.first)
    assert "out" not in settings_of(three.first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "pets"}, "data set pets, there birds"),
        ({"fingerprint": "f" * 64}, r"fingerprint f{57}\.\.\., there 0123456789abcdef\w+\.\.\."),
        ({"class_names": ["b", "a"]}, "classes b, a, there land & sea, <script>"),
        ({"group_names": ["g", "h", "i", "j"]}, "groups g, h, i, j, there land on land"),
    ],
)
def test_runs_of_other_data_are_refused(tmp_path, change, message):
    write_run(tmp_path / "a", LABEL)
    write_run(tmp_path / "b", LABEL, **change)
    expected = (
        rf"^{tmp_path}/b: its data differ from those of {tmp_path}/a: {message}.*; compare runs of the same data$"
    )
    with pytest.raises(InputError, match=expected):
        read_runs([tmp_path / "a", tmp_path / "b"])


def test_runs_measured_on_other_splits_or_pictures_are_refused(tmp_path):
    write_run(tmp_path / "a", LABEL)
    changes = {
        "split": lambda metrics: {"val": metrics["val"]},
        "count": lambda metrics: {"test": metrics["test"] | {"class_counts": [6, 5]}},
    }
    for name, change in changes.items():
        result = made_result(LABEL)
        for moment in ("last", "selected"):
            result[moment]["metrics"] = change(result[moment]["metrics"])
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"split: its data .*: splits val, there test; compare runs"):
        read_runs([tmp_path / "a", tmp_path / "split"])
    with pytest.raises(InputError, match=r": pictures of each class in test 6, 5, there 6, 6; compare runs"):
        read_runs([tmp_path / "a", tmp_path / "count"])


def test_what_is_no_pair_of_finished_runs_is_one_line(tmp_path):
    a, b = write_run(tmp_path / "a", LABEL), tmp_path / "b"
    b.mkdir()
    (tmp_path / "file").write_text("")
    cases = [
        ([a], UsageError, r"^expected at least two runs, given 1; name the folders that clp-train wrote$"),
        ([a, a], UsageError, r"/a: this run is given twice; name each folder once$"),
        ([a, b / ".." / "a"], UsageError, r"/b/../a: this run is given twice; name each folder once$"),
        ([a, tmp_path / "none"], InputError, r"/none: no such folder; give the folder of a finished run of clp-train$"),
        ([a, tmp_path / "file"], InputError, r"/file: it is a file; give the folder of a finished run of clp-train$"),
        ([a, b], InputError, r"/b: no result.json, so no finished run; train with clp-train --out .*/b$"),
    ]
    for folders, kind, message in cases:
        with pytest.raises(kind, match=message):
            read_runs(folders)
    (b / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"/b: an unfinished run; continue it with the command of that run and"):
        read_runs([a, b])
    (b / "result.json").write_text(json.dumps(made_result(LABEL) | {"shard_settings": []}))
    with pytest.raises(InputError, match=r"b/result.json: not a result of clp-train \(.*\); train again$"):
        read_runs([a, b])
