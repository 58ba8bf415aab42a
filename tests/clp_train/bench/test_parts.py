"""What a stored result may hold: each part of its kind and range, and the message where one is not."""

import copy
import json
from pathlib import Path

import pytest

from clp_aug.contract.errors import InputError
from clp_train.bench.parts import PARTS, fault_of
from clp_train.bench.scores import read_results

GOOD = {
    "run": "erm-seed0-ab", "row": "ce", "column": "a", "seed": 0, "protocol": "common", "fingerprint": "f" * 64,
    "augment": ["--dataset", "demo"], "train": [], "epochs": 2, "seconds": 1.5, "cpu_seconds": 0,
    "metrics": {"last": {"test": {"average": 0.5, "worst": None, "per_class": [1, None]}}, "selected": {}},
    "history": [{}, {"raised_right": 0.5, "raised_wrong": None}], "versions": {"torch": "2"},
    "attention": {"inside": None, "area": 0.3, "maps": 12},
}  # fmt: skip
SHARES = "expected shares in [0, 1] by moment, split and name, with those of the last epoch"
AMOUNT = "expected a number in [0, 1,000,000,000,000]"


def with_average(value):
    return {"metrics": {"last": {"test": {"average": value}}}}


BAD = {
    "no seed": ({"seed": -1}, "seed = -1, expected a whole number >= 0"),
    "truth as seed": ({"seed": True}, "seed = True, expected a whole number >= 0"),
    "half a seed": ({"seed": 1.5}, "seed = 1.5, expected a whole number >= 0"),
    "protocol": ({"protocol": "masks"}, "protocol = 'masks', expected common or own"),
    "protocols": ({"protocol": ["own"]}, "protocol = ['own'], expected common or own"),
    "row": ({"row": ["x"]}, "row = ['x'], expected text"),
    "words": ({"train": ["--lr", 1]}, "train = ['--lr', 1], expected a list of texts"),
    "time": ({"cpu_seconds": "1"}, f"cpu_seconds = '1', {AMOUNT}"),
    "no time": ({"cpu_seconds": float("nan")}, f"cpu_seconds = nan, {AMOUNT}"),
    "no end": ({"seconds": float("inf")}, f"seconds = inf, {AMOUNT}"),
    "more than a float": ({"seconds": 10**400}, f"seconds = 1{'0' * 17}...{'0' * 19}, {AMOUNT}"),
    "epochs": ({"epochs": 10**30}, f"epochs = 1{'0' * 30}, expected a whole number in [0, 1,000,000,000,000]"),
    "list": (with_average([0.5]), f"metrics = {{'last': {{'test': {{'average': [0.5]}}}}}}, {SHARES}"),
    "number for a list": ({"metrics": {"last": {"test": {"per_class": 0.5}}}}, SHARES),
    "huge": (with_average(1e308), SHARES),
    "below": (with_average(-0.1), SHARES),
    "nan": (with_average(float("nan")), SHARES),
    "truth": (with_average(True), SHARES),
    "other moment": ({"metrics": {"last": {}, "selected": 3}}, SHARES),
    "no last": ({"metrics": {"selected": {}}}, SHARES),
    "curve": ({"history": [{"raised_right": 2}]}, "expected a list of shares in [0, 1] by name"),
    "look": ({"attention": {"inside": 0.5}}, "expected null, or shares in [0, 1] with inside and area"),
    "no area": ({"attention": {"inside": 0.5, "area": None}}, "expected null, or shares in [0, 1] with inside and a"),
    "versions": ({"versions": {}}, "versions = {}, expected an object that names torch"),
}


def fault_in(change):
    return fault_of(json.loads(json.dumps(copy.deepcopy(GOOD) | change)))


@pytest.mark.parametrize("what", BAD)
def test_a_part_that_is_not_what_it_must_be_is_named(what):
    change, message = BAD[what]
    assert message in fault_in(change)
    assert fault_in(change).startswith(next(iter(change)))


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_needed(part):
    assert fault_of({name: value for name, value in GOOD.items() if name != part}).startswith(f"{part} is missing, exp")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"seed": 10**23},
        {"protocol": "own"},
        {"attention": None},
        with_average(1 + 1e-12),
        {"history": []},
        {"more": [float("nan")]},
    ],
)
def test_what_a_run_may_give(change):
    assert fault_in(change) == ""


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_object(value):
    assert fault_of(value) == f"{value!r}, expected an object"


def test_a_long_value_is_cut(tmp_path):
    (tmp_path / "table.json").write_text(json.dumps({"runs": [GOOD, GOOD | {"row": ["x" * 5000] * 100}]}))
    with pytest.raises(
        InputError, match=r"table of results \(runs\[1\]: row = \['xxx.*, expected text\); rem"
    ) as error:
        read_results(tmp_path / "table.json")
    assert len(str(error.value)) < len(str(tmp_path)) + 400


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[3] / "results").glob("*/table.json")), ids=str)
def test_recorded_tables_are_read(path):
    assert read_results(path)


def test_what_selection_knew_may_be_missing_and_is_text():
    assert fault_of(GOOD) == fault_of(GOOD | {"selection_knew": "groups of val"}) == ""
    assert fault_of(GOOD | {"selection_knew": 3}) == "selection_knew = 3, expected text"
