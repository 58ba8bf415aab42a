"""The presets that ship are valid, have the settings of their sources, and are for their own data alone."""

from pathlib import Path

import pytest

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.optimiser import rate_factor
from clp_train.config import TrainConfig, make_config
from clp_train.methods import METHODS
from clp_train.pictures.batching import steps_per_epoch
from clp_train.presets import check_shard, fits, load_preset, names, read_method, read_preset

SHARD = {"meta": Path("x.h5")}
COLUMNS = {  # one a column of tables 2, 7 and 8: what its shard is made of
    **{f"table2-{name}-{ratio}": (name, {"imbalance": float(ratio)})
       for name in ("cifar10", "cifar100") for ratio in (100, 10)},
    "table7-clt": ("imagenet-glt", {}), "table7-glt": ("imagenet-glt", {}), "table7-alt": ("imagenet-cbl", {}),
    "table8-clt": ("mscoco-glt", {}), "table8-glt": ("mscoco-glt", {}), "table8-alt": ("mscoco-cbl", {}),
}  # fmt: skip


@pytest.fixture
def without_weights(monkeypatch):
    """A model may name a package of weights or a file that is not here; this is about the settings."""
    monkeypatch.setattr("clp_train.models.settings.check_model", lambda name: None)


def test_the_presets_that_ship():
    noise = ("table5-flip", "table5-flip-cpu", "table5-uniform", "table5-uniform-cpu")
    birds = ("waterbirds", "waterbirds-cpu", "waterbirds-lisa", "waterbirds-probe")
    assert {"cifar-lt", "cifar-lt-cpu", "glt", "glt-cpu", "spurious-background", *noise, *birds, *COLUMNS} <= set(
        names()
    )
    assert {f"{name}-cpu" for name in COLUMNS} < set(names()), "every column has one for two cores"


@pytest.mark.parametrize("name", names())
def test_every_one_is_a_valid_configuration(name, without_weights):
    settings = read_preset(name)
    config = make_config(SHARD, preset=settings)
    assert isinstance(config, TrainConfig)
    assert {key: config.as_json()[key] for key in settings} == settings
    assert not {"meta", "root", "out", "seed", "method"} & settings.keys()  # these belong to the run


def test_the_papers_settings(without_weights):
    cifar, birds = (make_config(SHARD, preset=read_preset(name)) for name in ("cifar-lt", "waterbirds"))
    assert (cifar.model.model, cifar.run.epochs, cifar.batches.batch_size) == ("resnet32", 200, 100)
    assert (cifar.sgd.lr, cifar.sgd.schedule) == (0.1, "steps")
    assert (birds.model.model, birds.run.epochs, birds.batches.batch_size) == ("torchvision:resnet50", 300, 16)
    assert birds.sgd.lr == 1e-3
    assert (birds.sgd.schedule, birds.sgd.weight_decay) == ("constant", 1e-4)
    assert make_config(SHARD, preset=read_preset("waterbirds-probe")).saliency.saliency_lambda == 0


