"""The engine "ray" by itself: order, few under way, errors as they were, and what dies is done again."""

import importlib
import os
import re
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clp_aug import __version__
from clp_aug.common.plugins import find
from clp_aug.contract.errors import ClpError, InputError, SettingError, TooManyFallbacks
from clp_aug.engines import ray_crew, tasks
from clp_aug.engines.ray_crew import AHEAD, TRIES, on_ray, room
from clp_aug.engines.ray_worker import Load, taken


def doubled(item):
    return 2 * item


@pytest.mark.parametrize("seed", range(3))
def test_answers_come_in_order_and_few_are_under_way(nodes, seed):
    rng = np.random.default_rng(seed)
    items = [rng.integers(0, 9, rng.integers(0, 60_000)) for _ in range(rng.integers(0, 40))]
    taken_from = []
    with on_ray(doubled, 2, nodes.address) as work:
        for n, (answer, item) in enumerate(zip(work(map(noted(taken_from), items)), items, strict=True)):
            assert (answer == 2 * item).all()
            assert len(taken_from) - n <= 2 * AHEAD + 1
    assert len(taken_from) == len(items)


def noted(taken_from):
    """Return what notes an item and passes it on."""

    def note(item):
        taken_from.append(item)
        return item

    return note


def test_a_second_question_is_answered_while_the_first_one_is_open(nodes):
    with on_ray(doubled, 2, nodes.address) as work:
        first = work(range(20))
        answers = []
        for one in first:
            answers.append((one, *work([one + 1])))
    assert answers == [(2 * i, 4 * i + 2) for i in range(20)]


class Refuses:
    """A task that raises some items; of a module that workers can import."""

    def __call__(self, item):
        if isinstance(item, Exception):
            raise item
        return item


