"""clp-train from the outside: files, table, messages, exit codes."""

import json
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from clp_aug.contract.errors import InputError
from clp_train import cli
from clp_train.methods import METHODS
from clp_train.running.place import LESS_MEMORY
from tests.clp_train.builders import make_demo_shard
from tests.clp_train.door.calling import call


@pytest.fixture(scope="module")
def finished(demo_shard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    return folder, call("--meta", demo_shard, "--epochs", 1, "--batch-size", 40, "--export", "--out", folder)


def test_table_and_last_line(finished):
    folder, result = finished
    assert result.exit_code == 0, result.output
    for text in (
        "clp on demo: resnet8, seed 0",
        "ring on garden",
        "worst",
        "average (top-1)",
        "weighted as in training",
    ):
        assert text in result.stdout
    assert result.stdout.splitlines()[-1] == (
        f"wrote {folder}/page.html and the weights beside it; "
        f"next: clp-augment --dataset demo --size 16 --f fgsm --classifier {folder}/classifier.pt2"
    )
    assert "demo: train 80, val 200, test 400; meta set: 8 originals, 8 counterfactuals, 8 factuals" in result.stderr


def test_result_holds_what_the_run_was(finished, demo_shard):
    folder, _ = finished
    result = json.loads((folder / "result.json").read_text())
    assert result["config"]["method"] == "clp"
    assert len(result["fingerprint"]) == 64
    assert result["versions"]["torch"] == torch.__version__
    metrics = result["last"]["metrics"]["test"]
    assert metrics["group_counts"] == [100] * 4
    assert metrics["worst"] == min(metrics["per_group"])
    assert sorted(path.name for path in folder.iterdir() if path.name != "tensorboard") == [
        "card.md", "classifier.json", "classifier.pt2", "end.safetensors", "last.safetensors", "metrics.jsonl",
        "page.html", "predictions-test.csv", "predictions-val.csv", "result.json", "selected.safetensors",
    ]  # fmt: skip


def test_exported_classifier_is_the_selected_network(finished):
    from clp_train.models import build_model

    folder, _ = finished
    network = build_model("resnet8", 2, [0.0] * 3, [1.0] * 3, torch.Generator())
    network.load_state_dict(load_file(folder / "selected.safetensors"))
    program = torch.export.load(folder / "classifier.pt2").module()
    for n in (1, 5):
        x = torch.rand(n, 3, 16, 16, requires_grad=True)
        torch.testing.assert_close(program(x), network.eval()(x).logits)
        assert torch.autograd.grad(program(x).sum(), x)[0].abs().sum() > 0


def test_a_finished_run_is_not_overwritten(finished, demo_shard):
    folder, _ = finished
    result = call("--meta", demo_shard, "--out", folder, "--quiet")
    assert result.exit_code == 2
    assert result.stderr == f"error: {folder} holds a result already; choose another --out or remove that folder\n"


def test_json_is_all_of_stdout(demo_shard, tmp_path):
    result = call("--meta", demo_shard, "--method", "erm", "--epochs", 1, "--out", tmp_path / "r", "--json", "--quiet")
    assert result.stderr == ""
    assert json.loads(result.stdout) == json.loads((tmp_path / "r" / "result.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--epochs", 0], 2, "error: --epochs 0: expected a whole number >= 1"),
        (["--meta-batch-size", 1000], 2, "error: --meta-batch-size 1000: the meta set holds 24 pictures"),
        (["--method", "foo"], 2, f"error: unknown method 'foo': choose one of {', '.join(sorted(METHODS))}"),
        (["--preset", "none", "--set", "trainable=head"], 2, "error: --set trainable=head: eq. (6) acts on the body; "),
        (["--preset", "none", "--set", "trainable=head"], 2, "; take --saliency-lambda 0\n"),
        (
            ["--method", "meta-lp", "--set", "online=mix-rand"],
            2,
            "error: --set online=mix-rand: meta-lp learns only from meta originals; take --set online=none\n",
        ),
    ],
    ids=["epochs", "meta batch", "method", "head", "remedy", "online"],
)
def test_bad_usage(demo_shard, tmp_path, arguments, code, message):
    result = call("--meta", demo_shard, "--out", tmp_path / "r", "--quiet", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_bad_shards(tmp_path):
    missing = call("--meta", tmp_path / "no.h5", "--out", tmp_path / "r", "--quiet")
    assert (missing.exit_code, missing.stderr) == (
        3, f"error: shard {tmp_path}/no.h5: no such file; make it with clp-augment\n"
    )  # fmt: skip
    path = make_demo_shard(tmp_path / "x.h5", size=16, per_group=1, train=8, header={"dataset": "waterbirds"})
    rootless = call("--meta", path, "--root", tmp_path / "nowhere", "--out", tmp_path / "r", "--quiet")
    assert rootless.exit_code == 3
    assert f"data set waterbirds: no folder at {tmp_path}/nowhere; give it with --root DIR" in rootless.stderr
    path.write_bytes(path.read_bytes()[:5000])
    cut = call("--meta", path, "--out", tmp_path / "r", "--quiet")
    assert cut.exit_code == 3
    assert cut.stderr.count("\n") == 1
    assert "cut short" in cut.stderr


def test_divergence_is_one_line(demo_shard, tmp_path):
    settings = ("--preset", "none", "--lr", 1e30, "--epochs", 2, "--batch-size", 20, "--quiet")
    result = call("--meta", demo_shard, *settings, "--out", tmp_path / "r")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: step ")
    assert "lower --lr, with another --out; " in result.stderr
    assert result.stderr.count("\n") == 1


def test_divergence_names_the_last_state(demo_shard, tmp_path):
    settings = ("--epochs", 2, "--batch-size", 10, "--set", "checkpoint_interval=1", "--quiet")
    result = call("--meta", demo_shard, "--lr", 1e5, "--method", "erm", *settings, "--out", tmp_path / "r")
    assert result.exit_code == 3
    found = re.search(r"another --out; last state: .*/r/checkpoint\.safetensors, step (\d+)", result.stderr)
    assert result.stderr.startswith(f"error: step {found[1]}: ")


def test_divergence_in_the_last_step_is_no_result(demo_shard, tmp_path):
    settings = ("--epochs", 1, "--batch-size", 80, "--method", "erm", "--quiet")
    result = call("--meta", demo_shard, "--lr", 1e30, *settings, "--out", tmp_path / "r")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: the network's logits are nan; lower --lr, with another --out; ")
    assert not (tmp_path / "r" / "result.json").exists()


def test_interrupted(monkeypatch, demo_shard):
    def stop(config, quiet, resume, ranks):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", stop)
    result = call("--meta", demo_shard, "--quiet")
    assert result.exit_code == 130
    assert result.stderr == (
        "error: interrupted; no result was written; --resume continues from the last checkpoint, if there is one\n"
    )


def test_help_needs_no_heavy_import():
    code = "import clp_train.cli, sys; print({'torch', 'numpy', 'h5py', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_what_fails_before_training_leaves_no_folder(tmp_path):
    result = call("--meta", tmp_path / "no.h5", "--out", tmp_path / "runs" / "r", "--quiet")
    assert result.exit_code == 3
    assert not (tmp_path / "runs" / "r").exists()


def test_too_little_memory_names_options(demo_shard, tmp_path, monkeypatch):
    """A device of its own is not at hand: what it raises is said as it would be."""

    def refuse(*_, **__):
        raise InputError(f"cuda:0 (a chip) is out of memory; {LESS_MEMORY}")

    monkeypatch.setattr("clp_train.running.loop.train", refuse)
    result = call("--meta", demo_shard, "--method", "erm", "--quiet", "--out", tmp_path / "r")
    assert result.exit_code == 3
    assert result.stderr == (
        "error: cuda:0 (a chip) is out of memory; lower --batch-size and --meta-batch-size, or take --store memory or"
        " --precision bf16\n"
    )
