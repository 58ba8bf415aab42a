"""The queue: what is done stays, what failed is named, what was killed goes on, nothing is made by two at once."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest

from clp_aug.common.locks import held_for, lock_of
from clp_aug.contract.errors import InputError
from clp_train.bench import processes
from clp_train.bench.job import Job
from clp_train.bench.jobs import jobs_of, plan
from clp_train.bench.processes import Running, came_second, place_of, resumption
from clp_train.bench.queue import Progress, seconds_left, work_off
from clp_train.run_folder import RESULT
from clp_train.running.checkpoint import CHECKPOINT
from tests.clp_train.bench.tiny_tables import table


def job(tmp_path, name, code="", needs=()):
    """A process that runs code, then writes its name."""
    made = tmp_path / name
    write = f"open({str(made)!r}, 'a').write('x')"
    command = (sys.executable, "-c", f"{code}\n{write}")
    return Job(name, command, made, tmp_path / f"{name}.log", lock_of(made), tuple(needs))


def litter(folder):
    """Return what a queue may leave behind."""
    return [path.name for path in folder.iterdir() if path.name.endswith((".lock", ".log"))]


def test_needs_come_first_and_each_is_made_once(tmp_path):
    shard = job(tmp_path, "shard")
    runs = [job(tmp_path, f"run{i}", f"open({str(shard.makes)!r})", [shard.makes]) for i in range(3)]
    seen = []
    progress = work_off([*runs, shard], 2, 1, lambda p: seen.append(p.done))
    assert (progress.done, progress.total, progress.failed) == (4, 4, {})
    assert seen[0] == 0
    assert seen == sorted(seen)
    again = work_off([*runs, shard], 2, 1)
    assert again.done == 4
    assert all(one.makes.read_text() == "x" for one in (*runs, shard))
    assert not litter(tmp_path)


def test_a_failure_is_named_and_stops_only_what_needs_it(tmp_path):
    bad = job(tmp_path, "bad", "print('error: no such picture'); raise SystemExit(3)")
    late, other = job(tmp_path, "late", needs=[bad.makes]), job(tmp_path, "other")
    progress = work_off([bad, late, other], 1, 1)
    assert progress.failed == {
        str(bad.makes): "exit code 3: error: no such picture",
        str(late.makes): "needs bad, which failed",
    }
    assert other.makes.exists()
    assert bad.log.read_text() == "error: no such picture\n"
    assert litter(tmp_path) == ["bad.log"]


def test_success_without_what_it_makes_is_a_failure(tmp_path):
    silent = Job("s", (sys.executable, "-c", ""), tmp_path / "never", tmp_path / "never.log", tmp_path / ".lock")
    assert work_off([silent], 1, 1).failed == {str(silent.makes): "exit code 0: it printed nothing"}


def test_every_process_has_the_same_threads(tmp_path):
    code = "import os; assert os.environ['OMP_NUM_THREADS'] == '3' == os.environ['MKL_NUM_THREADS']"
    assert not work_off([job(tmp_path, "a", code)], 1, 3).failed


@pytest.mark.parametrize("of", ["another queue", "a process of a killed queue"])
def test_what_another_process_makes_is_waited_for(tmp_path, of):
    one = job(tmp_path, "one")
    with held_for(one.log if of == "another queue" else one.makes):
        assert processes.start(one, 1) is None
    started = processes.start(one, 1)
    started.process.wait()
    started.lock.close()
    assert one.done
    assert litter(tmp_path) == ["one.log"]


@pytest.mark.parametrize(
    ("code", "done", "held", "second"),
    [(2, False, True, True), (2, False, False, False), (3, False, True, False), (2, True, True, False)],
    ids=["refused by the other's lock", "refused for another reason", "failed", "the other was quick"],
)
def test_who_comes_second_has_not_failed(tmp_path, code, done, held, second):
    """Two may start where a queue is killed before its process has come to its lock."""
    one = job(tmp_path, "one")
    if done:
        one.makes.write_text("")
    with held_for(one.makes) if held else contextlib.nullcontext():
        assert came_second(Running(one, SimpleNamespace(returncode=code), contextlib.ExitStack(), 0.0)) is second


def test_what_killed_queues_left_of_jobs_that_are_done_is_cleared_away(tmp_path):
    one, other = job(tmp_path, "one"), job(tmp_path, "other")
    for path in (one.makes, one.log, one.lock, lock_of(one.log), other.makes, other.log):
        path.write_text("")
    with held_for(other.log):
        assert work_off([one, other], 1, 1).done == 2
        assert sorted(litter(tmp_path)) == [".other.log.lock", "other.log"], "another queue is about to clear that"


def test_a_command_that_is_not_there_is_one_line(tmp_path):
    lacking = Job("x", (str(tmp_path / "clp-train"),), tmp_path / "x", tmp_path / "x.log", tmp_path / ".lock")
    with pytest.raises(InputError, match=r"cannot open or start .*/clp-train \(No such file or directory\)"):
        work_off([lacking], 1, 1)
    assert litter(tmp_path) == ["x.log"]


def queue_apart(tmp_path, seconds):
    """A process that works off a job of some seconds; returned while that runs, with the number of its process."""
    script = f"""
        import sys
        from pathlib import Path
        from clp_aug.common.locks import lock_of
        from clp_train.bench.job import Job
        from clp_train.bench.queue import work_off
        made = Path({str(tmp_path)!r}) / "slow"
        code = f"from clp_aug.common.locks import held_for; from pathlib import Path; made = Path({{str(made)!r}})"
        code += "; import os, time\\nwith held_for(made):\\n print(os.getpid(), flush=True); time.sleep({seconds})"
        code += "; open(made, 'a').write('x')"
        work_off([Job("r", (sys.executable, "-c", code), made, made.with_suffix(".log"), lock_of(made))], 1, 1)
    """
    apart = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.DEVNULL)
    log = tmp_path / "slow.log"
    while not (log.exists() and log.read_text().strip()):
        time.sleep(0.02)
    return apart, int(log.read_text())


def test_a_killed_queue_leaves_its_process_the_lock(tmp_path):
    killed, _ = queue_apart(tmp_path, 2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    same = job(tmp_path, "slow")
    assert work_off([same], 1, 1).failed == {}
    assert same.makes.read_text() == "x", "made once, by the process of the killed queue"
    assert work_off([same], 1, 1).done == 1
    assert not litter(tmp_path)


def test_a_terminated_queue_stops_its_processes(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    terminated, child = queue_apart(tmp_path, 60)
    terminated.terminate()
    assert terminated.wait(20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert work_off([], 1, 1).failed == {}
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_killed_run_is_resumed_where_it_left_a_state(tmp_path):
    run = jobs_of(plan(table(), "cpu", [0], tmp_path, rows=["ce"], columns=["a"]))[1]
    folder = run.makes.parent
    assert run.makes.name == RESULT
    assert resumption(run) == []
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("")
    assert resumption(run) == [], "clp-train begins anew in it"
    (folder / CHECKPOINT).write_text("")
    assert resumption(run) == ["--resume"]


@pytest.mark.parametrize(
    ("device", "of_run", "of_shard"),
    [(None, [], []), ("cpu", ["--device", "cpu"], ["--device", "cpu"]), ("xpu:1", ["--device", "xpu:1"], [])],
)
def test_all_runs_are_told_where_to_compute_and_are_the_same_runs(device, of_run, of_shard, tmp_path):
    """A shard whose making needs no network would refuse an accelerator's name."""
    shard, run = jobs_of(plan(table(), "cpu", [0], tmp_path, rows=["ce"], columns=["a"]))
    assert place_of(run, device) == of_run
    assert place_of(shard, device) == of_shard


