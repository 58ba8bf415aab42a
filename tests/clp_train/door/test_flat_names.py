"""Flat names are a public contract: each stands in one dataclass, and no method's setting hides one of a room."""

import itertools
from collections import Counter

import pytest

from clp_aug.common.settings import about, fields_of
from clp_train.config import DEFAULTS_OF, LATER, RECORD, ROOMS, option_names, settings_of
from clp_train.methods import METHODS, options_of
from clp_train.run_settings import Start

OWNERS = (Start, *ROOMS.values())
OF_ROOMS = Counter(itertools.chain(*map(fields_of, OWNERS)))


def test_every_recorded_setting_stands_in_one_dataclass():
    declared = OF_ROOMS + Counter(fields_of(options_of(DEFAULTS_OF)).keys())
    assert {name: declared[name] for name in RECORD} == dict.fromkeys(RECORD, 1)


def test_every_setting_of_a_room_is_recorded():
    assert set(OF_ROOMS) <= {*RECORD, *LATER}
    assert len({*RECORD, *LATER}) == len(RECORD) + len(LATER)


@pytest.mark.parametrize("method", METHODS)
def test_no_setting_of_a_method_has_the_name_of_one_of_a_room(method):
    own = fields_of(options_of(method))
    assert not own.keys() & OF_ROOMS.keys()
    assert "options" not in own.keys() | OF_ROOMS.keys(), "results have the method's own settings there"
    assert set(settings_of(method)) <= own.keys() | OF_ROOMS.keys()


@pytest.mark.parametrize("method", METHODS)
def test_a_setting_counts_beside_others_that_the_method_has(method):
    known = settings_of(method)
    for name, owner in known.items():
        condition = about(fields_of(owner)[name]).works_with
        if condition is not None:
            other, values = condition
            declared = fields_of(known[other])[other]
            assert set(values) <= set(about(declared).choices) or declared.default in (True, False), name


def test_what_has_an_option_has_it_for_every_method():
    """An option is declared once for all methods, so a name that several have must be of one type in all of them."""
    for name in option_names():
        owners = {settings_of(method)[name] for method in METHODS if name in settings_of(method)}
        assert len({fields_of(owner)[name].type for owner in owners}) == 1, name


def test_every_setting_says_what_it_does():
    for owner in dict.fromkeys((*OWNERS, *map(options_of, METHODS))):
        for name, field in fields_of(owner).items():
            known = about(field)
            assert known.help[:1] == known.help[:1].strip() != "", name
            assert known.help.endswith((".", ".)")), name
