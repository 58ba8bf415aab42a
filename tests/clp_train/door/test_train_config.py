"""Every setting that cannot be meant is refused with value, expectation and option."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from clp_aug.common.plugins import FORM
from clp_aug.common.settings import Settings, about, fields_of, setting
from clp_aug.contract.errors import SettingError, UsageError
from clp_train import cli
from clp_train.algorithm.settings import MetaStepSettings, SaliencySettings
from clp_train.config import make_config, option_names, settings_of, spelt_as_options
from clp_train.methods import METHODS, erm, make_options
from clp_train.methods.clp import Options as ClpOptions
from tests.clp_train.builders import config_of

SHARD = {"meta": Path("x.h5")}
OR_OWN = f", or give your own as {FORM}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "foo"}, f"unknown method 'foo': choose one of {', '.join(sorted(METHODS))}{OR_OWN}"),
        ({"model": "vgg"}, "unknown model 'vgg': choose one of efficientnet-lite0"),
        ({"meta_delta": "x"}, "--meta-delta x: expected one of none, paper"),
        (
            {"saliency_target": "p"},
            "--saliency-target p: expected one of probability, log-probability, logit, logit-gap",
        ),
        (
            {"meta_step": "lagged", "hypergradient": "reference"},
            "--set meta_step=lagged: cannot be used with hypergradient reference; take --set hypergradient=central",
        ),
        (
            {"omega_start": "log-prior", "omega_form": "bounded"},
            "--set omega_start=log-prior: needs the full form, not bounded; take --set omega_form=full",
        ),
        ({"meta_scope": "x"}, "--set meta_scope=x: expected one of all, last-block"),
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
    with pytest.raises(UsageError) as caught, spelt_as_options():
        make_config({**SHARD, **settings})
    assert str(caught.value).startswith(message)
    assert "vgg" in message or str(caught.value) == message, "all of it"


def test_a_library_speaks_of_the_value_and_names_no_option():
    with pytest.raises(SettingError) as caught:
        make_config({**SHARD, "omega_start": "log-prior", "omega_form": "bounded"})
    assert str(caught.value) == "omega_start = log-prior: needs the full form, not bounded; take omega_form = full"


def test_folder_names_shard_method_and_seed():
    assert config_of(meta=Path("shards/demo-tile.h5"), method="erm", seed=3).folder == Path("runs/demo-tile-erm-seed3")
    assert config_of(meta=Path("x.h5"), out=Path("here")).folder == Path("here")


def test_json_form_is_plain():
    assert config_of(meta=Path("x.h5")).as_json()["meta"] == "x.h5"


def test_settings_by_key():
    texts = ["meta_step=lagged", "epochs=7", "virtual_momentum=true", "limit=40", "lr=0.5"]
    found = make_config({**SHARD, "epochs": 3}, texts=texts)
    expected = {"meta_step": "lagged", "epochs": 7, "virtual_momentum": True, "limit": 40, "lr": 0.5}
    assert found == config_of(meta=Path("x.h5"), **expected)
    assert {name: found.flat()[name] for name in expected} == expected
    assert (found.run.epochs, found.meta_step.meta_step, found.data.limit, found.sgd.lr) == (7, "lagged", 40, 0.5)


def test_none_is_given_as_text_where_it_is_a_value():
    assert make_config(SHARD, texts=["limit=none"], preset={"limit": 40}).data.limit is None


@dataclass(frozen=True)
class Own(Settings):
    """Settings of a made-up method."""

    gamma: float = setting(2.0, "Exponent.")
    soft: bool = setting(False, "Whether it is soft.")


def test_a_methods_own_settings_stand_beside_the_others(monkeypatch):
    monkeypatch.setattr(erm, "Options", Own, raising=False)
    meta = {**SHARD, "method": "erm"}
    assert make_config(meta).options == Own()
    assert make_config(meta).as_json()["options"] == {}
    config = make_config({**meta, "gamma": 1}, texts=["soft=true", "lr=0.5"])
    assert (config.options, config.sgd.lr) == (Own(1.0, True), 0.5)
    assert dict(config.given) == {"gamma": 1.0, "soft": True}
    assert make_options("erm", config.given) == Own(1.0, True)
    assert config.as_json()["options"] == {"gamma": 1.0, "soft": True}
    with pytest.raises(UsageError, match=r"^--set gamma=big: expected a number$"), spelt_as_options():
        make_config(meta, texts=["gamma=big"])
    with pytest.raises(UsageError, match=r"^soft = 2: method clp does not use it; it is a setting of erm$"):
        make_config({**meta, "method": "clp"}, texts=["soft=2"])
    with pytest.raises(UsageError, match="unknown setting of method erm 'beta': choose one of gamma, soft"):
        make_options("erm", {"beta": 1})


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("speed=3", "unknown setting 'speed': did you mean seed? clp-train --list-settings lists all"),
        ("batchsize=3", "unknown setting 'batchsize': did you mean batch_size? clp-train --list-settings lists all"),
        ("epochs=many", "--epochs many: expected a whole number >= 1"),
        ("epochs", "--epochs : expected a whole number >= 1"),
        ("virtual_momentum=maybe", "--set virtual_momentum=maybe: expected true or false"),
        ("preset=glt", "preset=glt: its settings would not be read; give --preset"),
    ],
)
def test_settings_that_are_refused(pair, message):
    with pytest.raises(UsageError) as caught, spelt_as_options():
        make_config(SHARD, texts=[pair])
    assert str(caught.value) == message


def test_the_choices_are_those_of_the_modules():
    """They stand in the settings too, because importing the modules would load torch for every --help."""
    from clp_train.algorithm import meta_step, perturbation, saliency, slopes
    from clp_train.pictures.settings import BatchSettings
    from clp_train.pictures.transforms import TRANSFORMS

    def choices(owner, name):
        return set(about(fields_of(owner)[name]).choices)

    assert choices(MetaStepSettings, "hypergradient") == {*slopes.SLOPES, "reference"}
    assert choices(MetaStepSettings, "meta_step") == set(meta_step.META_STEPS)
    assert choices(ClpOptions, "omega_form") == {*perturbation.FORMS, "none"}
    assert choices(SaliencySettings, "saliency_target") == set(saliency.SALIENCY_TARGETS)
    assert choices(BatchSettings, "transform") == set(TRANSFORMS)


def test_messages_name_options_that_there_are():
    """What the command line has an option for is named by it, all else by --set."""
    known = set().union(*(settings_of(method) for method in METHODS))
    assert set(option_names()) == {param.name for param in cli.train.params} & known
