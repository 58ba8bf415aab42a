"""Every row of Tables 2, 7 and 8: in the registry, with an oracle, valid with its columns' presets; what it keeps."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_train.config import make_config
from clp_train.methods import METHODS
from clp_train.models.heads import make_head
from clp_train.presets import read_method, read_preset
from clp_train.running import loop
from clp_train.running.assembly import assemble
from tests.clp_train.builders import build, config_of, generator, method_of, table_of, train
from tests.clp_train.methods.head_alone import HeadAlone
from tests.clp_train.methods.shared_cases import oracles
from tests.clp_train.methods.subpop_cases import small_run
from tests.clp_train.resuming import Killed, assert_same, killable, short

DOCS = (Path(__file__).parents[3] / "docs" / "reference" / "methods.md").read_text("utf-8")
ORACLES = ()  # nothing by hand here: this is about all of them

TABLE2 = {
    "Class-Balanced CE loss": "cb-ce", "Class-Balanced Fine-Tuning": "cb-fine-tune", "Meta-Weight-Net": "mwn",
    "Focal loss": "focal", "Class-Balanced Focal loss": "cb-focal", "LDAM": "ldam", "LDAM-DRW": "ldam-drw",
    "ISDA": "isda", "LA": "logit-adjust", "MetaSAug": "metasaug", "ALA": "ala", "LPL": "lpl", "CSA": "csa",
    "Meta-LP": "meta-lp", "CLP": "clp",
}  # fmt: skip
TABLES7_AND_8 = {
    "CE loss": "erm", "cRT": "crt", "LWS": "lws", "De-confound-TDE": "tde", "BLSoftmax": "balanced-softmax",
    "LA": "la-posthoc", "LDAM": "ldam-drw", "IFL": "ifl", "RandAug": "rand-aug", "ISDA": "isda", "RISDA": "risda",
    "MetaSAug": "metasaug", "CSA": "csa", "Meta-LP": "meta-lp", "CLP": "clp",
}  # fmt: skip
"""The benchmark adjusts logits afterwards: its LA is its CE where classes are equal. Its LDAM has deferred weights."""
NAMES = sorted({*TABLE2.values(), *TABLES7_AND_8.values()})

COLUMNS = {  # preset -> classes, features of its network
    **{f"table2-cifar{classes}-{ratio}{cpu}": (classes, 64)
       for classes in (10, 100) for ratio in (100, 10) for cpu in ("", "-cpu")},
    **{f"table7-{name}": (1000, 2048) for name in ("clt", "glt", "alt")},
    **{f"table8-{name}": (29, 2048) for name in ("clt", "glt", "alt")},
    **{f"table{k}-{name}-cpu": (20, 64) for k in (7, 8) for name in ("clt", "glt", "alt")},
}  # fmt: skip

EARLY = {  # what otherwise begins only when a run as short as these is over
    "metasaug": {"start": 0.3},
    "risda": {"start": 0.3},
    "ifl": {"first": 0.3, "second": 0.6, "first_pull": 0.01},
    "csa": {"start": 0.0, "confidence": 0.2},
    "ldam-drw": {"start": 0.3},
}
REMEMBER = {"clp", "csa", "ifl", "isda", "meta-lp", "metasaug", "mwn", "risda"}  # beside the network's own weights

REFUSING = {"ala", "cb-ce", "cb-focal", "la-posthoc", "ldam", "ldam-drw", "lpl", "metasaug", "risda"}  # an empty class


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_registered_with_source_oracle_and_a_line_in_the_docs(name):
    assert METHODS[name].source
    assert name in oracles()
    assert f"| `{name}` | {METHODS[name].source} |" in DOCS


@pytest.mark.parametrize("preset", COLUMNS)
def test_every_row_can_start_with_the_preset_of_every_column(preset, monkeypatch):
    monkeypatch.setattr("clp_train.models.settings.check_model", lambda name: None)  # weights may not be here
    classes, features = COLUMNS[preset]
    table = table_of(torch.arange(classes).repeat_interleave(2))
    for name in set((TABLE2 if "table2" in preset else TABLES7_AND_8).values()):
        named = {"meta": Path("x.h5"), "method": name}
        config = make_config(named, preset=read_preset(preset), of_method=read_method(preset, name))
        method = build(config, table)
        head = make_head(method.head, features, classes, generator(0))
        for stage in range(len(method.stages)):
            method.enter(stage, HeadAlone(head))


@pytest.fixture(scope="module")
def run(demo_shard):
    """80 pictures of two classes; every method reads the same."""
    return small_run(config_of(meta=demo_shard, method="erm"))


def early(shard, folder, name, **change):
    """Return the configuration of a short run in which all parts of the method come to work."""
    return short(shard, folder, method=name, options=EARLY.get(name), checkpoint_interval=10, **change)


@pytest.mark.parametrize("name", sorted(REMEMBER))
def test_a_resumed_run_needs_all_that_a_method_remembers(run, demo_shard, tmp_path, monkeypatch, name):
    """Killed in the last epoch, when all parts of the method are at work: with its state the same run, else another."""
    whole = killable(early(demo_shard, tmp_path / "whole", name), run)
    killed, forgetful = (early(demo_shard, tmp_path / folder, name) for folder in ("killed", "forgetful"))
    with pytest.raises(Killed):
        killable(killed, run, 11)  # of twelve steps; saved after the tenth
    shutil.copytree(killed.folder, forgetful.folder)
    assert_same(killable(killed, run, resume=True), whole)
    kind = type(method_of(name, table_of([0, 1])))
    monkeypatch.setattr(kind, "load_state_dict", lambda self, state: None)
    with pytest.raises((AssertionError, ValueError)):  # another run, or none without what is lacking
        assert_same(killable(forgetful, run, resume=True), whole)


@pytest.mark.parametrize("name", sorted({*NAMES} - REMEMBER))
def test_the_others_remember_nothing(run, demo_shard, tmp_path, name):
    assembly = assemble(early(demo_shard, tmp_path, name, epochs=epochs_of(name), batch_size=40), run)
    loop.train(assembly)
    assert assembly.method.state_dict() == {}


def epochs_of(name):
    """Few, and one at least for a stage of a tenth of the run."""
    return 5 if "stages" in METHODS[name].needs else 3


def trained(shard, run, name, left):
    """Return what a short run leaves whose second class has so many training pictures left."""
    rows = torch.cat([(run.train.label == 0).nonzero()[:, 0], (run.train.label == 1).nonzero()[:left, 0]])
    config = config_of(
        name, shard, EARLY.get(name), epochs=epochs_of(name), batch_size=20, lr=0.02, saliency_interval=9
    )
    return train(config, replace(run, train=run.train.take(rows)))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_with_a_single_picture_is_learnt_from(run, demo_shard, name):
    result = trained(demo_shard, run, name, 1)
    assert all(line["train_loss"] < 50 for line in result.history)
    assert all(value.isfinite().all() for value in result.last.state.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_pictures_is_refused_in_one_line_or_does_no_harm(run, demo_shard, name):
    if name in REFUSING:
        message = rf"^method = {name}: no training picture of class [a-z]+; expected at least one of each class; .*$"
        with pytest.raises(UsageError, match=message):
            trained(demo_shard, run, name, 0)
        return
    result = trained(demo_shard, run, name, 0)
    assert all(line["train_loss"] < 50 for line in result.history)
    assert all(value.isfinite().all() for value in result.last.state.values())
