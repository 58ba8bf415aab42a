"""clp-compare from the outside: real runs of the demo set on one page, with their audit; messages and exit codes."""

import json
import shutil

import pytest
from click.testing import CliRunner

from clp_train.compare_cli import compare
from clp_train.evaluating.attention import look_at
from clp_train.predicting.trained import load_classifier
from clp_train.report.compare_looks import looks_of, originals, shard_of
from clp_train.report.compare_runs import read_runs
from tests.clp_train.auditing.made import make_demo_audit
from tests.clp_train.builders import make_demo_shard
from tests.clp_train.door.calling import call as train
from tests.clp_train.report.test_page import Page


def call(*arguments):
    """Call clp-compare; return what it did."""
    return CliRunner().invoke(compare, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory, demo_shard):
    """A folder with two runs of erm and one of clp, a copy of the shard that they are of, and an audit set."""
    folder = tmp_path_factory.mktemp("compared")
    shutil.copy(demo_shard, folder / "demo.h5")
    for name, method, seed in (("e0", "erm", 0), ("e1", "erm", 1), ("c0", "clp", 0)):
        settings = ("--method", method, "--seed", seed, "--epochs", 1, "--batch-size", 40, "--quiet")
        done = train("--meta", folder / "demo.h5", *settings, "--out", folder / name)
        assert done.exit_code == 0, done.output
    make_demo_audit(folder / "audit.h5", 40)
    return folder


@pytest.fixture
def folders(place):
    """The folders of the runs."""
    return [place / name for name in ("e0", "e1", "c0")]