def test_the_device_reaches_the_process(tmp_path):
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(' '.join(sys.argv[2:]))"
    made = tmp_path / "a" / RESULT
    made.parent.mkdir()
    one = Job("r", (sys.executable, "-c", code, str(made)), made, tmp_path / "a.log", lock_of(made), state=made)
    assert not work_off([one], 1, 1, device="xpu:1").failed
    assert made.read_text() == "--device xpu:1"


def test_time_left_takes_rows_at_their_own_pace(tmp_path):
    jobs = [job(tmp_path, name) for name in ("a", "b", "c", "d")]
    jobs[3].makes.write_text("done")
    progress = Progress(4, seconds={"a": [10.0, 20.0], "x": [60.0]}, failed={str(jobs[2].makes): "no"})
    assert seconds_left(jobs, progress, 2) == (15 + 30) / 2
    assert seconds_left(jobs, Progress(4), 2) is None


def test_what_another_process_makes_keeps_nothing_else_waiting(tmp_path):
    taken, free = job(tmp_path, "a"), job(tmp_path, "b")
    lock = contextlib.ExitStack()
    lock.enter_context(held_for(taken.log))
    seen = []

    def note(progress):
        seen.append((free.makes.exists(), taken.makes.exists()))
        if seen[-1] == (True, False):
            lock.close()

    work_off([taken, free], 1, 1, note)
    assert seen == [(False, False), (True, False), (True, True)]
