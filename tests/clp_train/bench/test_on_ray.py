"""A queue on a Ray cluster: what the local queue does, and what a cluster adds, nodes that die or do not agree."""

import contextlib
import dataclasses
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clp_aug.common.locks import held_for
from clp_aug.common.ray_cluster import connect
from clp_aug.contract.errors import ClpError, InputError, UsageError
from clp_train.bench import on_ray
from clp_train.bench.on_ray import holds
from clp_train.bench.queue import work_off_at
from tests.clp_train.bench.small_jobs import job, litter, slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def nodes():
    """A cluster of one node with two cores, to which tests may add others; this process is connected to it."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        with connect(cluster.address):
            yield cluster
        cluster.shutdown()


@pytest.fixture
def place(nodes, tmp_path):
    """The cluster as the place of a queue."""
    with on_ray.cluster(None, None, 1, 0.0, "cpu", tmp_path) as place:
        yield place


@contextlib.contextmanager
def queue_apart(nodes, folder, seconds, *names):
    """A queue of slow jobs in a process of its own, which is ended at last."""
    command = [
        sys.executable,
        "-m",
        "tests.clp_train.bench.small_jobs",
        nodes.address,
        str(folder),
        str(seconds),
        *names,
    ]
    apart = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield apart
    finally:
        apart.kill()
        apart.communicate()


def wait_for(path):
    """Wait until a file has text, and return that."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.02)
    return path.read_text()


def is_alive(process):
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_needs_come_first_a_failure_is_named_and_each_is_made_once(place, tmp_path):
    shard = job(tmp_path, "shard")
    runs = [job(tmp_path, f"run{i}", f"open({str(shard.makes)!r})", [shard.makes]) for i in range(3)]
    bad = job(tmp_path, "bad", "print('error: no such picture'); raise SystemExit(3)")
    late = job(tmp_path, "late", needs=[bad.makes])
    seen = []
    progress = work_off_at(place, [*runs, shard, bad, late], lambda p: seen.append(p.done))
    assert (progress.done, progress.total) == (4, 6)
    assert progress.failed == {
        str(bad.makes): "exit code 3: error: no such picture",
        str(late.makes): "needs bad, which failed",
    }
    assert (seen[0], seen) == (0, sorted(seen))
    assert sorted(progress.seconds) == ["run0", "run1", "run2", "shard"]
    assert work_off_at(place, [*runs, shard]).done == 4
    assert all(one.makes.read_text() == "x" for one in (*runs, shard))
    assert [name for name in litter(tmp_path) if not name.startswith(".ray-")] == ["bad.log"]


