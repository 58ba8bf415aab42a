"""clp-audit from the outside: tables, JSON, page, exit codes and messages."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from clp_aug.contract.errors import EXIT_GAP, InputError
from clp_aug.contract.shards import ShardReader
from clp_train.audit_cli import audit
from clp_train.auditing.subject import Subject
from clp_train.auditing.views import MIX_OTHER, MIX_SAME, ORIGINALS, read_audit_set
from tests.clp_train.auditing.made import make_demo_audit

PICTURES = 60


def call(*arguments):
    """Call clp-audit; return what it did."""
    return CliRunner().invoke(audit, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """An audit shard of the demo set, 16 x 16 pixels."""
    return make_demo_audit(tmp_path_factory.mktemp("audits") / "audit.h5", PICTURES)


def told(reader, follows):
    """Logits that know each picture by its pixels: right, but for those with `follows` on backgrounds of the other
    class.
    """
    audit_set, known = read_audit_set(reader), {}
    for view, rows in audit_set.rows.items():
        for i, row in zip(np.nonzero(rows >= 0)[0].tolist(), rows[rows >= 0].tolist(), strict=True):
            label = int(audit_set.label[i])
            is_misled = view == MIX_OTHER and follows[i]
            known.setdefault(reader.image(row).tobytes(), 1 - label if is_misled else label)

    def logits(pictures):
        classes = [known[picture.permute(1, 2, 0).numpy().tobytes()] for picture in pictures]
        return 3 * torch.nn.functional.one_hot(torch.tensor(classes), 2).float()

    return logits


@pytest.fixture
def models(shard, monkeypatch):
    """Subjects by name, as clp-audit opens them: "backgrounds" leans on them, "objects" does not, "few" a little."""
    reader = ShardReader(shard)
    names = tuple((name,) for name in reader.header.class_names)
    shares = {"objects": 0.0, "few": 0.15, "backgrounds": 0.6}

    def open_subject(spec, *, classes, size, device, model, method):
        if spec not in shares:
            raise InputError(f"model {spec}: no such folder or file")
        follows = np.arange(PICTURES) % 20 < 20 * shares[spec]
        remarks = ("pictures are resized",) if spec == "few" else ()
        return Subject(spec, "factory", names, None, None, told(reader, follows), None, remarks)

    monkeypatch.setattr("clp_train.auditing.subject.open_subject", open_subject)
    return shares


def test_a_model_that_leans_on_backgrounds_is_found_out(models, shard):
    done = call("backgrounds", "--meta", shard, "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "backgrounds: reliance on backgrounds: strong" in lines
    assert any("background gap" in line and "60.0 points (" in line for line in lines)
    assert any(MIX_SAME in line and "100.0 %" in line for line in lines)
    assert lines[-1] == (
        "next: clp-augment --dataset demo --size 16 --cf tile --f mix-rand;"
        " clp-train --meta shards/demo-tile-mix-rand-seed0.h5 --method clp --preset spurious-background"
    )


def test_after_a_comparison_the_data_are_asked(models, shard):
    done = call("backgrounds", "few", "--meta", shard, "--quiet")
    assert done.stdout.splitlines()[-1] == "next: clp-audit data --dataset demo", "a line to paste"


def test_a_model_that_does_not_has_no_next_command(models, shard):
    done = call("objects", "--meta", shard, "--quiet")
    assert done.exit_code == 0
    assert "objects: reliance on backgrounds: none seen" in done.stdout
    assert "next:" not in done.stdout


def test_json_has_the_figures_as_shares(models, shard):
    done = call("backgrounds", "--meta", shard, "--quiet", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["shard"], found["dataset"], found["page"]) == (str(shard), "demo", None)
    assert found["second_minus_first"] is None
    (one,) = found["models"]
    assert (one["model"], one["kind"], one["verdict"], one["pictures"]) == (
        "backgrounds",
        "factory",
        "strong",
        PICTURES,
    )
    assert one["gap"]["value"] == pytest.approx(0.6, abs=0.05)
    assert 0 < one["gap"]["low"] < one["gap"]["high"] < 1
    assert one["accuracy"][ORIGINALS]["value"] == 1
    assert one["settings"] == read_audit_set(ShardReader(shard)).settings
    assert [each["name"] for each in one["classes"]] == list(ShardReader(shard).header.class_names)
    assert sum(each["usable"] for each in one["classes"]) == one["usable"]
    assert one["attention"]["no_map"] == "a model of kind factory is a program, and its inner maps cannot be read"
    assert one["guessing"]["fitted"] is None


def test_two_models_are_compared_on_the_same_pictures_and_on_one_page(models, shard, tmp_path):
    page = tmp_path / "a.html"
    done = call("backgrounds", "objects", "--meta", shard, "--html", page, "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "second - first" in done.stdout
    assert done.stdout.splitlines()[-1] == f"wrote {page}"
    assert "backgrounds" in page.read_text("utf-8")
    found = json.loads(call("backgrounds", "objects", "--meta", shard, "--quiet", "--json").stdout)
    gaps = [each["gap"]["value"] for each in found["models"]]
    assert found["second_minus_first"]["gap"]["value"] == pytest.approx(gaps[1] - gaps[0])
    assert found["second_minus_first"]["gap"]["p"] < 0.05
    assert found["second_minus_first"]["original"]["p"] == 1


@pytest.mark.parametrize(
    ("names", "most", "code"),
    [
        (["backgrounds"], 5, EXIT_GAP), (["backgrounds"], 70, 0), (["objects"], 5, 0), (["objects"], 0, 0),
        (["backgrounds", "objects"], 5, 0), (["objects", "backgrounds"], 5, EXIT_GAP),
    ],
)  # fmt: skip
def test_max_gap_sets_the_exit_code_by_the_last_model(models, shard, names, most, code):
    done = call(*names, "--meta", shard, "--quiet", "--max-gap", most)
    assert done.exit_code == code
    assert "reliance on backgrounds" in done.stdout  # figures are printed in any case
    if code:
        assert done.stderr.startswith("error: model backgrounds: its background gap is 60.")
        assert done.stderr.endswith("train against it with clp-train --method clp, or allow more\n")
        assert f", above --max-gap {most}; " in done.stderr


def test_max_gap_is_not_passed_on_nothing(models, shard, monkeypatch):
    monkeypatch.setattr("clp_train.auditing.verdict.CLASS_PICTURES", 1000)
    done = call("objects", "--meta", shard, "--quiet", "--max-gap", 100)
    assert done.exit_code == EXIT_GAP
    start = "error: model objects: --max-gap 100 cannot be judged (There are too few pictures: "
    assert done.stderr.startswith(start)
    assert done.stderr.count("\n") == 1


def test_remarks_of_a_model_go_to_stderr(models, shard):
    done = call("few", "--meta", shard, "--quiet")
    assert done.stderr == "few: pictures are resized\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "expected one MODEL or two, none was given; clp-audit --help has the forms"),
        (["a", "b", "c", "--meta", "SHARD"], 2, "expected one MODEL or two, 3 were given; clp-audit --help has"),
        (["objects"], 2, "expected --meta SHARD; clp-augment --audit --dataset NAME makes one"),
        (["objects", "--meta", "no.h5"], 3, "no.h5"),
        (["nobody", "--meta", "SHARD"], 3, "model nobody: no such folder or file"),
        (["objects", "--meta", "SHARD", "--html", "FOLDER"], 2, "it is a folder; give the name of a new page"),
        (["objects", "--meta", "SHARD", "--html", "SHARD"], 2, "it is the shard; give the name of a new page"),
        (["objects", "--meta", "SHARD", "--html", "FOLDER/no/a.html"], 3, "No such file or directory"),
        (["objects", "--meta", "META"], 3, "without the views of an audit; make one with clp-augment --audit"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(models, shard, demo_shard, tmp_path, arguments, code, message):
    places = {"SHARD": str(shard), "META": str(demo_shard), "FOLDER": str(tmp_path)}
    words = []
    for word in arguments:
        for name, place in places.items():
            word = word.replace(name, place)
        words.append(word)
    done = call(*words)
    assert (done.exit_code, done.stderr.count("\n")) == (code, 1)
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_help_explains_both_doors_without_torch():
    code = (
        "import sys\nfrom clp_train.audit_cli import audit\n"
        "try:\n    audit(sys.argv[1:], prog_name='clp-audit')\nfinally:\n"
        "    assert not {'torch', 'numpy', 'h5py'} & set(sys.modules), 'heavy'"
    )
    audit_help, data_help = (
        subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True).stdout
        for words in (["--help"], ["data", "--help"])
    )
    assert audit_help.startswith("Usage: clp-audit [OPTIONS] MODEL [MODEL2]")
    assert "clp-audit data --dataset NAME" in audit_help
    assert data_help.startswith("Usage: clp-audit data [OPTIONS]")


def test_what_follows_data_is_the_other_command():
    done = call("data")
    assert done.exit_code == 2
    assert "MODEL" not in done.stderr
