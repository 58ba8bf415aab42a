"""Figures of cells: means, spreads, ranks, tests; every one against a slow form."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from clp_aug.contract.errors import InputError
from clp_train.bench.scores import Cost, best_other, cells, check_splits, costs, figure, holm
from clp_train.bench.spec import MEASURES, Column, Row, Table
from clp_train.bench.write import cell_text
from tests.clp_train.bench.tiny_tables import RESULTS, result

COLUMNS = {"a": Column("A", "error"), "b": Column("B", "worst", shared="a")}
ROWS = {"ce": Row("CE", "erm"), "la": Row("LA", "logit-adjust", quoted={"a": 20.0}), "clp": Row("CLP", "clp")}
TABLE = Table("t", "T", COLUMNS, ROWS)


def test_cells_by_hand():
    found = cells(TABLE, RESULTS, "last")
    assert found["ce"]["a"].mean == pytest.approx(29)
    assert found["ce"]["a"].sd == pytest.approx(1)
    assert found["la"]["a"].quoted == 20
    assert found["la"]["b"].quoted is None
    assert [found[row]["a"].rank for row in ROWS] == [3, 2, 1]
    assert [found[row]["b"].rank for row in ROWS] == [3, 1, 1]
    assert found["clp"]["a"].own == {0: pytest.approx(5)}
    assert cells(TABLE, RESULTS[:1], "last")["ce"]["a"].sd is None
    assert cells(TABLE, [], "last")["ce"]["a"].mean is None


def test_selected_is_the_last_epoch_where_nothing_was_selected():
    chosen = cells(TABLE, [result("ce", 0, 0.7, selected=0.75), result("la", 0, 0.6)], "selected")
    assert chosen["ce"]["a"].mean == pytest.approx(25)
    assert chosen["la"]["a"].mean == pytest.approx(40)
    assert cells(TABLE, RESULTS, "best_on_test")["ce"]["a"].mean is None


def test_the_best_other_is_tested_in_pairs():
    found = cells(TABLE, RESULTS, "last")
    assert best_other(TABLE, found, "a") == "la"
    gaps = np.array([0.87 - 0.80, 0.90 - 0.82, 0.91 - 0.84])
    t = gaps.mean() / (gaps.std(ddof=1) / np.sqrt(3))
    assert found["clp"]["a"].p == pytest.approx(2 * stats.t.sf(abs(t), 2))
    assert found["clp"]["b"].p is None, "all gaps alike: no spread to test against"
    assert found["la"]["a"].p is None
    assert found["la"]["a"].better is None


@pytest.mark.parametrize("measure", ["error", "accuracy"])
@pytest.mark.parametrize(("gain", "mark"), [(0.05, "*"), (-0.05, "†")])
def test_a_mark_says_which_is_better(measure, gain, mark):
    """The gap is nearly the same in every seed, so it is told apart; accuracies go up with it, errors down."""
    table = replace(TABLE, columns={"a": replace(TABLE.columns["a"], measure=measure)})
    results = [result("la", seed, 0.6 + 0.01 * seed) for seed in range(3)]
    results += [result("clp", seed, 0.6 + gain + 0.0101 * seed) for seed in range(3)]
    cell = cells(table, results, "last")["clp"]["a"]
    assert cell.p < 0.05
    assert cell.better == (gain > 0)
    assert cell_text(cell).endswith(mark)
    assert not cell_text(replace(cell, p=0.06)).endswith(mark)


def test_no_other_no_test():
    alone = cells(TABLE, [r for r in RESULTS if r["row"] == "clp"], "last")
    assert alone["clp"]["a"].p is None
    assert alone["clp"]["a"].rank == 1


@pytest.mark.parametrize("seed", range(20))
def test_holm_rejects_as_the_step_down_procedure_does(seed):
    rng = np.random.default_rng(seed)
    values = rng.choice([0.001, 0.01, 0.02, 0.04, 0.2, 0.7], 5)
    corrected = holm(values)
    for level in (0.01, 0.05, 0.1):
        rejected = set()
        for place, i in enumerate(np.argsort(values, kind="stable")):
            if values[i] > level / (len(values) - place):
                break
            rejected.add(i)
        assert {i for i, p in enumerate(corrected) if p <= level + 1e-12} == rejected
    assert all(c >= v for c, v in zip(corrected, values, strict=True))
    for (i, a), (j, b) in itertools.combinations(enumerate(values), 2):
        assert a == b or (corrected[i] <= corrected[j]) == (a <= b) or corrected[i] == corrected[j]


def test_costs_are_of_the_same_seed_and_column():
    assert costs(TABLE, RESULTS) == {"": {"ce": Cost(2.0, 1.0), "la": Cost(4.0, 2.0), "clp": Cost(11.0, 5.5)}}
    assert costs(TABLE, RESULTS[3:6]) == {"": {"la": Cost(4.0, None)}}


def test_a_run_that_took_no_measured_time_is_nothing_to_compare_with():
    none = [r | {"cpu_seconds": 0.0} if r["row"] == "ce" else r for r in RESULTS]
    assert costs(TABLE, none)[""] == {"ce": Cost(0.0, None), "la": Cost(4.0, None), "clp": Cost(11.0, None)}
    assert costs(TABLE, none[1:] + RESULTS[:1])[""]["la"] == Cost(4.0, 2.0), "the other seeds still are"


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("metrics", [{}, {"average": None, "worst": None}])
def test_a_run_without_a_figure_has_none(measure, metrics):
    bare = RESULTS[0] | {"metrics": {"last": {"test": metrics}}}
    assert figure(bare, measure, "test", "last") is None


def test_costs_of_two_presets_are_not_mixed():
    slow = [
        r | {"column": "c", "cpu_seconds": 10 * r["cpu_seconds"], "train": ["--preset", "whole", "--seed", "0"]}
        for r in RESULTS[:6]
    ]
    table = replace(TABLE, columns=TABLE.columns | {"c": Column("C", "worst")})
    found = costs(table, slow + RESULTS)
    assert list(found) == ["", "whole"], "in the order of the columns"
    assert found[""] == costs(TABLE, RESULTS)[""]
    assert found["whole"] == {"ce": Cost(20.0, 1.0), "la": Cost(40.0, 2.0)}


def test_a_split_that_no_run_has_is_named():
    check_splits(TABLE, RESULTS)
    wrong = replace(TABLE, columns={"a": Column("A", split="tests"), "c": Column("C", split="never run")})
    with pytest.raises(InputError, match=r"^column a: no run was measured on split 'tests'; take one of test$"):
        check_splits(wrong, RESULTS)
