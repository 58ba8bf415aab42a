"""The queue: what is done stays, what failed is named, what was killed goes on, nothing is made by two at once."""

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from clp_train.bench import queue
from clp_train.bench.jobs import plan
from clp_train.bench.queue import Job, Progress, jobs_of, resumption, seconds_left, work_off
from clp_train.run_folder import RESULT
from clp_train.running.checkpoint import CHECKPOINT
from tests.clp_train.bench.tiny_tables import table


def job(tmp_path, name, code="", needs=()):
    """A process that runs code, then writes its name."""
    made = tmp_path / name
    write = f"open({str(made)!r}, 'a').write('x')"
    return Job(name, (sys.executable, "-c", f"{code}\n{write}"), made, tmp_path / f"{name}.log", tuple(needs))


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
    assert not list(tmp_path.glob("*.lock"))
    assert not list(tmp_path.glob("*.log"))


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


def test_success_without_what_it_makes_is_a_failure(tmp_path):
    silent = Job("s", (sys.executable, "-c", ""), tmp_path / "never", tmp_path / "never.log")
    assert work_off([silent], 1, 1).failed == {str(silent.makes): "exit code 0: it printed nothing"}


def test_every_process_has_the_same_threads(tmp_path):
    code = "import os; assert os.environ['OMP_NUM_THREADS'] == '3' == os.environ['MKL_NUM_THREADS']"
    assert not work_off([job(tmp_path, "a", code)], 1, 3).failed


def test_what_another_process_makes_is_waited_for(tmp_path):
    """A lock that outlives its queue: the job is not started a second time."""
    one = job(tmp_path, "one")
    with open(tmp_path / "one.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert queue.start(one, 1) is None
    started = queue.start(one, 1)
    started.process.wait()
    assert one.done


def queue_apart(tmp_path, seconds):
    """A process that works off a job of some seconds; returned while that runs, with the number of its process."""
    script = f"""
        import sys
        from pathlib import Path
        from clp_train.bench.queue import Job, work_off
        made = Path({str(tmp_path)!r}) / "slow"
        code = "import os, time; print(os.getpid(), flush=True); time.sleep({seconds})"
        code += f"; open({{str(made)!r}}, 'a').write('x')"
        work_off([Job("r", (sys.executable, "-c", code), made, made.with_suffix(".log"))], 1, 1)
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


def test_a_terminated_queue_stops_its_processes(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    terminated, child = queue_apart(tmp_path, 60)
    terminated.terminate()
    assert terminated.wait(20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert work_off([], 1, 1).failed == {}
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_killed_run_is_resumed_and_a_folder_without_a_state_is_made_anew(tmp_path):
    run = jobs_of(plan(table(), "cpu", [0], tmp_path, rows=["ce"], columns=["a"]))[1]
    folder = run.makes.parent
    assert run.makes.name == RESULT
    assert resumption(run) == []
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("")
    assert resumption(run) == []
    assert not folder.exists()
    folder.mkdir()
    (folder / CHECKPOINT).write_text("")
    assert resumption(run) == ["--resume"]
    assert folder.exists()


def test_time_left_takes_rows_at_their_own_pace(tmp_path):
    jobs = [job(tmp_path, name) for name in ("a", "b", "c", "d")]
    jobs[3].makes.write_text("done")
    progress = Progress(4, seconds={"a": [10.0, 20.0], "x": [60.0]}, failed={str(jobs[2].makes): "no"})
    assert seconds_left(jobs, progress, 2) == (15 + 30) / 2
    assert seconds_left(jobs, Progress(4), 2) is None


def test_what_another_process_makes_keeps_nothing_else_waiting(tmp_path):
    taken, free = job(tmp_path, "a"), job(tmp_path, "b")
    with open(taken.log.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(3, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
        seen = []
        work_off([taken, free], 1, 1, lambda progress: seen.append((free.makes.exists(), taken.makes.exists())))
    assert (True, False) in seen
    assert seen[-1] == (True, True)
