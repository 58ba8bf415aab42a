"""The ranges that fields declare: what lies in one is taken, what lies outside is refused by the option's spelling."""

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from clp_aug.common.settings import about, fields_of, type_of
from clp_aug.contract.errors import UsageError
from clp_train.config import make_config, settings_of, spelt_as_options
from clp_train.methods import METHODS

OPTIONS = {"meta", "method", "root", "model", "epochs", "batch_size", "meta_batch_size", "lr", "schedule",
           "device", "precision", "store", "workers", "optimiser",
           "weight_decay", "omega_lr", "meta_delta", "saliency_lambda", "saliency_target", "saliency_interval", "seed",
           "out", "cache", "limit", "export", "preset", "select", "audit"}  # fmt: skip
BESIDE = {"first_drop": {"second_drop": 1.0}, "second_drop": {"first_drop": 0.0}, "first": {"second": 1.0},
          "second": {"first": 0.0}, "background_epochs": {"omega_start": "background"}}  # fmt: skip
"""Setting -> values of others beside which all its range can be had."""
BESIDE_CHOICE = {
    ("omega_start", "log-prior"): {"omega_form": "full"}, ("optimiser", "adamw"): {"lr": 1e-3},
    ("omega_form", "none"): {"omega_start": "background", "background_step": 0.1},
}  # fmt: skip
"""Setting and choice -> values of others that the choice needs."""


def settings_with(kinds):
    """Return (method, owner, name) of each setting of some types, each dataclass with a method that takes it."""
    found = {}
    for method in METHODS:
        for name, owner in settings_of(method).items():
            if type_of(owner, name)[0] in kinds:
                found.setdefault((owner, name), (method, owner, name))
    return list(found.values())


def shown(case):
    return case if isinstance(case, str) else getattr(case, "__name__", None) and f"{case.__module__}.{case.__name__}"


NUMBERS = settings_with((int, float))
CHOICES = [case for case in settings_with((str,)) if about(fields_of(case[1])[case[2]]).choices]
TRUTHS = settings_with((bool,))
few = profile(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def config_with(method, name, value, text=False):
    """Return the configuration in which a setting has a value, with what it needs beside it, by command line names."""
    known = settings_of(method)
    condition = about(fields_of(known[name])[name]).works_with
    beside = {condition[0]: condition[1][0]} if condition else {}
    beside |= {other: v for other, v in BESIDE.get(name, {}).items() if other in known}
    of_run = {"meta": Path("x.h5"), "method": method, **beside}
    with spelt_as_options():
        return make_config(of_run, [f"{name}={value}"]) if text else make_config({**of_run, name: value})


def spelling(name, value):
    return f"--{name.replace('_', '-')} {value}: " if name in OPTIONS else f"--set {name}={value}: "


def inside(owner, name):
    """Return a strategy of values in the declared range."""
    known, (kind, _) = about(fields_of(owner)[name]), type_of(owner, name)
    low = known.low if known.low is not None else known.above
    high = known.high if known.high is not None else known.below
    if kind is int:
        low = math.ceil(low) if known.low is not None or low is None else math.floor(low) + 1
        high = None if high is None else math.floor(high) if known.high is not None else math.ceil(high) - 1
        return st.integers(low, high if high is not None else max(low, 0) + 10**6)
    open_ends = {"exclude_min": known.above is not None, "exclude_max": known.below is not None}
    return st.floats(low, high, **open_ends, allow_nan=False, allow_infinity=False)


def outside(owner, name):
    """Return a strategy of values that the declared range leaves out; of an open end, the end itself too."""
    known, (kind, _) = about(fields_of(owner)[name]), type_of(owner, name)
    parts = []
    for end, is_low, is_open in ((known.low, True, False), (known.above, True, True), (known.high, False, False),
                                 (known.below, False, True)):  # fmt: skip
        if end is None:
            continue
        if kind is int:
            value = (math.ceil(end) - 1 if is_low else math.floor(end) + 1) if not is_open else int(end)
            parts.append(st.integers(max_value=value) if is_low else st.integers(min_value=value))
        else:
            limits = {"max_value" if is_low else "min_value": float(end)}
            kept = {"exclude_max" if is_low else "exclude_min": not is_open}
            parts.append(st.floats(**limits, **kept, allow_nan=False))
    if kind is float:
        parts.append(st.sampled_from([math.nan, math.inf, -math.inf]))
    return st.one_of(parts)


@pytest.mark.parametrize(("method", "owner", "name"), NUMBERS, ids=shown)
def test_a_number_has_a_range(method, owner, name):
    known = about(fields_of(owner)[name])
    assert [known.low, known.above, known.high, known.below] != [None] * 4, "what is it good for without one?"


@pytest.mark.parametrize(("method", "owner", "name"), NUMBERS, ids=shown)
@given(data=st.data())
@few
def test_a_number_in_its_range_is_taken_as_value_and_as_text(method, owner, name, data):
    value = data.draw(inside(owner, name))
    assert config_with(method, name, value).flat()[name] == value
    assert config_with(method, name, value, text=True).flat()[name] == value


@pytest.mark.parametrize(("method", "owner", "name"), NUMBERS, ids=shown)
@given(data=st.data())
@few
def test_a_number_outside_is_refused_by_the_option(method, owner, name, data):
    value = data.draw(outside(owner, name))
    for text in (False, True):
        with pytest.raises(UsageError) as caught:
            config_with(method, name, value, text)
        expected = "a whole number" if type_of(owner, name)[0] is int else "a number"
        assert str(caught.value).startswith(f"{spelling(name, value)}expected {expected}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("method", "owner", "name"), NUMBERS, ids=shown)
@given(value=st.one_of(st.booleans(), st.text(max_size=5), st.lists(st.integers(), max_size=1)))
@few
def test_what_is_no_number_is_refused(method, owner, name, value):
    with pytest.raises(UsageError) as caught:
        config_with(method, name, value)
    assert "expected a" in str(caught.value)


@pytest.mark.parametrize(("method", "owner", "name"), CHOICES, ids=shown)
@given(word=st.text(max_size=8))
@example(word="none ")
@few
def test_a_choice_is_one_of_those_declared(method, owner, name, word):
    field = fields_of(owner)[name]
    choices, in_words = tuple(about(field).choices), about(field).range(str)
    assert field.default in choices
    for choice in choices:
        beside = BESIDE_CHOICE.get((name, choice), {})
        config = make_config({"meta": Path("x.h5"), "method": method, name: choice, **beside})
        assert config.flat()[name] == choice
    if word not in choices:
        with pytest.raises(UsageError) as caught:
            config_with(method, name, word)
        assert str(caught.value).startswith(spelling(name, word))
        assert ":" in word or str(caught.value).endswith(f"expected {in_words}")  # module:name is looked for


@pytest.mark.parametrize(("method", "owner", "name"), TRUTHS, ids=shown)
def test_true_and_false(method, owner, name):
    assert [config_with(method, name, text, True).flat()[name] for text in ("true", "false")] == [True, False]
    for value in (1, "true", None):
        with pytest.raises(UsageError) as caught:
            config_with(method, name, value)
        assert str(caught.value).endswith("expected true or false")
    for text in ("1", "True", ""):
        with pytest.raises(UsageError) as caught:
            config_with(method, name, text, True)
        assert str(caught.value) == f"{spelling(name, text)}expected true or false"
