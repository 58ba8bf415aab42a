"""One declaration of a setting: its check, its type in a file, its text."""

import math
from dataclasses import MISSING, dataclass
from pathlib import Path

import pytest

from clp_aug.common.settings import Settings, from_text, read, setting
from clp_aug.contract.errors import SettingError, UsageError


@dataclass(frozen=True)
class Sample(Settings):
    name: str = setting(MISSING, "A name.", choices=("red", "blue"))
    rate: float = setting(0.5, "A rate.", above=0, high=1)
    count: int = setting(3, "A count.", low=1)
    limit: int | None = setting(None, "A limit.", low=2, high=9)
    on: bool = setting(False, "Whether.")
    place: Path | None = setting(None, "A place.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "reds"}, "name = reds: did you mean red? expected one of red, blue"),
        ({"rate": 0}, "rate = 0: expected a number > 0 and <= 1"),
        ({"rate": math.nan}, "rate = nan: expected a number > 0 and <= 1"),
        ({"rate": True}, "rate = True: expected a number > 0"),
        ({"count": 1.5}, "count = 1.5: expected a whole number >= 1"),
        ({"count": -(10**400)}, ": expected a whole number >= 1"),
        ({"limit": 10}, "limit = 10: expected a whole number from 2 to 9"),
        ({"on": 1}, "on = 1: expected true or false"),
        ({"place": "x"}, "place = x: expected a path"),
    ],
)
def test_values_are_checked_when_the_object_is_made(change, message):
    with pytest.raises(SettingError) as error:
        Sample(**{"name": "red", **change})
    assert message in str(error.value)


def test_values_of_a_table_are_of_the_fields_types():
    table = {"name": "blue", "rate": 1, "place": "here"}
    assert Sample(**read(Sample, table, "table x")) == Sample("blue", 1.0, place=Path("here"))
    with pytest.raises(UsageError, match=r"unknown key of table x 'rats': did you mean rate\? choose one of count, "):
        read(Sample, {"name": "red", "rats": 1}, "table x")
    with pytest.raises(UsageError, match=r"table x: no name; add a line name = \.\.\."):
        read(Sample, {}, "table x")
    with pytest.raises(UsageError, match="table x: count = 'many'; expected a whole number"):
        read(Sample, {"name": "red", "count": "many"}, "table x")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("rate", "0.25", 0.25), ("limit", "none", None), ("on", "true", True), ("place", "a/b", Path("a/b"))],
)
def test_values_of_a_text(name, text, value):
    assert from_text(Sample, name, text) == value
    if name != "place":
        with pytest.raises(SettingError, match=f"{name} = x: expected"):
            from_text(Sample, name, "x")
