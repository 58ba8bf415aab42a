"""What clp-train prints of a result: names that others wrote, on any terminal."""

import click
import pytest
from click.testing import CliRunner

from clp_aug.common.terminal import one_line_errors
from clp_train import cli

NAMES = ("[red]cat", "cup [/mug]", ":smile:", "中é", "\x1b[2J", "<b>|")
METRICS = {
    "average": 0.75, "weighted_average": 0.8, "worst": 0.5, "per_group": [0.5] * len(NAMES),
    "per_class": [0.5] * len(NAMES), "group_counts": [2] * len(NAMES), "class_counts": [2] * len(NAMES),
}  # fmt: skip
RESULT = {
    "config": {"method": "erm", "model": "resnet8", "seed": 4},
    "dataset": "folder",
    "has_groups": True,
    "class_names": list(NAMES),
    "group_names": list(NAMES),
    "train_group_counts": [30] * len(NAMES),
    "last": {"epoch": 7, "metrics": {"test": METRICS}},
    "selected": None,
    "history": [],
}


@pytest.mark.parametrize(
    ("charset", "foreign"),
    [("utf-8", "中é"), ("cp1252", r"\u4e2dé"), ("latin-1", r"\u4e2dé"), ("ascii", r"\u4e2d\xe9")],
)
def test_the_table_shows_any_name_on_any_terminal(charset, foreign):
    @click.command()
    @one_line_errors("nothing")
    def command():
        cli.show(RESULT)

    done = CliRunner(charset=charset).invoke(command)
    assert done.exit_code == 0, done.exception
    text = done.stdout_bytes.decode(charset)
    mark = "\ufffd" if charset == "utf-8" else r"\ufffd"
    for name in ("[red]cat", "cup [/mug]", ":smile:", foreign, f"{mark}[2J", "<b>|"):
        assert f" {name} " in text
    assert "\x1b" not in text
