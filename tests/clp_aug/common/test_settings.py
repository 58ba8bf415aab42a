"""Settings that are declared once: what they refuse, how text, Python and TOML give them, and in what words."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import MISSING, dataclass, field
from pathlib import Path

import numpy as np
import pytest

from clp_aug.common.settings import About, Settings, about, fields_of, from_text, read, setting, type_of, typed
from clp_aug.contract.errors import SettingError, UsageError

REGISTRY = {"steps": 1, "constant": 2}


@dataclass(frozen=True)
class Sample(Settings):
    """One setting of each kind."""

    count: int = setting(3, "A whole number.", low=1)
    seed: int = setting(0, "A whole number between two ends.", low=0, high=9)
    rate: float = setting(0.1, "A positive number.", above=0)
    share: float = setting(0.5, "A share.", low=0, high=1)
    momentum: float = setting(0.9, "A share below one.", low=0, below=1)
    temperature: float = setting(1.0, "Any number.")
    schedule: str = setting("steps", "A choice.", choices=("steps", "constant", "cosine"))
    listed: str = setting("steps", "A name of a registry.", choices=REGISTRY)
    name: str = setting("x", "Any name.")
    quiet: bool = setting(False, "A switch.")
    out: Path = setting(Path("runs"), "A path.")
    limit: int | None = setting(None, "An optional whole number.", low=2)
    pace: float | None = setting(None, "An optional number.", above=0)
    kind: str | None = setting(None, "An optional choice.", choices=("thin", "thick"))
    root: Path | None = setting(None, "An optional path.")
    fills: tuple[str, ...] = setting((), "Names, which their owner checks.")


def refusal(**values):
    with pytest.raises(SettingError) as error:
        Sample(**values)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


WHOLE, POSITIVE = "a whole number >= 1", "a number > 0"
REFUSED = [
    ("count", 0, WHOLE), ("count", -1, WHOLE), ("count", 1.0, WHOLE), ("count", True, WHOLE), ("count", "3", WHOLE),
    ("count", None, WHOLE), ("seed", 10, "a whole number from 0 to 9"), ("seed", -1, "a whole number from 0 to 9"),
    ("rate", 0, POSITIVE), ("rate", 0.0, POSITIVE), ("rate", -0.1, POSITIVE), ("rate", math.nan, POSITIVE),
    ("rate", math.inf, POSITIVE), ("rate", "0.1", POSITIVE), ("rate", True, POSITIVE),
    ("share", 1.0001, "a number from 0 to 1"), ("share", -1e-9, "a number from 0 to 1"),
    ("momentum", 1, "a number >= 0 and < 1"), ("momentum", 1.0, "a number >= 0 and < 1"),
    ("temperature", math.nan, "a number"), ("temperature", -math.inf, "a number"),
    ("schedule", "linear", "one of steps, constant, cosine"), ("schedule", 1, "one of steps, constant, cosine"),
    ("listed", "linear", "one of steps, constant"), ("name", 1, "a name"), ("name", None, "a name"),
    ("quiet", 1, "true or false"), ("quiet", "true", "true or false"), ("out", "runs", "a path"),
    ("limit", 1, "a whole number >= 2"), ("pace", 0, POSITIVE), ("kind", "fat", "one of thin, thick"),
    ("root", "here", "a path"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), REFUSED, ids=str)
def test_refused_with_name_value_and_range(name, value, expected):
    assert refusal(**{name: value}) == f"{name} = {value}: expected {expected}"


ALLOWED = [
    ("count", 1), ("count", 10**400), ("seed", 0), ("seed", 9), ("rate", 1), ("rate", 1e-30), ("share", 0),
    ("share", 1), ("momentum", 0), ("momentum", 0.999), ("temperature", -1e300), ("schedule", "cosine"),
    ("listed", "constant"), ("name", ""), ("quiet", True), ("out", Path("a")), ("limit", None), ("limit", 2),
    ("pace", None), ("pace", 3), ("kind", None), ("kind", "thick"), ("root", None), ("root", Path("a")),
    ("fills", ("grey",)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ALLOWED, ids=lambda value: str(value)[:12])
def test_allowed_up_to_the_ends_of_the_range(name, value):
    assert getattr(Sample(**{name: value}), name) == value


def test_numbers_of_numpy_are_numbers_where_python_says_so():
    assert Sample(rate=np.float64(0.3)).rate == 0.3
    assert refusal(count=np.int64(3)) == "count = 3: expected a whole number >= 1"


def test_a_choice_that_is_nearly_right_is_suggested():
    assert refusal(schedule="cosin") == "schedule = cosin: did you mean cosine? expected one of steps, constant, cosine"
    assert refusal(listed="step") == "listed = step: did you mean steps? expected one of steps, constant"
    assert refusal(kind="thicc") == "kind = thicc: did you mean thick? expected one of thin, thick"


def test_the_first_wrong_value_is_told_and_no_object_is_changed_afterwards():
    assert refusal(rate=0, count=0).startswith("count = 0: ")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sample().count = 4
    with pytest.raises(SettingError):
        dataclasses.replace(Sample(), count=0)


def test_a_registry_of_choices_counts_as_it_is_when_a_value_is_checked():
    REGISTRY["late"] = 3
    try:
        assert Sample(listed="late").listed == "late"
    finally:
        del REGISTRY["late"]
    assert refusal(listed="late") == "listed = late: expected one of steps, constant"


@pytest.mark.parametrize(
    ("known", "kind", "words"),
    [
        (About("", low=1), int, "a whole number >= 1"),
        (About("", above=0), float, "a number > 0"),
        (About("", low=0, high=1), float, "a number from 0 to 1"),
        (About("", low=1, high=math.inf), float, "a number >= 1 and <= inf"),
        (About("", above=0, high=1), float, "a number > 0 and <= 1"),
        (About("", low=0, below=1), float, "a number >= 0 and < 1"),
        (About("", below=5), int, "a whole number < 5"),
        (About(""), int, "a whole number"),
        (About(""), str, "a name"),
        (About(""), Path, "a path"),
        (About(""), bool, "true or false"),
        (About("", choices=("a", "b")), str, "one of a, b"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ranges_in_words(known, kind, words):
    assert known.range(kind) == words


def test_a_field_knows_what_was_declared():
    known = about(fields_of(Sample)["schedule"])
    assert (known.help, known.choices, known.option) == ("A choice.", ("steps", "constant", "cosine"), False)
    assert list(fields_of(Sample))[:3] == ["count", "seed", "rate"]

    @dataclass(frozen=True)
    class Plain:
        number: int = 3
        many: list = field(default_factory=list)

    assert about(fields_of(Plain)["number"]) == About("")


@pytest.mark.parametrize(
    ("name", "kind", "optional"),
    [
        ("count", int, False),
        ("limit", int, True),
        ("root", Path, True),
        ("fills", tuple, False),
        ("quiet", bool, False),
    ],
)
def test_types_of_fields(name, kind, optional):
    assert type_of(Sample, name) == (kind, optional)


TEXTS = [
    ("count", "7", 7), ("count", "-7", -7), ("rate", "0.2", 0.2), ("rate", "1e-3", 0.001), ("rate", "2", 2.0),
    ("quiet", "true", True), ("quiet", "false", False), ("schedule", "cosine", "cosine"), ("name", "none", "none"),
    ("out", "a/b", Path("a/b")), ("limit", "none", None), ("limit", "4", 4), ("pace", "none", None),
    ("pace", "0.5", 0.5), ("kind", "none", None), ("kind", "thin", "thin"), ("root", "none", None),
    ("root", "a", Path("a")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "value"), TEXTS, ids=str)
def test_values_of_texts(name, text, value):
    found = from_text(Sample, name, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("count", "three", "a whole number >= 1"),
        ("count", "3.0", "a whole number >= 1"),
        ("count", "1e3", "a whole number >= 1"),
        ("count", "none", "a whole number >= 1"),
        ("rate", "fast", "a number > 0"),
        ("rate", "", "a number > 0"),
        ("rate", "none", "a number > 0"),
        ("quiet", "True", "true or false"),
        ("quiet", "1", "true or false"),
        ("quiet", "none", "true or false"),
        ("limit", "None", "a whole number >= 2"),
    ],
)
def test_texts_that_are_no_value(name, text, expected):
    with pytest.raises(SettingError) as error:
        from_text(Sample, name, text)
    assert str(error.value) == f"{name} = {text}: expected {expected}"


def test_a_text_out_of_range_is_refused_when_the_object_is_made():
    assert refusal(rate=from_text(Sample, "rate", "nan")) == "rate = nan: expected a number > 0"
    assert refusal(count=from_text(Sample, "count", "0")) == "count = 0: expected a whole number >= 1"


VALUES = [
    ("count", 3, 3), ("rate", 2, 2.0), ("rate", 0.5, 0.5), ("quiet", True, True), ("out", "a", Path("a")),
    ("out", Path("a"), Path("a")), ("root", None, None), ("limit", None, None), ("pace", 2, 2.0),
    ("fills", ["grey", "tile"], ("grey", "tile")), ("fills", ("grey",), ("grey",)), ("fills", [], ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), VALUES, ids=str)
def test_values_of_toml_and_python(name, value, expected):
    found = typed(Sample, name, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", 3.0, "a whole number"),
        ("count", True, "a whole number"),
        ("count", "3", "a whole number"),
        ("count", None, "a whole number"),
        ("rate", "0.1", "a number"),
        ("rate", True, "a number"),
        ("quiet", 1, "true or false"),
        ("quiet", "true", "true or false"),
        ("name", 1, "a name"),
        ("out", 1, "a path"),
        ("limit", 2.5, "a whole number"),
        ("fills", "grey", "a list of texts"),
        ("fills", ["grey", 1], "a list of texts"),
    ],
)
def test_values_of_another_type(name, value, expected):
    with pytest.raises(SettingError) as error:
        typed(Sample, name, value)
    assert str(error.value) == f"{name} = {value}: expected {expected}"


@dataclass(frozen=True)
class Table(Settings):
    """What a TOML file holds; one line of it is needed."""

    source: str = setting(MISSING, "Where it comes from.")
    epochs: int = setting(30, "How long.", low=1)
    notes: tuple[str, ...] = setting((), "What to know.")
    path: Path | None = setting(None, "Where the file lies.")


def test_a_table_gives_what_it_holds():
    found = read(Table, {"source": "a paper", "notes": ["a", "b"]}, "preset x")
    assert found == {"source": "a paper", "notes": ("a", "b")}
    assert Table(**found) == Table("a paper", 30, ("a", "b"))
    assert read(Table, {"epochs": 3}, "preset x", given=("source",)) == {"epochs": 3}


@pytest.mark.parametrize(
    ("table", "given", "message"),
    [
        ({"sourc": "x"}, (), "unknown key of preset x 'sourc': did you mean source? choose one of epochs, notes, path,"
         " source"),
        ({"source": "x", "zzz": 1}, (), "unknown key of preset x 'zzz': choose one of epochs, notes, path, source"),
        ({"source": "x"}, ("source",), "unknown key of preset x 'source': choose one of epochs, notes, path"),
        ({"epochs": 3}, (), "preset x: no source; add a line source = ..."),
        ({"source": 3}, (), "preset x: source = 3; expected a name"),
        ({"source": "x", "epochs": "3"}, (), "preset x: epochs = '3'; expected a whole number"),
        ({"source": "x", "notes": ["a", 1]}, (), "preset x: notes = ['a', 1]; expected a list of texts"),
    ],
    ids=["near", "far", "given", "lacking", "no text", "no number", "no list"],
)  # fmt: skip
def test_what_is_wrong_with_a_table(table, given, message):
    with pytest.raises(UsageError) as error:
        read(Table, table, "preset x", given)
    assert str(error.value) == message


def test_a_setting_error_is_spelt_as_the_door_likes_it():
    error = SettingError("rate", 0, "expected a number > 0", {"schedule": "constant", "count": 2})
    assert str(error) == "rate = 0: expected a number > 0; take schedule = constant and count = 2"
    spelt = error.spelt(lambda name, value: f"--{name} {value}")
    assert spelt == "--rate 0: expected a number > 0; take --schedule constant and --count 2"
    assert isinstance(error, UsageError)
