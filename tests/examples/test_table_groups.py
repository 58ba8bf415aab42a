"""The example of groups from a table: made, augmented and trained in a fresh folder, with methods of groups."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from clp_aug.contract.shards import ShardReader
from clp_train.cli import train
from clp_train.loading.data import load
from clp_train.loading.settings import DataSettings
from clp_train.methods import METHODS
from clp_train.running.assembly import table_of

FILE = Path(__file__).parents[2] / "examples/table_groups/run.py"
NEED_GROUPS = {entry.module: name for name, entry in METHODS.items() if "groups" in entry.needs and name != "group-dro"}
EPOCHS = {"dfr": "2", "pde": "4"}  # of several stages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("table_groups", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("a new folder")
    assert set(module.main(folder, 1)) == {"group-dro", "clp"}
    return folder


def test_the_shard_and_the_runs_know_nine_groups(folder):
    header = ShardReader(folder / "shard.h5").header
    assert len(header.group_names) == 9
    assert header.group_names[:2] == ("disc, ground grass", "disc, ground sand")
    for method in ("group-dro", "clp"):
        result = json.loads((folder / method / "result.json").read_text())
        assert result["has_groups"]
        assert sorted(result["train_group_counts"]) == [2] * 6 + [34] * 3
        metrics = result["last"]["metrics"]["test"]
        assert metrics["group_counts"] == [8] * 9
        assert metrics["worst"] == min(metrics["per_group"])


def test_what_groups_share_across_labels_is_the_attribute(folder):
    data = load(ShardReader(folder / "shard.h5"), DataSettings(meta=folder / "shard.h5", root=folder / "pictures"))
    assert table_of(data).environments().tolist() == [0, 1, 2] * 3


@pytest.mark.parametrize("method", NEED_GROUPS.values())
def test_one_method_of_groups_of_each_kind_trains_on_it(folder, method):
    with torch.random.fork_rng([]):
        done = CliRunner().invoke(train, [
            "--meta", str(folder / "shard.h5"), "--root", str(folder / "pictures"), "--method", method, "--limit", "27",
            "--model", "resnet8", "--epochs", EPOCHS.get(method, "1"), "--batch-size", "9", "--quiet",
            "--out", str(folder / method),
        ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads((folder / method / "result.json").read_text())["last"]["metrics"]["test"]["worst"] is not None
