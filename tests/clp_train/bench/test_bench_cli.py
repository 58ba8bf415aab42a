"""clp-bench on the built-in set: killed in the middle it changes nothing; errors in one line."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from clp_aug.contract.errors import UsageError
from clp_train.bench.cli import bench, say_what_failed, say_what_is_done, seeds_of
from clp_train.run_folder import RESULT
from tests.clp_train.bench.forked_bench import ForkedBench

TINY = """
title = "Tiny"
[columns.average]
title = "average"
[columns.average.cpu]
augment = ["--dataset", "demo", "--size", "16", "--limit", "60"]
train = ["--epochs", "2", "--batch-size", "20", "--set", "checkpoint_interval=1"]
[rows.erm]
title = "CE"
method = "erm"
[rows.clp]
title = "CLP"
method = "clp"
train = ["--saliency-lambda", "0"]
"""


def command(folder, *more):
    script = str(Path(sys.executable).parent / "clp-bench")
    return [script, str(folder / "tiny.toml"), "--seeds", "1", "--work", str(folder / "w"), "--out",
            str(folder / "o"), "--workers", "1", "--quiet", *more]  # fmt: skip


def scores(folder):
    runs = json.loads((folder / "o" / "tiny-cpu" / "table.json").read_text())["runs"]
    return [{key: value for key, value in run.items() if "seconds" not in key} for run in runs]


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """Run clp-bench without the time that imports take."""
    with ForkedBench(tmp_path_factory.mktemp("forked")) as bench:
        yield bench


MOMENTS = {
    "the shard is begun": "shards/*.parts",
    "it is there": "shards/*.h5",
    "a run is at work": "runs/erm-*/[!.]*",
    "it is done": f"runs/erm-*/{RESULT}",
    "the other is at work": "runs/clp-*/[!.]*",
}
"""When a queue is killed, and what lies in its folder from then on: what it has started may already be done."""


def test_killed_five_times_the_table_is_the_same(tmp_path, forked):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.toml").write_text(TINY)
    assert forked(*command(tmp_path / "whole")[1:]).code == 0
    for moment, pattern in MOMENTS.items():
        ended = forked(*command(tmp_path / "killed")[1:], kill_at=(tmp_path / "killed" / "w", pattern))
        assert ended.code == -signal.SIGKILL, moment
    subprocess.run(command(tmp_path / "killed"), check=True, stdout=subprocess.DEVNULL)
    assert scores(tmp_path / "whole") == scores(tmp_path / "killed")
    before = {path: path.read_bytes() for path in (tmp_path / "killed" / "o" / "tiny-cpu").iterdir()}
    done = forked(*command(tmp_path / "killed")[1:])
    assert before == {path: path.read_bytes() for path in before}, "made twice from the same runs"
    assert done.out == f"wrote {tmp_path / 'killed' / 'o' / 'tiny-cpu' / 'table.md'}\n"


def test_a_table_is_extended_by_what_it_lacks(tmp_path, forked):
    (tmp_path / "tiny.toml").write_text(TINY)
    table = tmp_path / "o" / "tiny-cpu" / "table.json"

    def made(*more):
        """Return the rows and seeds of the table after a command, and the runs that it did itself."""
        work = tmp_path / f"w{len(list(tmp_path.glob('w*')))}"
        assert forked(*command(tmp_path, *more, "--work", str(work))[1:]).code == 0
        runs = json.loads(table.read_text())["runs"]
        return [(run["row"], run["seed"]) for run in runs], {
            path.parent.name[:3] for path in work.glob("*/*/result.json")
        }

    assert made("--methods", "erm") == ([("erm", 0)], {"erm"})
    first = json.loads(table.read_text())["runs"][0]
    assert made("--methods", "clp", "--extend") == ([("clp", 0), ("erm", 0)], {"clp"})
    assert json.loads(table.read_text())["runs"][1] == first
    assert made("--extend") == ([("clp", 0), ("erm", 0)], set())
    table.write_text(table.read_text().replace(first["fingerprint"], "another"))
    refused = forked(*command(tmp_path, "--methods", "erm", "--extend")[1:])
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "table.json holds 1 runs that the new table would lose, such as clp, average, seed 0: give" in refused.err
    assert made("--extend") == ([("clp", 0), ("erm", 0)], {"clp", "erm"}), "other data do not count"
    (tmp_path / "tiny.toml").write_text(TINY.replace('"--epochs", "2"', '"--epochs", "1"'))
    assert made("--extend") == ([("clp", 0), ("erm", 0)], {"clp", "erm"}), "nor do other settings"
    before = table.read_bytes()
    assert forked(*command(tmp_path, "--methods", "clp")[1:]).code == 2
    assert table.read_bytes() == before, "nothing is lost unasked"


def test_dry_run_and_errors(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    run = CliRunner().invoke(bench, [*command(tmp_path)[1:], "--dry-run"])
    assert run.output.splitlines()[-1] == "0 of 3 done"
    assert run.output.count("to do ") == 3
    assert not (tmp_path / "w").exists()
    for more, message in (
        (["--methods", "x"], "unknown row 'x': choose one of clp, erm"),
        (["--columns", "x"], "unknown column 'x': choose one of average"),
        (["--scale", "paper"], "table tiny has no settings of scale paper; take another scale"),
    ):
        refused = CliRunner().invoke(bench, [*command(tmp_path)[1:], *more])
        assert refused.exit_code == 2
        assert message in refused.stderr
    refused = CliRunner().invoke(bench, ["table1"])
    assert (refused.exit_code, "unknown table 'table1': did you mean table8? choose one of" in refused.stderr) == (
        2,
        True,
    )


def test_a_failed_run_is_named_and_the_rest_is_written(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY.replace('train = ["--saliency-lambda", "0"]', 'train = ["--lr", "-1"]'))
    run = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert run.returncode == 3
    assert "exit code 2: error: --lr -1.0: expected a number > 0" in run.stderr
    assert "error: 1 of 3 jobs failed, see above; their logs lie in" in run.stderr
    assert "| CLP | - | - | - | - |" in (tmp_path / "o" / "tiny-cpu" / "table.md").read_text()


def test_where_all_failed_nothing_is_written(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY.replace('"--epochs", "2"', '"--epochs", "0"'))
    run = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert run.returncode == 3
    assert run.stdout == ""
    assert not any((tmp_path / "o").iterdir())


def test_seeds():
    assert seeds_of("3") == [0, 1, 2]
    assert seeds_of("0,4") == [0, 4]
    assert seeds_of("5,") == [5]
    for text in ("0", "x", "", "-1,2", "1,1"):
        with pytest.raises(UsageError, match=f"--seeds {text}: expected how many, or different seeds with commas"):
            seeds_of(text)


@pytest.mark.parametrize("text", ["1001", "99999999999999999999999"])
def test_more_seeds_than_anybody_runs_are_one_seed_by_mistake(text):
    with pytest.raises(UsageError, match=rf"^--seeds {text}: expected at most 1000; a single one is .* {text},$"):
        seeds_of(text)
    assert seeds_of(f"{text},") == [int(text)]


@pytest.mark.parametrize("option", ["--work", "--out"])
def test_a_folder_that_cannot_be_made_is_told_first(tmp_path, option):
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(bench, [*command(tmp_path)[1:], option, str(tmp_path / "file" / "x")])
    assert refused.exit_code == 3
    assert refused.stderr == (
        f"error: cannot make folder {tmp_path}/file/x (Not a directory); choose another {option}\n"
    )
    assert not list(tmp_path.glob("w/runs"))


def test_a_finished_table_has_nothing_to_run(capsys):
    say_what_is_done([])
    assert capsys.readouterr().out == "nothing to run\n"


def test_what_a_job_printed_does_not_act_on_the_terminal(capsys):
    say_what_failed({"runs/a": "exit code 3: error: class \x1b[2J is empty"})
    assert capsys.readouterr().err == "runs/a: exit code 3: error: class \ufffd[2J is empty\n"
