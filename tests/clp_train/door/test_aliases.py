"""The field's usual names of settings, for --set and TOML presets; an alias and its name both given is refused."""

import pytest

from clp_aug.contract.errors import UsageError
from clp_train.config import ROOMS, settings_of
from clp_train.methods import METHODS
from clp_train.methods.known import KNOWN
from clp_train.presets import load_preset
from clp_train.presets.aliases import ALIASES, INSTEAD, texts_with_stored_names
from tests.clp_train.door.calling import call

VALUES = {
    "lr": "0.25", "head_lr": "0.25", "omega_lr": "0.25", "schedule": "cosine", "warmup_epochs": "3",
    "optimiser": "adamw", "weight_decay": "0.25", "batch_size": "7", "meta_batch_size": "7", "epochs": "7",
    "patience": "7", "workers": "7", "model": "resnet20", "transform": "none", "freeze_batch_norm": "true", "seed": "7",
    "out": "there", "root": "there", "meta": "other.h5",
}  # fmt: skip


def test_an_alias_is_the_name_of_no_setting():
    known = {name for settings in KNOWN.values() for name in settings} | set(settings_of("clp"))
    assert not known & set(ALIASES)
    assert set(ALIASES.values()) <= set(settings_of("clp"))
    assert set(METHODS) >= set(KNOWN)
    assert "data" in ROOMS


@pytest.mark.parametrize("alias", ALIASES)
def test_set_takes_the_usual_name(alias, told):
    name = ALIASES[alias]
    more = ["--lr", "0.01"] if name == "optimiser" else []
    shard = [] if name == "meta" else ["--meta", "x.h5"]
    call(*shard, "--preset", "none", *more, "--set", f"{alias}={VALUES[name]}")
    assert str(told[0].flat()[name]).lower() == VALUES[name]


@pytest.mark.parametrize("alias", ALIASES)
def test_a_preset_takes_the_usual_name(alias, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(f"[settings]\n{alias} = 3\n[methods.erm]\n{alias} = 4\n", encoding="utf-8")
    preset = load_preset(str(path))
    assert preset.settings == {ALIASES[alias]: 3}
    assert preset.methods == {"erm": {ALIASES[alias]: 4}}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--set", "learning_rate=1", "--set", "lr=1"],
            "--set: learning_rate and lr are two names of one setting, lr; give one of them",
        ),
        (
            ["--set", "num_epochs=1", "--set", "max_epochs=1"],
            "--set: num_epochs and max_epochs are two names of one setting, epochs; give one of them",
        ),
        (
            ["--lr", "0.1", "--set", "learning_rate=1"],
            "command line: --lr and --set learning_rate are two names of one setting, lr; give one of them",
        ),
    ],
)
def test_an_alias_beside_its_name_is_refused(words, line):
    done = call("--meta", "x.h5", "--preset", "none", *words)
    assert (done.exit_code, done.stderr) == (2, f"error: {line}\n")


def test_an_alias_beside_its_name_is_refused_in_a_preset(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[settings]\nlr = 1\nlearning_rate = 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="lr and learning_rate are two names of one setting, lr; give one of them"):
        load_preset(str(path))


def test_the_command_line_counts_before_a_preset_whatever_the_names(tmp_path, told):
    path = tmp_path / "mine.toml"
    path.write_text("[settings]\nlearning_rate = 0.5\n", encoding="utf-8")
    call("--meta", "x.h5", "--preset", path, "--set", "step_size=0.25")
    assert told[0].sgd.lr == 0.25


def test_a_plug_in_keeps_its_own_names():
    assert texts_with_stored_names(["a=b=c", "bs=3=4"], {}) == ("a=b=c", "batch_size=3=4")
    assert texts_with_stored_names(["a"], {"lr": 1}) == ("a",)


@pytest.mark.parametrize("option", ["--learning-rate", "--num-epochs", "--optimizer"])
def test_an_option_of_the_usual_name_is_pointed_to(option):
    done = call(option, "3")
    assert done.exit_code == 2
    assert f"No such option '{option}'. Did you mean '{INSTEAD[option]}'?" in done.stderr
