"""A run on the generalised long tail: both tests of one training set, precision and strata, in result and page."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug import cli as augment_cli
from clp_train import cli

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three classes of three attributes each: colours, bright or dark or grey; a file of the published form."""
    root = tmp_path_factory.mktemp("glt")
    rng = np.random.default_rng(0)
    content = {"id2cat": {str(c): f"colour{c}" for c in range(3)}, "cat2id": {f"colour{c}": c for c in range(3)}}
    counts = {"train": (12, 8, 6), "val": (6, 6, 6), "test_bl": (4, 4, 4), "test_bbl": (6, 6, 6), "test_lt": (3, 2, 1)}
    for which, per_class in counts.items():
        part = {"label": {}, "frequency": {}, "attribute": {}}
        for c, count in enumerate(per_class):
            for k in range(count):
                path = root / "train" / f"colour{c}" / f"{which}{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = COLOURS[c] * (1, 0.5, 0.25)[k % 3] + rng.normal(0, 8, (12, 12, 3))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
                name = f"/data/{path.relative_to(root)}"
                part["label"][name], part["frequency"][name], part["attribute"][name] = str(c), c, k % 3
        content[which] = part
    (root / "imagenet_sup_intra_lt_inter_lt.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def shard(root):
    made = CliRunner().invoke(augment_cli.augment, [
        "--dataset", "imagenet-glt", "--root", str(root), "--f", "random", "--meta", "1/cluster", "--matte", "centre",
        "--out", str(root / "x.h5"), "--engine", "serial", "--quiet",
    ])  # fmt: skip
    assert made.exit_code == 0, made.output
    return root / "x.h5"


@pytest.fixture(scope="module")
def result(root, shard):
    done = CliRunner().invoke(cli.train, [
        "--meta", str(shard), "--root", str(root), "--method", "erm", "--epochs", "3", "--batch-size", "9",
        "--set", "watch_test=true", "--out", str(root / "run"), "--quiet",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    return done.stdout, json.loads((root / "run" / "result.json").read_text()), (root / "run" / "page.html").read_text()


def test_the_shard_says_which_clusters_the_meta_set_came_from(shard):
    from clp_aug.contract.shards import ShardReader

    settings = ShardReader(shard).header.settings
    assert (settings["meta"], settings["meta_from"]) == ("1/cluster", "val")
    found = settings["meta_clusters"]
    assert found["count"] == 6
    assert found["missing"] == [0, 0, 0]
    assert found["features"] in ("efficientnet-lite0", "thumbnail")


def test_both_protocols_are_measured_in_one_run(result):
    _, result, _ = result
    assert result["protocols"] == {"test_bl": "CLT", "test_bbl": "GLT"}
    metrics = result["last"]["metrics"]
    assert list(metrics) == ["test_bl", "test_bbl", "test_lt"], "the meta set took all of val"
    assert result["train_group_counts"] == [12, 8, 6]
    for split, counts in (("test_bl", [4] * 3), ("test_bbl", [6] * 3), ("test_lt", [3, 2, 1])):
        m = metrics[split]
        assert m["class_counts"] == counts
        assert 0 <= m["precision"] <= 1
        shots = [m["strata"][name] for name in ("many shots", "medium shots", "few shots")]
        assert shots == m["per_class"], "here a stratum of frequency is a class"
    attributes = [metrics["test_bbl"]["strata"][f"{name} attribute"] for name in ("head", "middle", "tail")]
    assert np.mean(attributes) == pytest.approx(metrics["test_bbl"]["average"])
    assert {"test_bl_average", "test_bbl_average", "test_lt_worst"} < set(result["history"][0])
    best = result["best_on_test"]
    assert best["metrics"]["test_bl"]["average"] == max(line["test_bl_average"] for line in result["history"])


def test_table_and_page_name_the_protocols(result):
    table, result, page = result
    for text in ("test_bl = CLT", "test_bbl = GLT", "mean precision", "tail attribute", "few shots"):
        assert text in " ".join(table.split())
        assert text in page
    for text in ("CLT, accuracy", "GLT, mean precision"):
        assert text in page
