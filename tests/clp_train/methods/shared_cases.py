"""What tests of methods share: what is refused and how it is said, softmax by hand, which methods have an oracle."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
import torch

from clp_aug.contract.errors import SettingError
from tests.clp_train.builders import config_of, method_of, table_of

TESTS = Path(__file__).parents[1]
FIRST_TERMS = "algorithm/test_objective.py"


def assert_refused(name, message, **options):
    """A method's own settings are refused with such a message."""
    with pytest.raises(SettingError) as error:
        config_of(name, options=options)
    assert str(error.value) == message


def assert_refuses_empty_classes(name):
    with pytest.raises(SettingError) as error:
        method_of(name, table_of([0] * 3 + [2] * 2, classes=3, names=("cat", "fox", "owl")))
    assert str(error.value) == (
        f"method = {name}: no training picture of class fox; expected at least one of each class; raise limit, or"
        " leave the class out of the data set"
    )


def assert_needs_groups(name):
    with pytest.raises(SettingError) as error:
        method_of(name, table_of([0, 0, 1, 1]))
    assert str(error.value) == (
        f"method = {name}: its groups are the 2 classes; expected a data set that knows groups within classes, such as"
        " waterbirds; take a method without groups (clp-train --list-methods)"
    )


def probabilities(row):
    """Return the softmax of plain numbers."""
    top = max(row)
    exps = [math.exp(z - top) for z in row]
    return [e / sum(exps) for e in exps]


def counted_label(counts):
    """Return the labels of so many pictures of each class."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.as_tensor(counts))


def declared(path):
    """Return the methods that a test file says it checks against an independent oracle; None where it says nothing.

    They stand in its ORACLES; the test of first terms has a dictionary ROWS, method -> check.
    """
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
            if name == "ORACLES":
                return set(ast.literal_eval(value))
            if name == "ROWS" and path.name == Path(FIRST_TERMS).name:
                return {ast.literal_eval(key) for key in value.keys}
    return None


def oracles():
    """Return the methods that some test file says it checks against an independent oracle."""
    files = [*TESTS.glob("methods/test_*.py"), *TESTS.glob("backgrounds/test_*.py"), TESTS / FIRST_TERMS]
    return set().union(*(declared(path) or set() for path in files))
