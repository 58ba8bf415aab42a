"""clp-train --help: light, each option once with its default, and the same options as ever."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from clp_aug.common.settings import about, type_of
from clp_train import cli
from clp_train.config import option_names, owner_of
from clp_train.list_settings import default_of
from clp_train.models import NAMES
from clp_train.presets import names
from tests.clp_train.door.calling import call

BEFORE = {"--version", "--meta", "--method", "--preset", "--root", "--model", "--epochs", "--batch-size",
          "--meta-batch-size", "--lr", "--schedule", "--weight-decay", "--omega-lr", "--meta-delta",
          "--saliency-lambda", "--saliency-target", "--saliency-interval", "--seed", "--out", "--cache", "--limit",
          "--set", "--resume", "--export", "--list-methods", "--markdown", "--quiet", "--json", "--help"}  # fmt: skip
"""The options of clp-train before settings had rooms."""
DOORS = ("--dataset", "--optimiser", "--select", "--audit")
HEAVY = ("torch", "numpy", "h5py", "rich", "torchvision", "safetensors", "PIL", "cv2", "jinja2", "matplotlib", "email")


@pytest.fixture(scope="module")
def shown():
    """The help's text of each option, in its order."""
    text = call("--help").stdout
    found = re.findall(r"^  (?:-h, )?(--[a-z-]+)(?: [A-Z=\[\]]+)?(?:  +|\n +)((?:.*\n)(?: {10,}.*\n)*)", text, re.M)
    assert [option for option, _ in found] == re.findall(r"^  (?:-h, )?(--[a-z-]+)", text, re.M)
    return {option: whole(said) for option, said in found}


def whole(said):
    """Return a help text as one line, its names whole."""
    return " ".join(re.sub(r"(?<=[A-Za-z0-9])-\n +", "-", said).split())


LISTS = ("--list-settings", "--list-presets", "--list-models")
HEADINGS = ["Most used options", "Data", "Method", "Meta step", "Saliency term", "Run", "Output", "Lists and help"]


def test_the_options_are_those_there_were_and_the_lists(shown):
    assert shown.keys() == BEFORE | {"--device", "--precision", "--store", "--workers", *LISTS, *DOORS}
    declared = [option for param in cli.train.params for option in param.opts]
    assert len(declared) == len(set(declared))
    assert list(shown)[:4] == ["--meta", "--method", "--preset", "--root"], "what one needs first comes first"


def test_options_are_in_groups_and_the_first_group_is_short():
    text = call("--help").stdout
    assert re.findall(r"^(\w.*):$", text, re.M) == HEADINGS
    first = text.partition("Most used options:")[2].partition("\nData:")[0]
    assert 8 <= len(re.findall(r"^  --", first, re.M)) <= 12
    assert not any(f" {name}," in text for name in names() if name != "demo"), "--list-presets lists them"


def test_each_setting_has_its_help_its_choices_and_its_default(shown):
    for name, field in option_names().items():
        said, known = shown["--" + name.replace("_", "-")], about(field)
        if name == "preset":
            continue
        assert said.startswith(" ".join(known.help.split())), name
        assert all(choice in said for choice in known.choices), name
        if type_of(owner_of(name), name)[0] is bool:
            assert "[default" not in said, "a flag is off"
        else:
            default = default_of(field)
            assert said.endswith("[required]" if default == "required" else f"[default: {default}]"), name
            assert said.count("[") - said.count("NAME[") == 1, name


@pytest.mark.parametrize(
    ("option", "default"),
    [("--method", "clp"), ("--model", "resnet8"), ("--epochs", "30"), ("--batch-size", "100"), ("--lr", "0.1"),
     ("--schedule", "steps"), ("--weight-decay", "0.0005"), ("--omega-lr", "0.001"), ("--meta-delta", "none"),
     ("--saliency-lambda", "0.2"), ("--saliency-target", "probability"), ("--saliency-interval", "1"), ("--seed", "0"),
     ("--out", "runs/SHARD-METHOD-seedN"), ("--cache", "$CLP_CACHE, else memory")],
)  # fmt: skip
def test_defaults_that_the_help_has_always_told(shown, option, default):
    assert shown[option].endswith(f"[default: {default}]")


def test_presets_are_pointed_to_and_models_listed(shown):
    of_preset = "a name of --list-presets, a .toml file, or none. [default: what fits]"
    assert shown["--preset"] == f"Settings to start from: {of_preset}"
    assert f"Classifier: {', '.join(NAMES)}." in shown["--model"]


def test_settings_without_an_option_are_pointed_to(shown):
    assert shown["--set"] == "Any setting, e.g. meta_step=lagged; --list-settings lists them."
    assert shown["--list-settings"] == "Print every setting, or those of a method; train nothing."


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_it_loads_nothing_heavy(arguments):
    code = (
        "import sys; from clp_train.cli import train\n"
        f"try: train({arguments})\nexcept SystemExit: pass\n"
        f"print('LOADED', *sorted(set({HEAVY}) & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_as_short_as_it_was():
    """Longer texts are in --list-settings."""
    assert len(call("--help").stdout.splitlines()) <= 125


@pytest.mark.parametrize(
    ("variable", "options", "expected"),
    [(None, [], None), ("shared", [], Path("shared")), ("", [], None), ("shared", ["--cache", "own"], Path("own"))],
)
def test_the_cache_is_that_of_the_machine_where_none_is_given(variable, options, expected, monkeypatch):
    if variable is not None:
        monkeypatch.setenv("CLP_CACHE", variable)
    with cli.train.make_context("clp-train", ["--meta", "shard.h5", *options]) as context:
        assert context.params["cache"] == expected
