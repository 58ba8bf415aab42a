"""The default folder of a run says which settings are not the usual ones, and no more."""

import itertools
from pathlib import Path

import pytest

from clp_train.run_name import LONGEST
from tests.clp_train.door.calling import config_called


def name_of(*arguments):
    """Return the name of a run's default folder, without shard, method and seed."""
    folder = config_called("--meta", "shards/demo-tile-seed0.h5", *arguments).folder
    assert folder.parent == Path("runs")
    return folder.name.removeprefix("demo-tile-seed0-")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("", "clp-seed0"),
        ("--seed 3 --method erm", "erm-seed3"),
        ("--lr 0.1 --epochs 30 --set momentum=0.9", "clp-seed0"),
        ("--root p --cache c --export", "clp-seed0"),
        ("--set export=true --set method=erm", "erm-seed0"),
        ("--lr 0.05 --epochs 3", "clp-seed0-epochs3-lr0.05"),
        ("--epochs 3 --lr 5e-2", "clp-seed0-epochs3-lr0.05"),
        ("--set lr=0.05 --set watch_test=true --limit 40", "clp-seed0-lr0.05-watch_test-limit40"),
        ("--set meta_step=lagged --schedule cosine", "clp-seed0-schedule-cosine-meta_step-lagged"),
        ("--set leave_out=2 --omega-lr 1e-4", "clp-seed0-omega_lr0.0001-leave_out2"),
        ("--method focal --set form=sigmoid", "focal-seed0-form-sigmoid"),
        ("--preset waterbirds-cpu", "clp-seed0-waterbirds-cpu"),
        ("--preset waterbirds-cpu --lr 0.5", "clp-seed0-waterbirds-cpu-lr0.5"),
    ],
)
def test_what_it_says(given, name):
    assert name_of(*given.split()) == name


def test_the_settings_of_a_preset_are_not_named_again(tmp_path):
    from clp_train.presets import read_preset

    lr = read_preset("waterbirds-cpu")["lr"]
    assert name_of("--preset", "waterbirds-cpu", "--lr", lr) == "clp-seed0-waterbirds-cpu"


def test_those_of_a_file_are_named_one_by_one(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[settings]\nlr = 1\nepochs = 30\n[methods.clp]\nomega_start = "background"\n')
    assert name_of("--preset", path) == "clp-seed0-lr1.0-omega_start-background"
    assert name_of("--preset", path, "--lr", 0.1) == "clp-seed0-omega_start-background"


def test_text_that_no_file_name_can_have_is_told_apart_by_a_digest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for path in ("a/b.safetensors", "a_b.safetensors"):
        Path(path).write_text("")
    names = [name_of("--model", f"torchvision:resnet18@{path}") for path in ("a/b.safetensors", "a_b.safetensors")]
    assert len({*names}) == 2
    assert names[0].startswith("clp-seed0-model-torchvision_resnet18_a_b.safetensors-")
    assert name_of("--model", "torchvision:resnet18@a/b.safetensors") == names[0], "the same for the same"


def test_it_is_never_too_long():
    words = "epochs=7 batch_size=21 lr=0.123 momentum=0.51 weight_decay=0.00321 first_drop=0.31 second_drop=0.71 "
    texts = [*words.split(), "saliency_lambda=0.123", "omega_lr=0.00123", "checkpoint_interval=11", "limit=100"]
    names = [name_of(*itertools.chain(*(("--set", text) for text in texts[:n]))) for n in range(1, len(texts) + 1)]
    assert max(map(len, names)) <= len("clp-seed0") + LONGEST
    assert len({*names}) == len(texts), "another folder each"
    assert names[2] == "clp-seed0-epochs7-batch_size21-lr0.123"
