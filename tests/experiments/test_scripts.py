"""Every experiment loads and says how it is run; all settings that it trains with are ones that its methods take."""

import importlib
import sys
from pathlib import Path

import pytest

from clp_train.cli import config_of as config_of_command
from clp_train.cli import train
from experiments.backgrounds import demo_backgrounds
from experiments.boxes import boxes_matter
from experiments.common.searching import config_of
from experiments.long_tail import cifar_lt, diagnose_omega, search_cifar_lt
from experiments.waterbirds import search_waterbirds, search_waterbirds_tuned, waterbirds_like

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "experiments").glob("*/*.py"))
SCRIPTS = [f"experiments.{path.parent.name}.{path.stem}" for path in FILES if "def main()" in path.read_text()]
SEARCHES = {
    "waterbirds": (search_waterbirds.ROWS, search_waterbirds.PRESET, search_waterbirds.settings_of("root", "cache")),
    "waterbirds tuned": (search_waterbirds_tuned.ROWS, search_waterbirds_tuned.PRESET, {"root": "root"}),
    "cifar-lt": (search_cifar_lt.ROWS, search_cifar_lt.PRESET, search_cifar_lt.settings_of("root")),
    "backgrounds": (demo_backgrounds.ROWS, None, demo_backgrounds.SETTINGS),
}
TABLES = {
    "cifar-lt": cifar_lt.runs_of("root"),
    "boxes": boxes_matter.runs_of("root"),
    "probe": waterbirds_like.runs_of("probe", "root"),
    "tuned": waterbirds_like.runs_of("tuned", "root"),
}
SHARD = Path("shard.h5")


def test_no_experiment_patches_what_it_looks_at():
    for path in FILES:
        text = path.read_text()
        assert "unittest" not in text, path
        assert "sys.path" not in text, path


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_how_it_is_run(name, monkeypatch, capsys):
    script = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as left:
        script.main()
    assert left.value.code == 0
    assert f"python -m {name} " in capsys.readouterr().out


@pytest.mark.parametrize("name", SEARCHES)
def test_the_rows_of_a_search_are_settings_of_their_methods(name):
    rows, preset, settings = SEARCHES[name]
    for row in rows.values():
        flat = config_of(row.method, row.texts, preset, settings, SHARD, 1).flat()
        assert (flat["method"], flat["seed"], flat["meta"]) == (row.method, 1, SHARD)


def test_settings_of_a_search_count_before_those_that_its_preset_has_for_a_method():
    rows, preset, settings = SEARCHES["waterbirds"]
    for name, start in (("CLP", "zero"), ("5: Omega's step 1e-3", "background")):
        assert config_of("clp", rows[name].texts, preset, settings, SHARD).options.omega_start == start


def test_the_runs_that_are_diagnosed_have_settings_of_clp():
    for preset, texts in diagnose_omega.RUNS.values():
        flat = config_of("clp", texts, preset, search_cifar_lt.settings_of("root"), SHARD).flat()
        assert flat["saliency_lambda"] == 0
        assert flat["preset"] is None


@pytest.mark.parametrize("name", TABLES)
def test_the_rows_of_a_table_are_commands_that_are_taken(name):
    for row, arguments in TABLES[name].items():
        given = train.make_context("clp-train", ["--meta", str(SHARD), *arguments]).params
        texts = given.pop("texts")
        named = {key: value for key, value in given.items() if value not in (None, False)}
        assert config_of_command(named, texts).method == arguments[arguments.index("--method") + 1], row
