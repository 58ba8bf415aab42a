"""What result.json and checkpoints say of a run's settings is what they said before settings had rooms.

Expected records were written by the version before that, commit 3dc813d, from the same command lines.
"""

import json
from types import SimpleNamespace

import pytest

from clp_train import run_folder
from clp_train.config import RECORD
from tests.clp_train.door.calling import call

PLAIN = {
    "meta": "x.h5", "method": "clp", "root": None, "model": "resnet8", "epochs": 30, "batch_size": 100,
    "meta_batch_size": None, "lr": 0.1, "head_lr": None, "schedule": "steps", "first_drop": 0.6, "second_drop": 0.8,
    "momentum": 0.9, "weight_decay": 0.0005, "omega_lr": 0.001, "omega_form": "full", "omega_start": "zero",
    "meta_delta": "none", "meta_step": "exact", "meta_scope": "all", "meta_batch_norm": "batch", "meta_interval": 1,
    "hypergradient": "central", "virtual_momentum": False, "saliency_lambda": 0.2, "saliency_target": "probability",
    "saliency_scale": "mean", "saliency_relative": False, "saliency_on": "both", "saliency_interval": 1,
    "saliency_subset": 1.0, "freeze_batch_norm": False, "trainable": "all", "online": "none", "online_epsilon": 0.5,
    "watch_test": False, "transform": "pad-crop-flip", "checkpoint_interval": 100, "seed": 0, "out": None,
    "cache": None, "limit": None, "export": False, "preset": None, "device": "auto",
    "precision": "float32", "store": "auto", "workers": None, "options": {},
}  # fmt: skip
MINE = """
[settings]
epochs = 3
lr = 1
momentum = 0.5
omega_lr = 1
omega_form = "bounded"
saliency_lambda = 0
saliency_interval = 7
meta_step = "lagged"
watch_test = true
root = "birds"
[methods.isda]
strength = 2
"""
OF_MINE = {
    "root": "birds", "epochs": 3, "lr": 1.0, "momentum": 0.5, "omega_lr": 1.0, "omega_form": "bounded",
    "meta_step": "lagged", "saliency_lambda": 0.0, "saliency_interval": 7, "watch_test": True, "preset": "mine.toml",
}  # fmt: skip
RECORDS = {  # arguments -> what differs from PLAIN
    "": {},
    "--meta a/b.h5 --method erm --preset cifar-lt-cpu --epochs 2": {
        "meta": "a/b.h5", "method": "erm", "epochs": 2, "saliency_interval": 5, "preset": "cifar-lt-cpu",
    },
    "--method meta-lp --preset cifar-lt-cpu --omega-lr 0.01 --meta-delta paper": {
        "method": "meta-lp", "epochs": 20, "omega_lr": 0.01, "meta_delta": "paper", "saliency_interval": 5,
        "preset": "cifar-lt-cpu", "options": {"batches": "class", "omega_schedule": "network"},
    },
    "--method mwn --preset cifar-lt-cpu --set omega_lr=3e-4 --seed 3 --out r --cache c --limit 40 --export": {
        "method": "mwn", "epochs": 20, "omega_lr": 0.0003, "saliency_interval": 5, "seed": 3, "out": "r", "cache": "c",
        "limit": 40, "export": True, "preset": "cifar-lt-cpu", "options": {"normaliser": "sum_w"},
    },
    "--method group-dro --preset glt-cpu --set eta=0.1 --set head_lr=0.3 --schedule constant": {
        "method": "group-dro", "head_lr": 0.3, "schedule": "constant", "saliency_interval": 10,
        "transform": "resize-crop-flip", "preset": "glt-cpu", "options": {"eta": 0.1},
    },
    "--method isda --preset glt-cpu --set trainable=head --root pictures": {
        "method": "isda", "root": "pictures", "schedule": "cosine", "saliency_interval": 10, "trainable": "head",
        "transform": "resize-crop-flip", "preset": "glt-cpu",
    },
    "--set leave_out=3 --set omega_start=background --set online=fgsm --set online_epsilon=0.25": {
        "omega_start": "background", "online": "fgsm", "online_epsilon": 0.25, "options": {"leave_out": 3},
    },
    "--method erm --preset mine.toml": {"method": "erm", **OF_MINE},
    "--method isda --preset mine.toml --batch-size 20": {
        "method": "isda", **OF_MINE, "batch_size": 20, "options": {"strength": 2.0},
    },
    "--method clp --preset mine.toml --set saliency_subset=0.5 --meta-batch-size 12": {
        **OF_MINE, "meta_batch_size": 12, "saliency_subset": 0.5,
    },
    "--set method=ldam-drw --preset mine.toml --set start=0.7 --set checkpoint_interval=2": {
        "method": "ldam-drw", **OF_MINE, "checkpoint_interval": 2, "options": {"start": 0.7},
    },
}  # fmt: skip


@pytest.fixture
def config(request, told, tmp_path, monkeypatch):
    """The configuration of a command line that may name the preset mine.toml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(MINE)
    call("--meta", "x.h5", *request.param.split())
    return told[0]


@pytest.mark.parametrize(("config", "differs"), RECORDS.items(), indirect=["config"])
def test_the_record_is_as_before_settings_had_rooms(config, differs):
    record = config.as_json()
    assert json.dumps(record) == json.dumps(PLAIN | differs), "types and order, too"
    assert list(record) == [*RECORD, "options"]


@pytest.mark.parametrize(("config", "differs"), RECORDS.items(), indirect=["config"])
def test_the_key_of_a_checkpoint_is_as_before_and_knows_the_pictures(config, differs, monkeypatch):
    monkeypatch.setattr(run_folder, "digest_of_pictures", lambda data: "p")
    data = SimpleNamespace(header=SimpleNamespace(fingerprint="f"), digest="d")
    checkpoint = run_folder.checkpoint_of(config.folder, config.as_json(), data)
    of_run = ("meta", "root", "out", "cache", "export", "preset", "device", "store", "workers")
    expected = {name: value for name, value in (PLAIN | differs).items() if name not in of_run}
    expected |= {"fingerprint": "f", "shard": "d", "pictures": "p"}
    assert json.dumps(checkpoint.key) == json.dumps(expected)
    assert checkpoint.path == config.folder / "checkpoint.safetensors"


@pytest.mark.parametrize(("config", "differs"), RECORDS.items(), indirect=["config"])
def test_a_settings_file_of_the_record_is_the_same_run(config, differs, told, tmp_path):
    """What is null is not there: a default is None wherever None is possible."""
    record = config.as_json()
    options = record.pop("options")
    tables = {"settings": record, f"methods.{config.method}": options}
    lines = [f"[{title}]\n" + "".join(map(line_of, table.items())) for title, table in tables.items()]
    (tmp_path / "again.toml").write_text("\n".join(lines))
    call("--preset", "again.toml")
    again = told[1].as_json()
    assert json.dumps(again) == json.dumps(PLAIN | differs | {"preset": "again.toml"})


def line_of(entry):
    """Return a setting as TOML has it; nothing for null."""
    name, value = entry
    return "" if value is None else f"{name} = {json.dumps(value)}\n"
