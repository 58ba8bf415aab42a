"""Every setting that cannot be meant is refused with value, expectation and option."""

from pathlib import Path

import pytest

from clp_aug.contract.errors import UsageError
from clp_train.config import CHOICES, TrainConfig, parse_settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "foo"}, "unknown method 'foo': choose one of clp, dfr, erm, group-sample, group-weight, "),
        ({"model": "vgg"}, "unknown model 'vgg': choose one of efficientnet-lite0"),
        ({"meta_delta": "x"}, "unknown --meta-delta 'x': choose one of none, paper"),
        ({"saliency_target": "p"}, "unknown --saliency-target 'p': choose one of log-probability, logit, logit-gap"),
        ({"meta_step": "lagged", "hypergradient": "reference"}, "--meta-step lagged has no reference form; use"),
        ({"omega_start": "log-prior", "omega_form": "bounded"}, "--omega-start log-prior needs --omega-form full"),
        ({"meta_scope": "x"}, "unknown --meta-scope 'x': choose one of all, last-block"),
        ({"meta_interval": 0}, "--meta-interval 0: expected a whole number >= 1"),
        ({"epochs": 0}, "--epochs 0: expected a whole number >= 1"),
        ({"batch_size": 1}, "--batch-size 1: expected a whole number >= 2"),
        ({"meta_batch_size": 1}, "--meta-batch-size 1: expected a whole number >= 2"),
        ({"saliency_interval": 0}, "--saliency-interval 0: expected a whole number >= 1"),
        ({"seed": -1}, "--seed -1: expected a whole number >= 0"),
        ({"limit": 1}, "--limit 1: expected a whole number >= 2"),
        ({"lr": 0.0}, "--lr 0.0: expected a number > 0"),
        ({"lr": float("nan")}, "--lr nan: expected a number > 0"),
        ({"omega_lr": float("inf")}, "--omega-lr inf: expected a number > 0"),
        ({"weight_decay": -1.0}, "--weight-decay -1.0: expected a number >= 0"),
        ({"saliency_lambda": float("nan")}, "--saliency-lambda nan: expected a number >= 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(meta=Path("x.h5"), **settings)


def test_folder_names_shard_method_and_seed():
    assert TrainConfig(meta=Path("shards/demo-tile.h5"), method="erm", seed=3).folder == Path(
        "runs/demo-tile-erm-seed3"
    )
    assert TrainConfig(meta=Path("x.h5"), out=Path("here")).folder == Path("here")


def test_json_form_is_plain():
    assert TrainConfig(meta=Path("x.h5")).as_json()["meta"] == "x.h5"


def test_settings_by_key():
    found = parse_settings(["meta_step=lagged", "epochs=7", "virtual_momentum=true", "limit=40", "lr=0.5"])
    assert found == {"meta_step": "lagged", "epochs": 7, "virtual_momentum": True, "limit": 40, "lr": 0.5}
    assert TrainConfig(meta=Path("x.h5"), **found).virtual_momentum is True


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("speed=3", "unknown setting 'speed': choose one of batch_size, cache, "),
        ("epochs=many", "--set epochs=many: expected a whole number"),
        ("virtual_momentum=maybe", "--set virtual_momentum=maybe: expected true or false"),
    ],
)
def test_settings_that_are_refused(pair, message):
    with pytest.raises(UsageError, match=message):
        parse_settings([pair])


def test_the_choices_are_those_of_the_modules():
    """They stand in config too, because importing the modules would load torch for every --help."""
    from clp_train import hypergradient, losses, perturbation

    assert set(CHOICES["hypergradient"]) == set(hypergradient.MODES)
    assert CHOICES["omega_form"] == perturbation.FORMS
    assert CHOICES["omega_start"] == perturbation.STARTS
    assert set(CHOICES["saliency_target"]) == set(losses.SALIENCY_TARGETS)
