"""REPORT: the table of a run without groups and without a val split."""

import io

import pytest
from rich.console import Console

from clp_train.report.table import accuracy_table, percent, remarks


def text(result):
    out = io.StringIO()
    Console(width=120, file=out).print(accuracy_table(result))
    return out.getvalue()


METRICS = {
    "average": 0.75,
    "weighted_average": 0.8,
    "worst": 0.5,
    "per_group": [1.0, 0.5, None],
    "group_counts": [3, 2, 0],
}
RESULT = {
    "config": {"method": "erm", "model": "resnet8", "seed": 4},
    "dataset": "cifar10",
    "has_groups": False,
    "group_names": ["cat", "dog", "eel"],
    "train_group_counts": [30, 20, 5],
    "last": {"epoch": 7, "metrics": {"test": METRICS}},
    "selected": None,
    "history": [],
}


def test_without_groups_and_val():
    lines = text(RESULT).splitlines()
    assert "erm on cifar10: resnet8, seed 4" in lines[0]
    cells = [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines]
    assert ["class", "train n", "test, last (7)"] in cells
    assert ["dog", "20", "50.0 % (2)"] in cells
    assert ["eel", "5", "- (0)"] in cells
    assert ["worst class", "", "50.0 %"] in cells
    assert ["average (top-1)", "55", "75.0 %"] in cells
    assert ["average, weighted as in training", "", "80.0 %"] in cells
    assert "no val split: nothing selected, test at the last epoch only" in text(RESULT)


def test_with_val_the_selected_epoch_stands_beside_the_last():
    both = {"val": METRICS, "test": METRICS}
    result = RESULT | {"last": {"epoch": 7, "metrics": both}, "selected": {"epoch": 2, "metrics": both}}
    for part in ("val, last (7)", "test, last (7)", "val, selected", "test, selected", "(epoch 2), never by test"):
        assert part in text(result)


@pytest.mark.parametrize(("has_groups", "worst", "parts"), [(True, "worst", "group"), (False, "worst class", "class")])
def test_the_worst_is_that_of_groups_or_else_of_classes(has_groups, worst, parts):
    result = RESULT | {"has_groups": has_groups, "selected": RESULT["last"], "best_on_test": RESULT["last"]}
    lines = text(result).splitlines()
    assert [line.split("│")[1].strip() for line in lines if "worst" in line and "│" in line] == [worst]
    shown = " ".join(" ".join(lines).split())
    assert f"selected = best val worst {parts} (epoch 7), never by test" in shown
    assert f"best on test: average 75.0 %, {worst} 50.0 % (epoch 7)" in shown


def test_a_long_tail_of_the_protocol_has_rows_of_its_strata():
    """Many are more than 100 training pictures, few less than 20; pictures weigh alike within a stratum."""
    metrics = METRICS | {"per_group": [1.0, 0.5, 0.25, None, 0.0], "group_counts": [3, 1, 4, 0, 6]}
    result = RESULT | {
        "group_names": list("abcde"), "train_group_counts": [400, 101, 100, 20, 19],
        "shard_settings": {"imbalance": 20.0}, "last": {"epoch": 7, "metrics": {"test": metrics}},
    }  # fmt: skip
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text(result).splitlines()]
    rows = {line[0]: line[1:] for line in lines if line}
    assert rows["many shots"] == ["501", "87.5 %"]
    assert rows["medium shots"] == ["120", "25.0 %"]
    assert rows["few shots"] == ["19", "0.0 %"]
    balanced = result | {"shard_settings": {"imbalance": None}}
    assert "shots" not in text(balanced) + text(result | {"has_groups": True}) + text(RESULT)
    assert "many shots" not in text(result | {"train_group_counts": [9, 8, 7, 6, 5]})


def test_protocols_strata_and_more_classes_than_rows():
    metrics = METRICS | {"precision": 0.4321, "strata": {"tail attributes": 0.125, "few-shot classes": None}}
    many = [f"class{c}" for c in range(31)]
    result = RESULT | {
        "group_names": many,
        "train_group_counts": [2] * 31,
        "protocols": {"test_bl": "CLT", "test_bbl": "GLT"},
        "last": {"epoch": 7, "metrics": {"val": METRICS | {"precision": 0.5}, "test_bl": metrics, "test_bbl": metrics}},
    }
    lines = text(result).splitlines()
    cells = [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines]
    assert ["class", "train n", "val, last (7)", "test_bl = CLT, last (7)", "test_bbl = GLT, last (7)"] in cells
    assert ["tail attributes", "", "-", "12.5 %", "12.5 %"] in cells
    assert ["few-shot classes", "", "-", "-", "-"] in cells
    assert ["mean precision", "", "50.0 %", "43.2 %", "43.2 %"] in cells
    assert ["average (top-1)", "62", "75.0 %", "75.0 %", "75.0 %"] in cells
    assert not any("class7" in line for line in lines)
    assert "31 rows of single ones: result.json" in text(result)
    assert "mean precision" not in text(RESULT)


def test_it_says_who_was_told_of_the_noise():
    config = RESULT["config"]
    for method, expected in (("jocor", ["the method was told the share of wrong labels"]), ("l2rw", [])):
        assert remarks(RESULT | {"config": config | {"method": method}}) == expected


NAMES = ("[red]cat", "cup [/mug]", ":smile:", "[bold]", "\x1b[2Jx\n")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_markup_and_no_terminal_codes(name):
    """On any console, also in the title, in the heads of splits and beside strata."""
    metrics = METRICS | {"per_group": [1.0], "group_counts": [3], "strata": {name: 0.5}}
    last = {"epoch": 1, "metrics": {name: metrics}}
    result = RESULT | {"group_names": [name], "train_group_counts": [30], "dataset": name, "last": last}
    shown = name.replace("\x1b", "\ufffd").replace("\n", "\ufffd")
    assert text(result).count(shown) == 4
    assert "\x1b" not in text(result)


@pytest.mark.parametrize(("part", "style"), [("title", "\x1b[3m"), ("caption", "\x1b[2;3m")])
def test_title_and_note_look_as_rich_draws_them(part, style):
    out = io.StringIO()
    Console(width=120, file=out, force_terminal=True, color_system="standard").print(accuracy_table(RESULT))
    line = out.getvalue().splitlines()[{"title": 0, "caption": -1}[part]]
    assert style in line


def test_percent():
    assert (percent(None), percent(0.0), percent(0.12345)) == ("-", "0.0 %", "12.3 %")


def test_it_says_how_large_the_saliency_was_and_what_was_chosen_by_test():
    history = [
        {"epoch": 1, "train_loss": 1.5, "saliency_loss": 3e-5},
        {"epoch": 2, "train_loss": 0.5, "saliency_loss": 1e-5},
        {"epoch": 3, "train_loss": 9.0, "saliency_loss": None},
    ]
    best = {"epoch": 2, "metrics": {"test": METRICS}}
    assert remarks(RESULT | {"history": history, "best_on_test": best}) == [
        "saliency of training pictures, with its weight: 2.0e-05 of their cross entropy",
        "best on test: average 75.0 %, worst class 50.0 % (epoch 2); chosen by test, so not an honest figure",
    ]
