"""Every method has an oracle somewhere, a source, a family; needs, costs and parts are of the known kinds and true."""

from pathlib import Path

import pytest
import torch

from clp_aug.common.settings import about, fields_of
from clp_train.algorithm.settings import META_DELTA, META_STEP, SALIENCY
from clp_train.config import ROOMS
from clp_train.methods import METHODS, module_of, options_of
from clp_train.models.heads import make_head
from tests.clp_train.builders import generator, method_of, table_of
from tests.clp_train.methods.head_alone import HeadAlone
from tests.clp_train.methods.shared_cases import declared, oracles

HERE = Path(__file__)
TABLE = table_of(torch.arange(12) // 6, torch.arange(12) // 3, 2, 4, meta_label=torch.arange(4) % 2)
"""Two classes in two places, which no method refuses."""


def test_every_method_has_an_oracle():
    assert oracles() == set(METHODS)


@pytest.mark.parametrize("path", sorted(set(HERE.parent.glob("test_*.py")) - {HERE}), ids=lambda path: path.stem)
def test_every_file_says_what_it_checks(path):
    assert declared(path) is not None


@pytest.mark.parametrize("name", METHODS)
def test_entries_are_complete(name):
    entry = METHODS[name]
    assert entry.source
    assert entry.family
    assert set(entry.needs) <= {"meta", "groups", "stages", "noise"}
    assert set(entry.parts) <= {META_STEP, META_DELTA, SALIENCY}
    assert float(entry.cost) >= 0
    assert callable(module_of(name).build)
    options_of(name)()  # the defaults are valid


@pytest.mark.parametrize("name", METHODS)
def test_parts_are_what_the_method_does(name):
    """Its settings of the meta step and of the saliency term are refused, or have an effect, by what is said here."""
    method = method_of(name, TABLE)
    for stage in range(len(method.stages)):
        method.enter(stage, HeadAlone(make_head(method.head, 6, 2, generator())))
    parts = METHODS[name].parts
    assert bool(method.learned) == (META_STEP in parts)
    assert (method.saliency_weight > 0) == (SALIENCY in parts)
    assert META_STEP in parts or META_DELTA not in parts


def test_every_part_of_a_setting_is_one_that_some_method_has():
    named = {about(field).part for room in ROOMS.values() for field in fields_of(room).values()} - {""}
    assert named == {part for entry in METHODS.values() for part in entry.parts}