def test_a_process_has_the_threads_and_the_variables_of_the_queue(nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("CLP_DATA", "/somewhere")
    code = "import os; assert [os.environ[n] for n in ('OMP_NUM_THREADS', 'CLP_DATA')] == ['2', '/somewhere']"
    with on_ray.cluster(None, None, 2, 0.0, "cpu", tmp_path) as place:
        assert place.most == 1
        assert work_off_at(place, [job(tmp_path, "a", code)]).failed == {}
    assert not litter(tmp_path)


def test_two_queues_at_once_do_each_job_once(nodes, tmp_path):
    names = [f"job{i}" for i in range(5)]
    with contextlib.ExitStack() as stack:
        queues = [stack.enter_context(queue_apart(nodes, tmp_path, 0.3, *order)) for order in (names, names[::-1])]
        outputs = [queue.communicate() for queue in queues]
    assert [out for out, _ in outputs] == ["{}\n", "{}\n"], outputs
    assert {name: (tmp_path / name).read_text() for name in names} == dict.fromkeys(names, "x")
    assert not litter(tmp_path)


def test_a_killed_queue_goes_on_and_nothing_is_made_twice(nodes, tmp_path):
    names = ["a", "b", "c"]
    for moment in ("a", "c"):
        with queue_apart(nodes, tmp_path, 1, *names) as apart:
            wait_for(tmp_path / f"{moment}.pid")
            apart.kill()
            apart.wait()
    with on_ray.cluster(None, None, 1, 0.0, None, tmp_path) as place:
        assert work_off_at(place, [slow(tmp_path, name, 1) for name in names]).failed == {}
    assert [(tmp_path / name).read_text() for name in names] == ["x"] * 3
    assert not litter(tmp_path)


def test_a_terminated_queue_stops_its_processes(nodes, tmp_path):
    with queue_apart(nodes, tmp_path, 600, "a") as apart:
        child = int(wait_for(tmp_path / "a.pid"))
        apart.terminate()
        assert apart.wait(60) != 0
    assert not is_alive(child)
    assert not (tmp_path / "a").exists()


def test_a_node_that_dies_is_replaced_by_another(nodes, tmp_path):
    names = ["a", "b", "c"]
    node = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    with on_ray.cluster(None, None, 1, 0.0, None, tmp_path) as place:
        assert place.most == 3
        first = iter([True])

        def lose(progress):
            if next(first, False):
                return
            if node in nodes.worker_nodes:
                nodes.remove_node(node, allow_graceful=False)

        jobs = [slow(tmp_path, name, 3) for name in names]
        assert work_off_at(place, [job(tmp_path, "first"), *jobs], lose).failed == {}
    assert [(tmp_path / name).read_text() for name in names] == ["x"] * 3


def test_two_jobs_share_a_gpu(nodes, tmp_path):
    node = nodes.add_node(num_cpus=4, num_gpus=1)
    nodes.wait_for_nodes()
    alone = "import os, time; assert os.environ['CUDA_VISIBLE_DEVICES'] == '0'; time.sleep(0.5)"
    with on_ray.cluster(None, None, 1, 0.5, None, tmp_path) as place:
        assert place.most == 2
        assert work_off_at(place, [job(tmp_path, name, alone) for name in "abc"]).failed == {}
    nodes.remove_node(node)


def test_a_worker_that_is_killed_is_started_again(place, tmp_path):
    code = f"""
import os, pathlib, signal
once = pathlib.Path({str(tmp_path / "once")!r})
if not once.exists():
    once.write_text("")
    os.kill(os.getppid(), signal.SIGKILL)
"""
    one = job(tmp_path, "one", code)
    assert work_off_at(place, [one]).failed == {}
    assert set(one.makes.read_text()) == {"x"}


def test_a_worker_that_dies_each_time_is_a_failure(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "RETRIES", 1)
    one = job(tmp_path, "one", "import os, signal; os.kill(os.getppid(), signal.SIGKILL); raise SystemExit(9)")
    with on_ray.cluster(None, None, 1, 0.0, None, tmp_path) as place:
        (failure,) = work_off_at(place, [one]).failed.values()
    assert failure.startswith("its worker or node died 2 times: ")


@pytest.mark.parametrize("where", ["log", "makes"])
def test_what_somebody_else_makes_is_not_handed_out(place, tmp_path, where):
    one = job(tmp_path, "one")
    with held_for(getattr(one, where)):
        assert not place.start(one)
    assert place.start(one)
    while not one.done:
        place.ended()


def test_a_command_that_is_not_there_is_one_line(place, tmp_path):
    lacking = dataclasses.replace(job(tmp_path, "x"), command=("/elsewhere/bin/clp-nothing",))
    with pytest.raises(InputError, match=r"cannot open or start .*/clp-nothing \(No such file or directory\)"):
        work_off_at(place, [lacking])
    assert place.running == []


def test_a_job_that_no_node_can_hold_is_refused(nodes, tmp_path):
    for threads, gpus, what in ((1000, 0.0, "1000 cores"), (1, 0.5, "1 cores and 0.5 of a GPU")):
        with pytest.raises(
            UsageError, match=f"^no node of the Ray cluster has {what}; take fewer --threads, or no --gpus"
        ):
            on_ray.cluster(None, None, threads, gpus, None, tmp_path).__enter__()


def test_what_is_made_but_not_seen_here_is_waited_for(place, tmp_path, monkeypatch):
    """As where a shared disk is late."""
    one, other = job(tmp_path, "one"), job(tmp_path, "other")
    made = on_ray.Ending(made=True, seconds=1.0)
    place.unseen = [(one, made, math.inf), (other, made, -math.inf)]
    assert place.ended() == [(other, dataclasses.replace(made, failure=on_ray.UNSEEN))]
    assert place.running == [one]
    one.makes.write_text("x")
    assert place.ended() == [(one, made)]


def test_what_a_node_says_reaches_the_queue(place, tmp_path):
    place.origin = dataclasses.replace(place.origin, code="x")
    with pytest.raises(ClpError, match=r"^node \S+ has another version of this package; install that of this"):
        work_off_at(place, [job(tmp_path, "one")])


@pytest.mark.parametrize(
    ("node", "threads", "gpus", "jobs"),
    [
        ({"CPU": 16.0}, 1, 0.0, 16),
        ({"CPU": 16.0}, 3, 0.0, 5),
        ({"CPU": 2.0}, 4, 0.0, 0),
        ({}, 1, 0.0, 0),
        ({"CPU": 16.0, "GPU": 2.0}, 1, 0.5, 4),
        ({"CPU": 16.0, "GPU": 2.0}, 1, 0.4, 4),
        ({"CPU": 16.0, "GPU": 1.0}, 1, 0.1, 10),
        ({"CPU": 3.0, "GPU": 2.0}, 1, 0.25, 3),
        ({"CPU": 3.0}, 1, 1.0, 0),
    ],
)
def test_how_many_jobs_a_node_holds(node, threads, gpus, jobs):
    assert holds(node, threads, gpus) == jobs
