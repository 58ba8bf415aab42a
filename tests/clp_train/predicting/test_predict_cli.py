"""clp-predict from the outside: what is predicted, the table, the figures, messages and exit codes."""

import csv
import json
import os
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from clp_aug.datasets import load_dataset
from clp_train import load_classifier
from clp_train.predict_cli import predict
from clp_train.run_folder import RESULT
from clp_train.running.checkpoint import CHECKPOINT
from tests.clp_train.door.calling import call as train
from tests.clp_train.predicting.recorded import record, save_picture


def call(*arguments):
    """Call clp-predict; return what it did."""
    return CliRunner().invoke(predict, [str(argument) for argument in arguments])


def rows(path):
    """Return the lines of a table by column."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(demo_shard, tmp_path_factory):
    """A run of the demo set."""
    folder = tmp_path_factory.mktemp("runs") / "r"
    settings = ("--method", "la-posthoc", "--epochs", 2, "--batch-size", 20, "--quiet")
    assert train("--meta", demo_shard, *settings, "--out", folder).exit_code == 0
    return folder


@pytest.fixture
def photos(tmp_path):
    """Class folders of the run, and one of pictures that nobody knows the class of."""
    demo, folder = load_dataset("demo"), tmp_path / "photos"
    for i in range(6):
        name = ("ring", "cross", "unknown")[i % 3]
        (folder / name / "deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(demo.image(i)).save(folder / name / "deep" / f"{i}.png")
    return folder


@pytest.mark.parametrize("split", [None, "test", "val"])
def test_a_split_of_the_data_set_has_the_figures_of_the_run_to_the_last_digit(finished, tmp_path, split):
    out = tmp_path / "p.csv"
    chosen = ("--split", split) if split else ()
    done = call(finished, "--dataset", "demo", *chosen, "--out", out, "--json", "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    told, result = json.loads(done.stdout), json.loads((finished / RESULT).read_text())
    name = split or "test"
    assert told["labelled"]["metrics"] == result["selected"]["metrics"][name]
    own = rows(finished / f"predictions-{name}.csv")
    found = rows(out)
    assert len(found) == len(own) == told["pictures"] == sum(map(sum, told["labelled"]["confusion"]))
    for ours, theirs in zip(own, found, strict=True):
        assert {name: ours[name] for name in ("file", "label", "group", "predicted")} == {
            name: theirs[name] for name in ("file", "label", "group", "predicted")
        }
        assert ours["p_label"] == theirs[f"p({ours['label']})"]
        assert ours["p_predicted"] == theirs[f"p({ours['predicted']})"]


def test_a_folder_in_a_process_of_its_own(finished, photos, tmp_path):
    script = "from clp_train.predict_cli import predict; predict()"
    command = [sys.executable, "-c", script, str(finished), "photos", "--quiet"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "wrote predictions.csv: 6 pictures"
    assert "labels are known of 4 of 6 pictures" in done.stderr
    assert "groups of these pictures are not known: accuracies are by class" in done.stderr
    found = rows(tmp_path / "predictions.csv")
    assert [(row["file"], row["label"]) for row in found] == [
        ("cross/deep/1.png", "cross"), ("cross/deep/4.png", "cross"), ("ring/deep/0.png", "ring"),
        ("ring/deep/3.png", "ring"), ("unknown/deep/2.png", ""), ("unknown/deep/5.png", ""),
    ]  # fmt: skip
    classifier = load_classifier(finished)
    x = torch.stack([classifier.preprocess(photos / row["file"]) for row in found])
    shares = classifier(x.contiguous(memory_format=torch.contiguous_format)).softmax(1)
    torch.testing.assert_close(torch.tensor([[float(row["p(ring)"]), float(row["p(cross)"])] for row in found]), shares)
    assert [row["predicted"] for row in found] == [classifier.class_names[c] for c in shares.argmax(1).tolist()]


def test_a_list_a_table_and_one_picture_are_read(finished, photos, tmp_path):
    (tmp_path / "list.txt").write_text("\ufeffphotos/ring/deep/0.png\n\n photos/cross/deep/1.png \n")
    lines = [
        "file;label;group",
        "photos/ring/deep/0.png;cross;cross on temple",
        "photos/cross/deep/1.png;ring;ring on garden",
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    out = tmp_path / "p.csv"
    told = {}
    for what in ("list.txt", "table.csv", "photos/ring/deep/0.png"):
        done = call(finished, tmp_path / what, "--out", out, "--json", "--quiet")
        assert (done.exit_code, done.stderr) == (0, "")
        told[what] = json.loads(done.stdout), rows(out)
    assert [len(found) for _, found in told.values()] == [2, 2, 1]
    assert told["list.txt"][0]["labelled"] is None
    assert list(told["list.txt"][1][0]) == ["file", "predicted", "p(ring)", "p(cross)"]
    assert list(told["table.csv"][1][0]) == ["file", "label", "group", "predicted", "p(ring)", "p(cross)"]
    assert told["table.csv"][0]["labelled"]["has_groups"]
    assert told["table.csv"][0]["labelled"]["metrics"]["group_counts"] == [0, 1, 1, 0]
    shares = [[found[0]["p(ring)"] for found in (told[what][1],)] for what in told]
    assert shares[0] == shares[1]


def test_only_the_likeliest_classes(finished, photos, tmp_path):
    out = tmp_path / "p.csv"
    assert call(finished, photos, "--top", 1, "--out", out, "--quiet").exit_code == 0
    found = rows(out)
    assert list(found[0]) == ["file", "label", "predicted", "class_1", "p_1"]
    assert all(row["class_1"] == row["predicted"] and float(row["p_1"]) >= 0.5 for row in found)


def test_pictures_that_cannot_be_read_are_one_line_or_passed_over(finished, photos, tmp_path):
    out = tmp_path / "p.csv"
    (photos / "ring" / "a.png").write_bytes(b"no picture")
    done = call(finished, photos, "--out", out, "--quiet")
    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1
    assert f"{photos}/ring/a.png: not a JPEG" in done.stderr
    assert done.stderr.endswith("or give --skip-broken\n")
    (photos / "cross" / "b.png").write_bytes(b"")
    done = call(finished, photos, "--out", out, "--quiet")
    assert "2 of 8 pictures cannot be read: picture" in done.stderr
    assert not list(tmp_path.glob("p.csv*"))
    done = call(finished, photos, "--out", out, "--quiet", "--skip-broken")
    assert done.exit_code == 0
    assert "passed over, for they cannot be read: 2, e.g. picture" in done.stderr
    assert len(rows(out)) == 6
    told = json.loads(call(finished, photos, "--out", out, "--quiet", "--skip-broken", "--json").stdout)
    assert len(told["broken"]) == 2


def test_figures_are_printed(finished, photos, tmp_path):
    done = call(finished, "--dataset", "demo", "--out", tmp_path / "p.csv", "--quiet")
    for text in ("ring on garden", "worst", "average (top-1)", "taken for ring", "weighted as in training"):
        assert text in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "expected PICTURES (a folder, a list or a picture) or --dataset NAME, one of the two"),
        (("x", "--dataset", "demo"), 2, "expected PICTURES (a folder, a list or a picture) or --dataset NAME"),
        (("x", "--split", "val"), 2, "--split val: it belongs to a data set; give --dataset NAME, or leave it out"),
        (("--dataset", "demo", "--split", "tset"), 2, "--split tset: did you mean test? data set demo has test, t"),
        (("--dataset", "dmo"), 2, "unknown data set 'dmo': did you mean demo?"),
        (("--dataset", "demo", "--top", "3"), 2, "--top 3: the run has 2 classes; give that many at most"),
        (("--dataset", "demo", "--device", "abacus"), 2, "--device abacus: there is no such device"),
        (("--dataset", "demo", "--out", "."), 2, "it is a folder; give the name of a new table"),
        (("--dataset", "demo", "--out", "no/p.csv"), 3, "cannot write no/p.csv (No such file or directory)"),
        (("nowhere",), 3, "cannot read nowhere (No such file or directory)"),
        (("empty",), 3, "empty: no picture in it (.jpg"),
        (("list", "--out", "list"), 2, "--out list: it is what is to be predicted"),
        (("list",), 3, "cannot read nowhere.png (No such file or directory)"),
        (("bytes",), 3, "bytes: its name is not a picture's, and it is no list of pictures: not UTF-8 text"),
        (("blank",), 3, "blank: the list is empty; expected one path of a picture per line"),
        (("table",), 3, "table line 2: no class 'rinf' in the run: did you mean ring? it has ring, cross"),
        (("--dataset", "demo", "--model", "resnet20"), 2, "--model resnet20: the run has resnet8; leave it out"),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted_is_one_line(finished, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list").write_text("nowhere.png")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "blank").write_text(" \n")
    (tmp_path / "table").write_text("file,label\na.png,rinf\n")
    done = call(finished, *arguments, "--quiet")
    assert done.exit_code == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_runs_that_are_none_are_one_line(finished, loaded, tmp_path):
    save_picture(tmp_path / "p" / "a.png")
    for name, message in (("nowhere", "no such folder; give the folder of a finished run"), ("p", "no result.json")):
        done = call(tmp_path / name, tmp_path / "p", "--out", tmp_path / "o.csv")
        assert (done.exit_code, done.stderr.count("\n")) == (3, 1)
        assert message in done.stderr
    record(loaded, tmp_path / "r", "erm")
    (tmp_path / "r" / RESULT).rename(tmp_path / "r" / CHECKPOINT)
    assert "an unfinished run" in call(tmp_path / "r", tmp_path / "p", "--out", tmp_path / "o.csv").stderr
