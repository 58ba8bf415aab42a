"""Every method has an oracle somewhere, a source, a family; needs and costs are of the known kinds."""

import importlib
from pathlib import Path

import pytest

from clp_train.methods import METHODS, module_of, options_of
from tests.clp_train.test_objective import ROWS

HERE = Path(__file__).parent


def oracles():
    """Names that the files beside this one say they check against an independent oracle."""
    found = set(ROWS)
    for path in HERE.glob("test_*.py"):
        if path.name != Path(__file__).name:
            module = importlib.import_module(f"tests.clp_train.methods.{path.stem}")
            found |= set(module.ORACLES)
    return found


def test_every_method_has_an_oracle():
    assert oracles() == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_entries_are_complete(name):
    entry = METHODS[name]
    assert entry.source
    assert entry.family
    assert set(entry.needs) <= {"meta", "groups", "stages", "noise"}
    assert float(entry.cost) >= 0
    assert callable(module_of(name).build)
    options_of(name)()  # the defaults are valid
