"""Every row of Tables 5 and 6: registered, with an oracle, ready for its first step with the presets of its columns."""

import pytest
import torch

from clp_train.algorithm.stages import plan
from clp_train.config import make_config
from clp_train.methods import METHODS
from clp_train.presets import read_method, read_preset
from tests.clp_train.builders import build, table_of
from tests.clp_train.methods.shared_cases import oracles
from tests.clp_train.methods.subpop_cases import of_groups

ORACLES = ()
TABLE5 = (
    *("erm", "focal", "co-teaching", "apl", "mentornet", "l2rw", "glc", "mwn", "l-dmi", "jocor", "isda", "metasaug"),
    *("mfrw-mes", "meta-lp", "clp"),
)
TABLE6 = (
    *("uw", "irm", "ib-irm", "v-rex", "coral", "group-dro", "domain-mix", "lisa", "cnc", "ace", "pde", "meta-lp"),
    *("clp", "erm", "dfr", "uw-sample"),
)


@pytest.mark.parametrize("name", sorted({*TABLE5, *TABLE6}))
def test_it_is_registered_and_has_an_oracle(name):
    assert name in METHODS
    assert name in oracles()


def ready(preset, name, table, monkeypatch):
    """Build the method as a run would, and return its stages."""
    monkeypatch.setattr("clp_train.models.settings.check_model", lambda name: None)  # weights need not be here
    named = {"meta": "x.h5", "method": name}
    config = make_config(named, preset=read_preset(preset), of_method=read_method(preset, name))
    method = build(config, table)
    return plan(method.stages, config.run.epochs, config.run.trainable)


@pytest.mark.parametrize("scale", ["", "-cpu"])
@pytest.mark.parametrize(
    ("preset", "classes"),
    [("table5-flip", 10), ("table5-uniform", 10), ("table5-flip-cifar100", 100), ("table5-uniform-cifar100", 100)],
)
@pytest.mark.parametrize("name", TABLE5)
def test_the_columns_of_table_5(name, preset, classes, scale, monkeypatch):
    label = torch.arange(49_000) % classes
    table = table_of(label, meta_label=torch.arange(1000) % classes, wrong=0.4)
    assert ready(preset + scale, name, table, monkeypatch)


@pytest.mark.parametrize(
    ("preset", "counts"),
    [
        ("waterbirds", (3488, 174, 46, 1047)),  # ten of each group are meta pictures
        ("waterbirds-cpu", (1158, 51, 9, 342)),
        ("waterbirds-cpu", (1158, 51, 1, 342)),
    ],
)
@pytest.mark.parametrize("name", TABLE6)
def test_the_columns_of_table_6(name, preset, counts, monkeypatch):
    assert ready(preset, name, of_groups(counts)._replace(meta_label=torch.arange(40) % 2), monkeypatch)
