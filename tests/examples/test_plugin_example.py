"""The example of plug-ins goes through every tool in a fresh folder."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from clp_aug.cli import augment
from clp_aug.contract.shards import ShardReader
from clp_train.bench.cli import bench
from clp_train.cli import train
from clp_train.predict_cli import predict

EXAMPLE = Path(__file__).parents[2] / "examples/plugins"
SHARD = Path("shards/discs-blend-random-seed0.h5")
MADE = ["--dataset", "mine.py:discs", "--cf", "mine.py:blend", "--f", "random", "--matte", "mine.py:Bright", "--quiet"]
TRAINED = [
    "--meta", str(SHARD), "--dataset", "mine.py:discs", "--method", "mine.py:Halving", "--model", "mine.py:small",
    "--set", "transform=mine.py:brighter", "--epochs", "2", "--batch-size", "40", "--out", "run", "--quiet",
]  # fmt: skip


def call(command, *arguments):
    """Run a command; return what it said, which must be no error."""
    done = CliRunner().invoke(command, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


def refused(command, *arguments):
    """Run a command that refuses its arguments; return the line it says."""
    done = CliRunner().invoke(command, [*map(str, arguments)])
    assert done.exit_code == 2, done.output
    return done.stderr.splitlines()[-1].removeprefix("error: ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A fresh folder with the example's files, a shard, made by two workers, and a run."""
    place = tmp_path_factory.mktemp("plugins")
    for path in EXAMPLE.glob("mine.*"):
        shutil.copy(path, place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        call(augment, *MADE, "--set", "share=0.3", "--workers", 2)
        call(train, *TRAINED)
    return place


@pytest.fixture
def here(folder, monkeypatch):
    """That folder, as the current one."""
    monkeypatch.chdir(folder)
    return folder


def test_the_shard_names_the_plugins_and_their_code(here):
    header = ShardReader(SHARD).header
    assert (header.dataset, header.fills, header.box_sources[0]) == (
        "mine.py:discs", ("none", "mine.py:blend", "random", "grey"), "mine.py:Bright",
    )  # fmt: skip
    assert header.settings["mine.py:blend share"] == 0.3
    plugins = header.settings["plugins"]
    assert {name: facts["what"] for name, facts in plugins.items()} == {
        "mine.py:Bright": "matte", "mine.py:blend": "fill", "mine.py:discs": "data set",
    }  # fmt: skip
    assert len({facts["origin"] for facts in plugins.values()}) == 1


def test_one_worker_makes_the_same_bytes(here, tmp_path):
    call(augment, *MADE, "--set", "share=0.3", "--workers", 1, "--out", tmp_path / "one.h5")
    assert (tmp_path / "one.h5").read_bytes() == SHARD.read_bytes()


def test_the_result_names_the_plugins_and_their_code(here):
    result = json.loads(Path("run/result.json").read_text())
    assert {name: facts["what"] for name, facts in result["config"]["plugins"].items()} == {
        "mine.py:Halving": "method", "mine.py:small": "model", "mine.py:brighter": "transform",
        "mine.py:discs": "data set",
    }  # fmt: skip
    assert result["config"]["options"] == {}
    assert result["shard_settings"]["plugins"] == ShardReader(SHARD).header.settings["plugins"]


def test_no_code_is_run_that_only_a_shard_names(here):
    without = [word for word in TRAINED if word not in ("--dataset", "mine.py:discs")]
    assert refused(train, *without, "--out", "other") == (
        "--dataset none: the shard's data set is a plug-in, and its code runs only if you name it, too; take --dataset"
        " mine.py:discs"
    )
    assert refused(train, *TRAINED, "--out", "other", "--dataset", "mine.py:Bright").startswith(
        "--dataset mine.py:Bright: the shard is of data set mine.py:discs; give the path of its file"
    )


def test_pictures_are_predicted_as_the_run_judged_them(here):
    result = json.loads(Path("run/result.json").read_text())
    own = ["--dataset", "mine.py:discs", "--model", "mine.py:small", "--method", "mine.py:Halving", "--quiet"]
    made = json.loads(call(predict, "run", *own, "--json").stdout)
    moment = result["selected"] or result["last"]
    assert made["labelled"]["metrics"] == moment["metrics"]["test"]


def test_a_table_of_them(here):
    done = call(bench, "mine.toml", "--seeds", 1, "--methods", "halving", "--workers", 1, "--quiet")
    assert "error" not in done.output
    table = json.loads(next(Path("results").rglob("table.json")).read_text())
    assert json.dumps(table).count("mine.py:small")
    assert [path.name.partition("-seed")[0] for path in Path("bench/runs").iterdir() if path.is_dir()] == ["Halving"]


def test_a_changed_file_is_another_run(here, tmp_path, monkeypatch):
    """The file is another one here, so that this process imports it anew."""
    for path in Path(".").glob("mine.*"):
        shutil.copy(path, tmp_path)
    shutil.copytree("run", tmp_path / "run")
    shutil.copytree("shards", tmp_path / "shards")
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(Path("mine.py").read_text() + "\n# changed\n")
    assert refused(augment, *MADE, "--set", "share=0.3") == (
        f"{SHARD} exists and is of a run with another mine.py:Bright: its code has changed since: rename it, or give"
        " --overwrite, or another --out"
    )
    assert refused(train, *TRAINED, "--resume") == (
        "run holds the result of a run with another mine.py:Halving: its code has changed since; choose another --out"
    )