LENGTHS = {  # pictures, steps, shares of them after which step sizes drop
    "table5-flip": (49_000, 30_000, (2 / 3, 5 / 6)),
    "table5-uniform": (49_000, 20_000, (0.9, 0.95)),
    "waterbirds": (4_795, 90_000, (1, 1)),
    "waterbirds-lisa": (4_795, 1_200, (1, 1)),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths_are_those_of_the_sources_in_steps(name, without_weights):
    pictures, steps, drops = LENGTHS[name]
    config = make_config(SHARD, preset=read_preset(name))
    each = steps_per_epoch(pictures, config.batches.batch_size)
    assert config.run.epochs * each == pytest.approx(steps, rel=0.01)
    rates = [rate_factor(config.sgd, epoch, config.run.epochs) for epoch in range(config.run.epochs)]
    first, second = rates.count(1.0), config.run.epochs - sum(rate < 0.05 for rate in rates)
    assert (first / config.run.epochs, second / config.run.epochs) == pytest.approx(drops, abs=0.02)
    assert rates == sorted(rates, reverse=True)


def test_the_papers_settings_of_noise(without_weights):
    flip, uniform = (make_config(SHARD, preset=read_preset(f"table5-{name}")) for name in ("flip", "uniform"))
    assert (flip.model.model, flip.sgd.weight_decay) == ("resnet32", 1e-4)
    assert (uniform.model.model, uniform.sgd.weight_decay) == ("wrn-28-10", 5e-4)
    assert {(config.sgd.lr, config.batches.batch_size) for config in (flip, uniform)} == {(0.1, 128)}


@pytest.mark.parametrize(
    ("name", "of_lr"), [("table5-flip", 1), ("table5-uniform", 1), ("waterbirds", 0.1), ("cifar-lt", 1)]
)
def test_what_the_cpu_presets_cut(name, of_lr, without_weights):
    paper, cpu = (make_config(SHARD, preset=read_preset(which)) for which in (name, f"{name}-cpu"))
    assert cpu.run.epochs <= paper.run.epochs / 3
    assert cpu.sgd.lr == of_lr * paper.sgd.lr
    assert (cpu.batches.batch_size, cpu.sgd.weight_decay) == (paper.batches.batch_size, paper.sgd.weight_decay)
    assert cpu.model.model != paper.model.model


def test_presets_of_the_generalised_long_tail(without_weights):
    for name in ("table7-clt", "table7-glt", "table7-alt", "table8-clt", "table8-glt", "table8-alt"):
        config = make_config(SHARD, preset=read_preset(name))
        assert config.model.model == "torchvision:resnext50_32x4d"
        assert (config.run.epochs, config.batches.batch_size) == (100, 256)
        assert (config.sgd.lr, config.sgd.momentum) == (0.1, 0.9)
        assert (config.sgd.weight_decay, config.sgd.schedule) == (5e-4, "cosine")
        assert config.batches.transform == {"7": "wide-crop-flip", "8": "half-crop-flip"}[name[5]]
    assert rate_factor(config.sgd, 50, 100) == pytest.approx(0.5)


@pytest.mark.parametrize("name", names())
def test_what_presets_have_for_one_method_is_valid(name, without_weights):
    for method in load_preset(name).methods:
        assert method in METHODS
        settings = read_method(name, method)
        config = make_config({**SHARD, "method": method}, preset=read_preset(name), of_method=settings)
        assert {key: config.flat()[key] for key in settings} == settings


def test_settings_of_one_method_by_the_sources(without_weights):
    def options(preset, method):
        given = {**SHARD, "method": method}
        config = make_config(given, preset=read_preset(preset), of_method=read_method(preset, method))
        return config.as_json()["options"]

    assert options("table2-cifar10-100", "lpl") == options("glt", "lpl") == {}
    own = {"head": 0.27, "steps": 50, "head_steps": 0.2, "rate": 0.2, "prior": True}
    assert options("table2-cifar100-100", "lpl") == options("table2-cifar100-100-cpu", "lpl") == own
    assert options("table2-cifar100-10", "lpl") == {"head": 0.4, "steps": 40, "head_steps": 0.2, "rate": 0.01}
    assert options("table2-cifar100-10", "mwn") == options("cifar-lt-cpu", "mwn") == {"normaliser": "sum_w"}
    assert options("table5-flip", "mwn") == {}
    assert options("table7-clt", "isda") == {"strength": 7.5, "covariance": "diag"}
    alphas = [options(f"table{k}-{name}", "tde") for k in (7, 8) for name in ("clt", "glt", "alt")]
    assert [own["alpha"] for own in alphas] == [2, 2, 0, 1, 1, 0]
    assert {own["decay"] for own in alphas} == {0.995}
    for method in ("crt", "lws"):
        assert options("table7-glt", method) == options("table8-alt", method) == {"sampler": "class-aware"}
        assert options("table7-glt-cpu", method) == options("table2-cifar10-100", method) == {}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_for_its_own_shards_alone(name):
    for other, (dataset, settings) in COLUMNS.items():
        if (dataset, settings) == COLUMNS[name]:
            check_shard(name, dataset, settings | {"size": 32})
            continue
        with pytest.raises(UsageError) as error:
            check_shard(name, dataset, settings)
        assert str(error.value).startswith(f"preset {name} needs a shard of {COLUMNS[name][0]}")
        assert other in str(error.value), "it names one that fits"
        assert "\n" not in str(error.value)


def test_every_column_for_two_cores_fits_something_that_two_cores_hold():
    for name in COLUMNS:
        found = [d for d in ("cifar10", "cifar100", "generated-glt", "generated-cbl")
                 if fits(load_preset(f"{name}-cpu").data, d, COLUMNS[name][1])]  # fmt: skip
        assert found == ([COLUMNS[name][0]] if "cifar" in name else [f"generated-{COLUMNS[name][0][-3:]}"])
