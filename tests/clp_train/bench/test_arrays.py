"""Scripts of arrays: whatever stands in names and arguments arrives, one job a number, and its end is told."""

import dataclasses
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clp_aug.common.locks import held_for
from clp_aug.contract.errors import UsageError
from clp_train.bench.arrays import script_of
from clp_train.bench.job import Job
from clp_train.bench.jobs import SHARDS
from clp_train.bench.one_job import read, words_of
from tests.clp_train.bench.small_jobs import job, litter

NAMES = (
    "plain",
    "two words",
    "it's",
    'say "hi"',
    "$HOME `ls` $(ls)",
    "back\\slash",
    "line\nbreak",
    "-dash",
    "*",
    "ä;#&",
)
TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1, max_size=20)


def in_bash(script, number, name="runs"):
    """Do a task of a script by hand."""
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(number)}
    return subprocess.run(["bash", "-s", name], input=script, env=environment, capture_output=True, text=True)


def test_every_name_reaches_its_job(tmp_path, monkeypatch):
    place = tmp_path / "it's a $HOME"
    place.mkdir()
    monkeypatch.chdir(place)
    shard = dataclasses.replace(job(place, "shard"), row=SHARDS)
    jobs = [job(place, name, "assert __import__('os').environ['OMP_NUM_THREADS'] == '2'") for name in NAMES]
    needing = [dataclasses.replace(one, needs=(shard.makes,)) for one in jobs]
    script = script_of([shard, *needing], 2, None, None, ["clp-bench", "a\nrm b"])
    assert script.endswith("# clp-bench 'a\ufffdrm b'\n")
    early = in_bash(script, 0)
    assert (early.returncode, early.stdout) == (3, "")
    assert early.stderr.endswith(f"plain: needs {shard.makes}, which does not exist; its task failed or has not run\n")
    assert early.stderr.count("\n") == 1
    for name, count in (("shards", 1), ("runs", len(NAMES))):
        for number in range(count):
            done = in_bash(script, number, name)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), NAMES[number]
    assert [one.makes.read_text() for one in (shard, *jobs)] == ["x"] * (1 + len(NAMES))
    assert not litter(place)
    again = in_bash(script, 0)
    assert (again.returncode, (place / "plain").read_text()) == (0, "x"), "what is done stays"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(TEXT, min_size=1, max_size=4), name=TEXT)
def test_words_pass_through_bash_as_they_are(tmp_path, words, name):
    """The oracle is what Python gives: the words that one_job would be started with."""
    lock = tmp_path / "lock"
    one = Job("r", tuple(words), tmp_path / f"x{name}", tmp_path / "log", lock, (), lock)
    script = script_of([one], 1, "cpu", None, ["clp-bench"]).replace(f"exec {sys.executable}", "exec printf '%s\\0'", 1)
    said = subprocess.run(["bash", "-s", "runs"], input=script.encode(), env=os.environ | {"SLURM_ARRAY_TASK_ID": "0"},
                          capture_output=True).stdout.decode().split("\0")[:-1]  # fmt: skip
    assert said == ["-m", "clp_train.bench.one_job", *words_of(one, 1, "cpu")]
    assert read(said[2:]) == (dataclasses.replace(one, row=""), 1, "cpu")


def test_only_open_jobs_have_a_number_and_few_run_at_once(tmp_path):
    jobs = [dataclasses.replace(job(tmp_path, "s"), row=SHARDS), *(job(tmp_path, name) for name in "abc")]
    for one in jobs[:2]:
        one.makes.write_text("x")
    script = script_of(jobs, 3, None, 5, ["clp-bench"])
    assert "--cpus-per-task=3 --array=0-1%5 " in script
    assert "--array" not in script.replace("--array=0-1%5", ""), "there is no array of shards"
    assert f"{tmp_path}/a" not in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_a_failure_is_one_line_and_an_exit_code(tmp_path):
    script = script_of([job(tmp_path, "bad", "print('error: no'); raise SystemExit(4)")], 1, None, None, ["clp-bench"])
    done = in_bash(script, 0)
    assert (done.returncode, done.stderr) == (3, f"error: {tmp_path}/bad: exit code 4: error: no\n")
    for number, name, said in (
        (1, "runs", "error: no task has number 1"),
        (0, "shards", "error: no task has number 0"),
    ):
        wrong = in_bash(script, number, name)
        assert (wrong.returncode, wrong.stderr) == (2, f"{said}\n")
    unset = subprocess.run(["bash", "-s", "runs"], input=script, capture_output=True, text=True)
    assert unset.returncode != 0
    assert "SLURM_ARRAY_TASK_ID: is not set: which run?" in unset.stderr


def test_what_another_task_makes_is_waited_for(tmp_path):
    one = job(tmp_path, "one")
    script = script_of([one], 1, None, None, ["clp-bench"])
    with held_for(one.log, "queue"):
        waiting = subprocess.Popen(["bash", "-s", "runs"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=os.environ | {"SLURM_ARRAY_TASK_ID": "0"})  # fmt: skip
        waiting.stdin.write(script)
        waiting.stdin.close()
        waiting.stdin = None
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(2)
        one.makes.write_text("y")
    assert (waiting.communicate()[1], waiting.returncode) == ("", 0)
    assert one.makes.read_text() == "y"


@pytest.mark.parametrize("words", [[], ["x"] * 9, ["1", *"xxxxxx", "-", "x"], ["1", *"xxxxxx", "--"]])
def test_words_of_nobody_are_refused(words):
    with pytest.raises(
        UsageError, match=r"^expected THREADS DEVICE MAKES .* COMMAND ..., as clp-bench --engine slurm-a"
    ):
        read(words)