@pytest.mark.parametrize(
    "error",
    [
        SettingError("size", 7, "too small", {"size": 8}),
        TooManyFallbacks("most"),
        ZeroDivisionError("what a bug raises"),
        OSError(28, "No space left on device", "a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_task_raises_is_raised_here(nodes, error):
    with on_ray(Refuses(), 2, nodes.address) as work:
        answers = work([1, 2, error, 3])
        assert [next(answers), next(answers)] == [1, 2]
        with pytest.raises(type(error)) as raised:
            next(answers)
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)


def test_what_is_wrong_with_a_file_is_told_with_the_node_where_it_lies_elsewhere(nodes):
    said, end = Counter(), time.monotonic() + 60
    with on_ray(Refuses(), 2, nodes.address) as work:
        while len(said) < 2 and time.monotonic() < end:
            with pytest.raises(InputError) as raised:
                next(work([InputError("a.png: no picture; restore it")]))
            said[str(raised.value)] += 1
    plain, elsewhere = sorted(said)
    assert plain == "a.png: no picture; restore it"
    assert re.fullmatch(
        rf"node \S+ \([\d.]+\): {plain}; every node needs the same files, under the same names", elsewhere
    )


class Environment:
    """Says where it is and how often it was unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __setstate__(self, state):
        vars(self).update(state)
        with open(Path(self.folder) / f"{os.getpid()}.txt", "a") as file:
            file.write("unpickled\n")

    def __call__(self, item):
        import cv2

        return os.getpid(), os.getcwd(), os.environ["OMP_NUM_THREADS"], cv2.getNumThreads(), tasks.place


def test_each_worker_takes_the_task_once_has_one_thread_and_the_folder_of_the_run(nodes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answers, end = Counter(), time.monotonic() + 60
    with on_ray(Environment(tmp_path), 2, nodes.address) as work:
        while len(answers) < 2 and time.monotonic() < end:
            answers.update(work(range(5)))
    assert {answer[1:4] for answer in answers} == {(str(tmp_path), "1", 1)}
    assert sorted(bool(answer[4]) for answer in answers) == [False, True], "one of two nodes is not that of the run"
    pids = {f"{answer[0]}.txt" for answer in answers}
    assert {path.name: path.read_text() for path in tmp_path.glob("*.txt")} == dict.fromkeys(pids, "unpickled\n")


class Dies:
    """Kills its worker at an item, so many times."""

    def __init__(self, folder, item, times):
        self.folder, self.item, self.times = folder, item, times

    def __call__(self, item):
        deaths = len(list(Path(self.folder).iterdir()))
        if item == self.item and deaths < self.times:
            (Path(self.folder) / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item


@pytest.mark.parametrize("times", [1, 2])
def test_an_item_whose_worker_dies_is_done_again(nodes, tmp_path, times, capfd):
    with on_ray(Dies(tmp_path, 5, times), 2, nodes.address) as work:
        assert list(work(range(12))) == list(range(12))
    assert len(list(tmp_path.iterdir())) == times
    assert capfd.readouterr().out == ""


def test_an_item_with_which_every_worker_dies_is_one_line(nodes, tmp_path):
    with on_ray(Dies(tmp_path, 5, 99), 2, nodes.address) as work, pytest.raises(ClpError) as error:
        list(work(range(12)))
    assert str(error.value) == (
        f"{TRIES} workers died with the same pictures (killed, or out of memory); run again with --resume, with fewer"
        " --workers"
    )


PLUGIN = "def own(item):\n    return item + 100\n"


def test_own_code_in_a_file_is_found_and_one_that_has_changed_is_named_with_the_node(nodes, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    own = find({}, f"{file}:own", "engine").value
    with on_ray(own, 1, nodes.address) as work:
        assert list(work([1, 2])) == [101, 102]
    file.write_text(PLUGIN + "\n")
    with on_ray(own, 1, nodes.address) as work, pytest.raises(ClpError) as error:
        list(work([1]))
    assert f"plug-in {file} has changed since it was loaded" in str(error.value)
    assert str(error.value).startswith("node ")
    assert str(error.value).endswith("every node needs the same files, under the same names")


class Unknown:
    """A task that no worker can unpickle."""

    def __reduce__(self):
        return partial(__import__), ("a_module_that_nobody_has",)


def test_a_task_that_a_node_cannot_take_is_one_line(nodes):
    with on_ray(Unknown(), 1, nodes.address) as work, pytest.raises(ClpError) as error:
        list(work([1]))
    assert "cannot take the work: ModuleNotFoundError: No module named 'a_module_that_nobody_has'" in str(error.value)
    assert str(error.value).endswith("every node needs the same packages and own code")


def test_a_node_without_the_package_is_one_line(nodes, tmp_path, monkeypatch):
    (tmp_path / "here_alone.py").write_text("class Worker:\n    def alive(self): pass\n")
    monkeypatch.syspath_prepend(tmp_path)  # after the nodes have started
    monkeypatch.setattr(ray_crew, "Worker", importlib.import_module("here_alone").Worker)
    with on_ray(doubled, 1, nodes.address) as work, pytest.raises(ClpError) as error:
        list(work([1]))
    reason = r"\(ModuleNotFoundError: No module named 'here_alone'\)"
    remedy = "install this package, in the same version, on every node"
    assert re.fullmatch(rf"node [\d.]+ cannot start a worker {reason}; {remedy}", str(error.value))


def test_another_version_on_a_node_is_one_line(nodes):
    with pytest.raises(ClpError, match=rf"has version {__version__} of this package, the run 0\.0\.1; install the sa"):
        taken(Load(None, "", "", (), (), "0.0.1"))


@pytest.mark.parametrize(
    ("has", "workers", "gpus", "expected"),
    [
        ({"CPU": 8.0}, 3, False, (0.0, 3)),
        ({"CPU": 8.0}, 1024, False, (0.0, 8)),
        ({"CPU": 8.0, "GPU": 2.0}, 8, False, (0.0, 8)),
        ({"CPU": 8.0, "GPU": 2.0}, 1, True, (1.0, 1)),
        ({"CPU": 8.0, "GPU": 2.0}, 2, True, (1.0, 2)),
        ({"CPU": 8.0, "GPU": 2.0}, 3, True, (0.5, 3)),
        ({"CPU": 64.0, "GPU": 2.0}, 64, True, (0.25, 8)),
        ({"CPU": 2.0, "GPU": 8.0}, 64, True, (1.0, 2)),
    ],
)
def test_there_are_as_many_workers_as_there_is_room_for(has, workers, gpus, expected):
    assert room(has, workers, gpus) == expected


def test_a_cluster_without_what_is_needed_is_refused():
    with pytest.raises(ClpError, match="the Ray cluster has no core to work on"):
        room({}, 2, False)
    with pytest.raises(SettingError) as error:
        room({"CPU": 4.0}, 2, True)
    assert str(error.value) == ("device = auto: no node of the Ray cluster has an accelerator; take device = cpu")


def test_a_cluster_that_never_has_room_is_given_up(nodes, monkeypatch):
    monkeypatch.setattr(ray_crew, "PATIENCE", 0.5)
    monkeypatch.setattr(ray_crew, "TICK", 0.1)
    monkeypatch.setattr(ray_crew, "room", lambda *_: (1.0, 1))  # an accelerator, which no node has
    with on_ray(doubled, 1, nodes.address) as work, pytest.raises(ClpError, match="has found no room for a worker"):
        list(work([1]))
