"""Every setting that cannot be meant is refused with value, expectation and option."""

from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from clp_aug.contract.errors import UsageError
from clp_train import cli
from clp_train.config import CHOICES, OPTIONS, make_config
from clp_train.methods import METHODS, erm, make_options
from tests.clp_train.builders import config_of


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "foo"}, f"unknown method 'foo': choose one of {', '.join(sorted(METHODS))}$"),
        ({"model": "vgg"}, "unknown model 'vgg': choose one of efficientnet-lite0"),
        ({"meta_delta": "x"}, "unknown --meta-delta 'x': choose one of none, paper"),
        ({"saliency_target": "p"}, "unknown --saliency-target 'p': choose one of log-probability, logit, logit-gap"),
        ({"meta_step": "lagged", "hypergradient": "reference"}, "--set meta_step=lagged has no reference form; set"),
        (
            {"omega_start": "log-prior", "omega_form": "bounded"},
            "--set omega_start=log-prior needs --set omega_form",
        ),
        ({"meta_scope": "x"}, "unknown --set meta_scope 'x': choose one of all, last-block"),
        ({"meta_interval": 0}, "--set meta_interval=0: expected a whole number >= 1"),
        ({"epochs": 0}, "--epochs 0: expected a whole number >= 1"),
        ({"batch_size": 1}, "--batch-size 1: expected a whole number >= 2"),
        ({"meta_batch_size": 1}, "--meta-batch-size 1: expected a whole number >= 2"),
        ({"saliency_interval": 0}, "--saliency-interval 0: expected a whole number >= 1"),
        ({"seed": -1}, "--seed -1: expected a whole number >= 0"),
        ({"limit": 1}, "--limit 1: expected a whole number >= 2"),
        ({"lr": 0.0}, "--lr 0.0: expected a number > 0"),
        ({"lr": float("nan")}, "--lr nan: expected a number > 0"),
        ({"omega_lr": float("inf")}, "--omega-lr inf: expected a number > 0"),
        ({"first_drop": -0.1}, "--set first_drop=-0.1: expected a number from 0 to 1"),
        ({"first_drop": float("nan")}, "--set first_drop=nan: expected a number from 0 to 1"),
        ({"first_drop": 0.9, "second_drop": 0.8}, "--set second_drop=0.8: expected a number from 0.9 to 1"),
        ({"weight_decay": -1.0}, "--weight-decay -1.0: expected a number >= 0"),
        ({"saliency_lambda": float("nan")}, "--saliency-lambda nan: expected a number >= 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        config_of(meta=Path("x.h5"), **settings)


def test_folder_names_shard_method_and_seed():
    assert config_of(meta=Path("shards/demo-tile.h5"), method="erm", seed=3).folder == Path(
        "runs/demo-tile-erm-seed3"
    )
    assert config_of(meta=Path("x.h5"), out=Path("here")).folder == Path("here")


def test_json_form_is_plain():
    assert config_of(meta=Path("x.h5")).as_json()["meta"] == "x.h5"


def test_settings_by_key():
    texts = ["meta_step=lagged", "epochs=7", "virtual_momentum=true", "limit=40", "lr=0.5"]
    found = make_config({"meta": Path("x.h5"), "epochs": 3}, texts=texts)
    expected = {"meta_step": "lagged", "epochs": 7, "virtual_momentum": True, "limit": 40, "lr": 0.5}
    assert found == config_of(meta=Path("x.h5"), **expected)


@dataclass(frozen=True)
class Own:
    """Settings of a made-up method."""

    gamma: float = 2.0
    soft: bool = False


def test_a_methods_own_settings_stand_beside_the_others(monkeypatch):
    monkeypatch.setattr(erm, "Options", Own, raising=False)
    meta = {"meta": Path("x.h5"), "method": "erm"}
    assert make_config(meta).options == {}
    config = make_config({**meta, "gamma": 1}, texts=["soft=true", "lr=0.5"])
    assert (config.options, config.lr) == ({"gamma": 1.0, "soft": True}, 0.5)
    assert make_options("erm", config.options) == Own(1.0, True)
    assert config.as_json()["options"] == {"gamma": 1.0, "soft": True}
    with pytest.raises(UsageError, match="--set gamma=big: expected a number"):
        make_config(meta, texts=["gamma=big"])
    with pytest.raises(UsageError, match="unknown setting 'gamma': choose one of background_share"):
        make_config({**meta, "method": "clp"}, texts=["gamma=2"])
    with pytest.raises(UsageError, match="unknown setting of method erm 'beta': choose one of gamma, soft"):
        config_of(meta=Path("x.h5"), method="erm", options={"beta": 1})


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("speed=3", "unknown setting 'speed': choose one of background_share, background_step, batch_size, "),
        ("epochs=many", "--set epochs=many: expected a whole number"),
        ("virtual_momentum=maybe", "--set virtual_momentum=maybe: expected true or false"),
    ],
)
def test_settings_that_are_refused(pair, message):
    with pytest.raises(UsageError, match=message):
        make_config({"meta": Path("x.h5")}, texts=[pair])


def test_the_choices_are_those_of_the_modules():
    """They stand in config too, because importing the modules would load torch for every --help."""
    from clp_train.algorithm import hypergradient, losses, perturbation

    assert set(CHOICES["hypergradient"]) == set(hypergradient.MODES)
    assert CHOICES["omega_form"] == perturbation.FORMS
    assert set(CHOICES["saliency_target"]) == set(losses.SALIENCY_TARGETS)


def test_messages_name_options_that_there_are():
    """What the command line has an option for is named by it, all else by --set."""
    declared = {param.name for param in cli.train.params} & {field.name for field in fields(TrainConfig)}
    assert set(OPTIONS) == declared | {"preset"}