def test_runs_and_their_audit_on_one_page(place, folders, tmp_path):
    done = call(*folders, "--meta", place / "audit.h5", "--out", tmp_path / "p.html", "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"wrote {tmp_path / 'p.html'}"
    assert "3 runs on demo, resnet8" in lines[0]
    assert all(any(name in line for line in lines) for name in ("erm, 2 runs", "  erm, seed 1", " clp "))
    assert "background gap" in done.stdout
    page = Page((tmp_path / "p.html").read_text())
    for part in (
        "How much they rely on backgrounds", "reliance on backgrounds", "gap minus that of erm, seed 0, points",
        "mix-other",
        "audit.h5: pictures of the split test of demo, backgrounds of the split train", "Accuracy by group, test",
        "Which classes are confused, test", "clp against erm: ", "Grad-CAM of the label, on originals of demo.h5",
        "clp: ",
    ):  # fmt: skip
        assert part in page.text, part
    assert len(page.images) % 3 == 0
    assert len(page.images) > 3
    assert "No Grad-CAM" not in page.text


def test_json_has_the_figures_of_the_runs(place, folders, tmp_path):
    done = call(*folders, "--meta", place / "audit.h5", "--out", tmp_path / "p.html", "--quiet", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["page"] == str(tmp_path / "p.html")
    for run, folder in zip(found["runs"], folders, strict=True):
        result = json.loads((folder / "result.json").read_text())
        test = (result["selected"] or result["last"])["metrics"]["test"]
        figures = {figure["title"]: figure["value"] for figure in run["figures"]}
        assert figures == {"average": test["average"], "worst group": test["worst"],
                           "weighted average": test["weighted_average"]}  # fmt: skip
        accuracy = run["audit"]["accuracy"]
        gap = accuracy["mix-same"]["value"] - accuracy["mix-other"]["value"]
        assert run["audit"]["gap"]["value"] == pytest.approx(gap, abs=1e-9)
    right = found["splits"]["test"]["agreement"]
    assert right["all right"] + right["all wrong"] + right["some right"] == right["pictures"]


def test_the_maps_are_those_of_each_run_by_itself(place, folders):
    runs = read_runs(folders)
    found = looks_of(runs, None, "cpu")
    assert list(found.by_run) == ["erm, seed 0", "clp"]
    reader, _ = shard_of(runs, None)
    for folder, looks in zip((folders[0], folders[2]), found.by_run.values(), strict=True):
        _, expected = look_at(load_classifier(folder).network, originals(reader, 12))
        assert len(expected) == len(looks) == 8
        for one, other in zip(looks, expected, strict=True):
            assert all(a.equal(b) for a, b in zip(one, other, strict=True))


def test_without_the_shard_or_weights_the_page_says_why(place, folders, tmp_path):
    moved = [tmp_path / "e0", tmp_path / "c0"]
    for source, target in zip((folders[0], folders[2]), moved, strict=True):
        shutil.copytree(source, target)
    for path in moved:
        result = json.loads((path / "result.json").read_text())
        result["config"]["meta"] = str(tmp_path / "gone.h5")
        (path / "result.json").write_text(json.dumps(result))
    done = call(*moved, "--out", tmp_path / "p.html", "--quiet")
    assert done.exit_code == 0
    assert done.stderr.startswith(f"no Grad-CAM: shard {tmp_path}/gone.h5: no such file")
    done = call(*moved, "--meta", place / "audit.h5", "--out", tmp_path / "p.html", "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "on originals of audit.h5" in Page((tmp_path / "p.html").read_text()).text
    json_of = json.loads((moved[1] / "classifier.json").read_text())
    (moved[1] / json_of["weights"]).unlink()
    done = call(*moved, "--meta", place / "audit.h5", "--out", tmp_path / "p.html", "--quiet")
    assert done.exit_code == 0
    first, second = done.stderr.splitlines()
    assert first.startswith("no Grad-CAM: clp: ")
    assert second.startswith("no audit of clp: ")
    page = Page((tmp_path / "p.html").read_text())
    assert "No audit of clp: " in page.text
    assert "gap minus that of" in page.text


def test_a_shard_of_other_pictures_or_another_side_is_told(folders, tmp_path):
    shard = make_demo_shard(tmp_path / "other.h5", size=32, per_group=1, train=40)
    moved = [tmp_path / "e0", tmp_path / "c0"]
    for source, target in zip((folders[0], folders[2]), moved, strict=True):
        shutil.copytree(source, target)
        result = json.loads((target / "result.json").read_text())
        result["config"]["meta"] = str(shard)
        (target / "result.json").write_text(json.dumps(result))
    done = call(*moved, "--out", tmp_path / "p.html", "--quiet")
    assert done.stderr.splitlines() == [
        f"no Grad-CAM: {name}: it takes pictures of 16 pixels, the shard's have 32" for name in ("erm", "clp")
    ]
    runs = read_runs(moved)
    for run in runs.runs:
        run.result["fingerprint"] = "0" * 64
    assert looks_of(runs, None, "cpu").remarks == [f"shard {shard}: it now holds other pictures"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "expected RUN RUN ..., the folders of two finished runs or more; clp-train writes them"),
        (("e0",), 2, "expected at least two runs, given 1; name the folders that clp-train wrote"),
        (("e0", "e0"), 2, "{}/e0: this run is given twice; name each folder once"),
        (("e0", "none"), 3, "{}/none: no such folder; give the folder of a finished run of clp-train"),
        (("e0", "c0", "--out", ""), 2, "--out {}: it is a folder; give the name of a new page"),
        (("e0", "c0", "--out", "no/p.html"), 3, "cannot write {}/no/p.html (No such file or directory)"),
        (
            ("e0", "c0", "--out", "audit.h5", "--meta", "audit.h5"),
            2,
            "--out {}/audit.h5: it is the shard; give the name",
        ),
        (("e0", "c0", "--meta", "demo.h5"), 3, "shard {}/demo.h5: it is a meta set without the views of an audit;"),
        (("e0", "c0", "--meta", "no.h5"), 3, "shard {}/no.h5: no such file"),
    ],
)
def test_bad_input_is_one_line(place, tmp_path, arguments, code, message):
    words = [argument if argument.startswith("--") else place / argument for argument in arguments]
    done = call(*words, *(() if "--out" in arguments else ("--out", tmp_path / "p.html")))
    assert done.exit_code == code
    assert done.stderr.startswith(f"error: {message.format(place)}")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "p.html").exists()


def test_an_unknown_device_is_refused(place, folders):
    done = call(*folders, "--device", "abacus")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: --device abacus: ")
