"""Presets from files and from the command line: a broken one is one line, and what is typed later counts more."""

import json
import re
from pathlib import Path

import pytest

from clp_aug.contract.errors import InputError, UsageError
from clp_train.algorithm.settings import SgdSettings
from clp_train.config import make_config
from clp_train.presets import NO_PRESET, check_shard, load_preset, names, read_method, read_preset
from tests.clp_train.builders import config_of
from tests.clp_train.door.calling import call

SHARD = {"meta": Path("x.h5")}


def preset(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_file_of_the_users(tmp_path):
    path = preset(tmp_path, '# of ours\n[settings]\nepochs = 3\nlr = 1\nwatch_test = true\nroot = "birds"\nlimit = 9\n')
    config = make_config(SHARD, preset=read_preset(str(path)))
    assert (config.run.epochs, config.sgd.lr, config.run.watch_test) == (3, 1.0, True)
    assert (config.data.root, config.data.limit) == (Path("birds"), 9)
    assert type(config.sgd.lr) is float


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(UsageError) as error:
        read_preset("cifar")
    listed = ", ".join(names())
    assert "cifar-lt, cifar-lt-cpu, cifar-lt-literal, demo, glt, " in listed
    assert str(error.value) == (
        f"unknown preset 'cifar': did you mean cifar-lt? choose one of {listed}, or a file that ends in .toml"
    )


@pytest.mark.parametrize("name", ["", "../presets/cifar-lt", "waterbirds/", "Waterbirds"])
def test_a_name_is_no_path(name):
    with pytest.raises(UsageError, match="unknown preset"):
        read_preset(name)


BROKEN = {
    "broken": ("[settings\nepochs = 3\n", 3, "error: preset {path}: not TOML (Expected "),
    "no text": (b"\xff\xfe\x00", 3, "error: preset {path}: not TOML ("),
    "no settings": ("epochs = 3\n", 3, "error: preset {path}: expected a table [settings] of key = value lines"),
    "no table": ("settings = 3\n", 3, "error: preset {path}: expected a table [settings] of key = value lines"),
    "word": ('[settings]\nepochs = "many"\n', 2, "error: --epochs many: expected a whole number\n"),
    "fraction": ("[settings]\nepochs = 2.5\n", 2, "error: --epochs 2.5: expected a whole number\n"),
    "truth": ("[settings]\nepochs = true\n", 2, "error: --epochs true: expected a whole number\n"),
    "number": (
        "[settings]\nfreeze_batch_norm = 1\n",
        2,
        "error: --set freeze_batch_norm=1: expected true or false\n",
    ),
    "list": ("[settings]\nlr = [0.1]\n", 2, "error: --lr [0.1]: expected a number\n"),
    "no name": ("[settings]\nmodel = 8\n", 2, "error: --model 8: expected a name\n"),
    "no path": ("[settings]\nroot = 8\n", 2, "error: --root 8: expected a path\n"),
    "unknown key": (
        "[settings]\nspeed = 3\n",
        2,
        "error: unknown setting 'speed': did you mean seed? clp-train --list-settings lists all\n",
    ),
    "out of range": ("[settings]\nepochs = 0\n", 2, "error: --epochs 0: expected a whole number >= 1"),
    "data": (
        "[settings]\n[data]\nimbalance = 3\n",
        3,
        "error: preset {path}: expected a table [data] with dataset = [",
    ),
    "data set": ("data = 3\n[settings]\n", 3, "error: preset {path}: expected a table [data] with dataset = ["),
    "names": (
        '[settings]\n[data]\ndataset = "cifar10"\n',
        3,
        "error: preset {path}: expected a table [data] with data",
    ),
    "methods": (
        "[settings]\n[methods]\nerm = 3\n",
        3,
        "error: preset {path}: expected tables [methods.NAME] of key = value lines",
    ),
    "unknown method": (
        "[settings]\n[methods.isdaa]\nlr = 1\n",
        2,
        "error: unknown method of preset {path} 'isdaa': did you mean isda? choose one of ace, afr, ala, apl, ",
    ),
    "extends": (
        'extends = "mine"\n',
        3,
        "error: preset {path}: extends 'mine'; expected a shipped preset that extends n",
    ),
    "extends twice": ('extends = "table7-alt"\n', 3, "error: preset {path}: extends 'table7-alt'; expected a shipped"),
    "unknown choice": (
        '[settings]\nschedule = "x"\n',
        2,
        "error: --schedule x: expected one of steps, constant, cosine\n",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_with_a_file_is_one_line(what, tmp_path, told):
    text, code, message = BROKEN[what]
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = call("--meta", "x.h5", "--preset", path)
    assert result.exit_code == code
    assert result.stderr.startswith(message.format(path=path))
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert told == []


def test_missing_files(tmp_path, told):
    for path, why in (
        (tmp_path / "no.toml", "No such file or directory"),
        (tmp_path / "folder.toml", "Is a directory"),
    ):
        if why == "Is a directory":
            path.mkdir()
        with pytest.raises(InputError):
            read_preset(str(path))
        result = call("--meta", "x.h5", "--preset", path)
        assert (result.exit_code, result.stderr) == (3, f"error: cannot read preset {path} ({why})\n")


def test_the_command_line_beats_the_preset_and_set_beats_both(tmp_path, told):
    path = preset(tmp_path, "[settings]\nepochs = 3\nlr = 0.3\nbatch_size = 30\nomega_lr = 0.03\n")
    call(
        "--meta", "x.h5", "--preset", path, "--lr", 0.4, "--batch-size", 40, "--set", "batch_size=50", "--set", "seed=7"
    )
    (config,) = told
    assert (config.run.epochs, config.sgd.lr, config.batches.batch_size) == (3, 0.4, 50)
    assert (config.options.omega_lr, config.run.seed) == (0.03, 7)
    assert config.sgd.weight_decay == config_of(**SHARD).sgd.weight_decay


def test_what_is_of_another_method_alone_is_not_left_out_silently(tmp_path, told):
    path = preset(tmp_path, "[settings]\nlr = 0.3\nleave_out = 2\nomega_lr = 0.03\n")
    result = call("--meta", "x.h5", "--preset", path, "--method", "erm")
    assert result.stderr.splitlines()[0] == (f"preset {path}: leave_out is not a setting of erm; it was left out"), (
        "what results record of any method is told of nowhere"
    )
    assert "left out" not in call("--meta", "x.h5", "--preset", path).stderr
    assert [config.as_json()["options"] for config in told] == [{}, {"leave_out": 2}]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("method", ["erm", "clp", "lisa"])
def test_shipped_presets_leave_nothing_out(name, method, told):
    assert "left out" not in call("--meta", "x.h5", "--preset", name, "--method", method).stderr
    assert told


def test_a_shipped_preset_from_the_command_line(told):
    call("--meta", "x.h5", "--preset", "cifar-lt-cpu", "--epochs", 2)
    (config,) = told
    assert (config.model.model, config.run.epochs, config.batches.batch_size) == ("resnet8", 2, 100)
    assert config.saliency.saliency_interval == 5


def test_a_default_that_is_typed_beats_the_preset_too(tmp_path, told):
    path = preset(tmp_path, "[settings]\nlr = 0.3\nseed = 4\n")
    call("--meta", "x.h5", "--preset", path, "--lr", SgdSettings.lr, "--seed", 0)
    assert (told[0].sgd.lr, told[0].run.seed) == (SgdSettings.lr, 0)


def test_the_shard_may_stand_in_the_preset_and_must_stand_somewhere(tmp_path, told):
    path = preset(tmp_path, '[settings]\nmeta = "here.h5"\n')
    call("--preset", path)
    assert told[0].data.meta == Path("here.h5")
    result = call("--preset", "cifar-lt-cpu")
    assert (result.exit_code, result.stderr) == (
        2, "error: no shard: give --meta FILE, one that clp-augment wrote\n"
    )  # fmt: skip


def test_a_preset_has_the_settings_of_what_it_extends_and_its_own(tmp_path):
    assert read_preset("table2-cifar10-10") == read_preset("cifar-lt") | {"preset": "table2-cifar10-10"}
    path = preset(tmp_path, 'extends = "cifar-lt"\n[settings]\nepochs = 7\n')
    assert read_preset(str(path)) == read_preset("cifar-lt") | {"epochs": 7, "preset": str(path)}
    assert load_preset(str(path)).data == load_preset("cifar-lt").data


def test_settings_of_one_method_count_for_it_alone_and_less_than_what_is_typed(tmp_path, told):
    path = preset(tmp_path, "[settings]\nlr = 0.3\n[methods.isda]\nlr = 0.2\nstrength = 2\n")
    call("--meta", "x.h5", "--preset", path, "--method", "erm")
    call("--meta", "x.h5", "--preset", path, "--method", "isda")
    call("--meta", "x.h5", "--preset", path, "--set", "method=isda", "--set", "strength=3", "--lr", 0.5)
    assert [(config.method, config.sgd.lr, config.as_json()["options"]) for config in told] == [
        ("erm", 0.3, {}),
        ("isda", 0.2, {"strength": 2.0}),
        ("isda", 0.5, {"strength": 3.0}),
    ]


def test_settings_of_one_method_add_to_those_of_the_preset_below(tmp_path):
    path = preset(tmp_path, 'extends = "glt"\n[methods.isda]\nstrength = 1.5\n[methods.erm]\nlr = 0.2\n')
    assert read_method(str(path), "isda") == {"strength": 1.5, "covariance": "diag"}
    assert read_method(str(path), "erm") == {"lr": 0.2}
    assert read_method(str(path), "tde") == read_method("glt", "tde")
    assert read_method(str(path), "focal") == {}


def test_another_data_set_is_refused_in_one_line(demo_shard, tmp_path):
    result = call("--meta", demo_shard, "--preset", "table2-cifar10-100-cpu", "--out", tmp_path / "r", "--quiet")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: preset table2-cifar10-100-cpu needs a shard of cifar10, imbalance 100; this one is of demo, imbalance"
        " None: take demo\n"
    )


def test_where_no_shipped_preset_fits_the_remedy_is_none():
    with pytest.raises(UsageError, match=f"{re.escape(NO_PRESET)}$"):
        check_shard("waterbirds", "folder", {})


def test_a_preset_of_the_users_that_is_for_any_shard_runs_and_is_noted(demo_shard, tmp_path):
    path = preset(tmp_path, "[settings]\nepochs = 1\nbatch_size = 40\n")
    out = tmp_path / "r"
    result = call("--meta", demo_shard, "--preset", path, "--method", "erm", "--out", out, "--quiet", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["config"]["preset"] == str(path)
    path.write_text('[settings]\nepochs = 1\n[data]\ndataset = ["waterbirds"]\n')
    refused = call("--meta", demo_shard, "--preset", path, "--method", "erm", "--out", tmp_path / "s", "--quiet")
    assert refused.stderr.startswith(
        f"error: preset {path} needs a shard of waterbirds; this one is of demo: take demo\n"
    )


def test_own_settings_count_before_what_the_base_has_for_a_method(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "waterbirds-probe"\n[settings]\nomega_lr = 1e-2\n[methods.meta-lp]\nomega_lr = 5e-3\n')
    assert read_method("waterbirds-probe", "clp") == {"omega_start": "background", "omega_lr": 3e-4}
    config = make_config({"meta": "x.h5"}, preset=read_preset(str(path)), of_method=read_method(str(path), "clp"))
    assert (config.options.omega_lr, config.options.omega_start) == (1e-2, "background")
    assert read_method(str(path), "meta-lp")["omega_lr"] == 5e-3
