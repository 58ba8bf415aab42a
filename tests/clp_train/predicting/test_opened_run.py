"""open_run: a run as its folder has it, finished or not, and what a notebook shows of it."""

import json

import pytest

from clp_aug.contract.errors import InputError
from clp_train import load_classifier, open_run
from clp_train.evaluating.notebook import run_html
from clp_train.predicting.description import RESULT
from clp_train.predicting.opened_run import METRICS
from clp_train.running.checkpoint import CHECKPOINT
from tests.clp_train.predicting.recorded import pictures, record

SCRIPT = "<script>alert('x')</script>"
LINE = {"epoch": 1, "train_loss": 0.5, "val_average": 0.75, "val_worst": 0.25}


def metrics(average=0.8):
    """Return what a table needs of the metrics of a split."""
    return {"average": average, "worst": 0.2, "weighted_average": None, "group_counts": [30, 10]}


def finished(folder, **changes):
    """Write the result of a small run, and return its folder."""
    folder.mkdir()
    result = {
        "config": {"method": "clp", "preset": "demo", "model": "resnet8", "seed": 3, "epochs": 2},
        "history": [LINE, {**LINE, "epoch": 2}],
        "dataset": "demo",
        "last": {"epoch": 2, "metrics": {"test": metrics(0.7)}},
        "selected": {"epoch": 1, "metrics": {"val": metrics(), "test": metrics(0.9)}},
    }
    (folder / RESULT).write_text(json.dumps({**result, **changes}))
    return folder


def test_a_finished_run_shows_method_preset_table_and_curve(tmp_path):
    run = open_run(finished(tmp_path / "r"))
    page = run._repr_html_()
    assert run.is_finished
    assert run.config["preset"] == "demo"
    for word in ("run r", "clp", "demo", "finished", "90.0 %", "20.0 %", '<td style="text-align: left">40</td>'):
        assert word in page
    assert page.count("<polyline") == 2
    assert "the selected epoch, 1" in page
    assert "70.0 %" not in page, "the selected epoch counts"
    assert len(page) < 6000


def test_without_a_val_split_the_last_epoch_and_the_loss_are_shown(tmp_path):
    history = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": None}, {"epoch": 3, "train_loss": 1.0}]
    page = open_run(finished(tmp_path / "r", selected=None, history=history))._repr_html_()
    assert "70.0 %" in page
    assert "training loss" in page
    assert page.count("<polyline") == 1
    assert "selected epoch" not in page


def test_names_are_escaped(tmp_path):
    config = {"method": SCRIPT, "preset": SCRIPT, "model": SCRIPT, "seed": 0}
    folder = finished(tmp_path / "r", config=config, dataset=SCRIPT, last={"epoch": 1, "metrics": {SCRIPT: metrics()}},
                      selected=None)  # fmt: skip
    page = open_run(folder)._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 5


def test_an_unfinished_run_shows_what_there_is(tmp_path):
    (tmp_path / METRICS).write_text(json.dumps(LINE) + "\n")
    run = open_run(tmp_path)
    page = run._repr_html_()
    assert not run.is_finished
    assert "unfinished: 1 epochs are done" in page
    assert page.count("<polyline") == 2


def test_a_run_before_its_first_epoch_is_shown(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not yet whole")
    page = open_run(tmp_path)._repr_html_()
    assert "unfinished: 0 epochs are done" in page
    assert "<svg" not in page


def test_an_unfinished_run_says_its_method_once_it_has_a_checkpoint(tmp_path):
    from clp_aug.nets.state import write_state

    write_state(tmp_path / CHECKPOINT, {"method": "clp", "epochs": 30}, {}, {})
    page = open_run(tmp_path)._repr_html_()
    assert "clp" in page
    assert "0 of 30 epochs" in page


def test_the_classifier_is_the_one_of_the_run(loaded, tmp_path):
    record(loaded, tmp_path / "r", "erm")
    path = tmp_path / "r" / RESULT
    path.write_text(json.dumps({**json.loads(path.read_text()), "history": []}))
    found, x = open_run(tmp_path / "r").classifier(), pictures()
    assert found(x).equal(load_classifier(tmp_path / "r")(x))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no result.json and no metrics.jsonl, so no run; give the folder that clp-train wrote"),
        ({RESULT: "{"}, "not readable as JSON"),
        ({RESULT: "[]"}, "not a result of clp-train"),
        ({RESULT: '{"config": {}, "history": [1]}'}, "expected settings and a history of objects"),
        ({RESULT: '{"config": {}, "history": [], "selected": {"epoch": 1, "metrics": {"val": {"average": "x"}}}}'},
         "not a result of clp-train"),
        ({METRICS: "{\n"}, "its files are not those of a run"),
        ({METRICS: "1\n"}, "its files are not those of a run"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        open_run(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder, so no run"):
        open_run(tmp_path / "none")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "x", True])
def test_a_value_that_is_no_number_is_left_out_of_the_curve(value):
    page = run_html("x", (), {}, [{"train_loss": value}, {"train_loss": 1.0}])
    assert page.count("<polyline") == 1
    assert "nan" not in page


def test_a_loss_of_zero_throughout_has_an_axis():
    assert "<polyline" in run_html("x", (), {}, [{"train_loss": 0.0}])
