"""Named settings: those that ship are valid, a broken file is one line, and what is typed later counts more."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from clp_aug.contract.errors import InputError, UsageError
from clp_train import cli
from clp_train.config import TrainConfig, make_config
from clp_train.presets import names, read_preset

SHARD = {"meta": Path("x.h5")}


@pytest.fixture
def without_weights(monkeypatch):
    """A model may name a package of weights or a file that is not here; this is about the settings."""
    monkeypatch.setattr("clp_train.config.check_model", lambda name: None)


@pytest.fixture
def told(monkeypatch):
    """Return the configurations that clp-train was about to run."""
    configs = []

    def note(config, quiet, resume):
        configs.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", note)
    return configs


def call(*arguments):
    return CliRunner().invoke(cli.train, [str(a) for a in arguments])


def preset(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_the_presets_that_ship():
    assert names() == ("cifar-lt", "cifar-lt-cpu", "waterbirds", "waterbirds-cpu", "waterbirds-probe")


@pytest.mark.parametrize("name", names())
def test_every_one_is_a_valid_configuration(name, without_weights):
    settings = read_preset(name)
    config = make_config(settings, SHARD)
    assert isinstance(config, TrainConfig)
    assert {key: getattr(config, key) for key in settings} == settings
    assert not {"meta", "root", "out", "seed", "method"} & settings.keys()  # these belong to the run


def test_the_papers_settings(without_weights):
    cifar, birds = (make_config(read_preset(name), SHARD) for name in ("cifar-lt", "waterbirds"))
    assert (cifar.model, cifar.epochs, cifar.batch_size, cifar.lr, cifar.schedule) == (
        "resnet32",
        200,
        100,
        0.1,
        "steps",
    )
    assert (birds.model, birds.epochs, birds.batch_size, birds.lr) == ("torchvision:resnet50", 300, 16, 1e-3)
    assert (birds.schedule, birds.weight_decay) == ("constant", 1e-4)
    assert make_config(read_preset("waterbirds-probe"), SHARD).saliency_lambda == 0


def test_a_file_of_the_users(tmp_path):
    path = preset(tmp_path, '# of ours\n[settings]\nepochs = 3\nlr = 1\nwatch_test = true\nroot = "birds"\nlimit = 9\n')
    config = make_config(read_preset(str(path)), SHARD)
    assert (config.epochs, config.lr, config.watch_test, config.root, config.limit) == (3, 1.0, True, Path("birds"), 9)
    assert type(config.lr) is float


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(UsageError) as error:
        read_preset("cifar")
    assert str(error.value) == (
        "unknown preset 'cifar': choose one of cifar-lt, cifar-lt-cpu, waterbirds, waterbirds-cpu, waterbirds-probe,"
        " or a file that ends in .toml"
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
    "word": ('[settings]\nepochs = "many"\n', 2, "error: setting epochs = 'many': expected a whole number"),
    "fraction": ("[settings]\nepochs = 2.5\n", 2, "error: setting epochs = 2.5: expected a whole number"),
    "truth": ("[settings]\nepochs = true\n", 2, "error: setting epochs = True: expected a whole number"),
    "number": (
        "[settings]\nfreeze_batch_norm = 1\n",
        2,
        "error: setting freeze_batch_norm = 1: expected true or false",
    ),
    "list": ("[settings]\nlr = [0.1]\n", 2, "error: setting lr = [0.1]: expected a number"),
    "no name": ("[settings]\nmodel = 8\n", 2, "error: setting model = 8: expected a name"),
    "no path": ("[settings]\nroot = 8\n", 2, "error: setting root = 8: expected a path"),
    "unknown key": (
        "[settings]\nspeed = 3\n",
        2,
        "error: unknown setting 'speed': choose one of batch_size, cache, checkpoint",
    ),
    "out of range": ("[settings]\nepochs = 0\n", 2, "error: --epochs 0: expected a whole number >= 1"),
    "unknown choice": (
        '[settings]\nschedule = "x"\n',
        2,
        "error: unknown --schedule 'x': choose one of constant, cosine",
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
    assert (config.epochs, config.lr, config.batch_size, config.omega_lr, config.seed) == (3, 0.4, 50, 0.03, 7)
    assert config.weight_decay == TrainConfig(**SHARD).weight_decay


def test_a_shipped_preset_from_the_command_line(told):
    call("--meta", "x.h5", "--preset", "cifar-lt-cpu", "--epochs", 2)
    (config,) = told
    assert (config.model, config.epochs, config.batch_size, config.saliency_interval) == ("resnet8", 2, 100, 5)


def test_a_default_that_is_typed_beats_the_preset_too(tmp_path, told):
    path = preset(tmp_path, "[settings]\nlr = 0.3\nseed = 4\n")
    call("--meta", "x.h5", "--preset", path, "--lr", TrainConfig.lr, "--seed", 0)
    assert (told[0].lr, told[0].seed) == (TrainConfig.lr, 0)


def test_the_shard_may_stand_in_the_preset_and_must_stand_somewhere(tmp_path, told):
    path = preset(tmp_path, '[settings]\nmeta = "here.h5"\n')
    call("--preset", path)
    assert told[0].meta == Path("here.h5")
    result = call("--preset", "cifar-lt-cpu")
    assert (result.exit_code, result.stderr) == (
        2, "error: no shard: give --meta FILE, one that clp-augment wrote\n"
    )  # fmt: skip
