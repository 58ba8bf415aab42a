"""The engine "ray": actors of a Ray cluster, which load their networks once.

If the process or the node of an actor dies, Ray starts the actor again, on any node with room. Its item goes to a free
worker, so a cluster that has become smaller continues. Answers come in order, and few are in progress: memory stays
constant.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from clp_aug.common.ray_cluster import connect
from clp_aug.contract.errors import ClpError, SettingError
from clp_aug.engines.ray_worker import Answer, Load, Worker
from clp_aug.engines.tasks import Map, Task

SLOTS = 1  # items per worker: with more, a slow worker would delay the end by more items
AHEAD = 8  # items per worker in progress; their answers may wait for an earlier one of a slow worker
TRIES = 4  # workers that may die with the same item
PER_GPU = 4  # workers that share an accelerator: one decodes while another computes
PATIENCE = 600  # seconds that Ray has to find room for a worker
TICK = 5.0  # seconds between looks at the clock


@contextmanager
def on_ray(task: Task, workers: int = 2, address: str | None = None, gpus: bool = False) -> Iterator[Map]:
    """Work in actors, one thread each: as many as the cluster has cores, at most `workers`.

    address: of a cluster, None to start one on this machine; gpus: whether the task needs an accelerator. Raises
    UsageError without Ray, ClpError for an address without an answer, and for an item that kills its workers.
    """
    with connect(address, workers) as ray:
        share, count = room(ray.cluster_resources(), workers, gpus)
        node = str(ray.get_runtime_context().get_node_id())
        load = Load.of(ray.put(ray.cloudpickle.dumps(task)), node)
        actor: Any = ray.remote(
            num_cpus=1, num_gpus=share, max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD"
        )(Worker)
        made = [actor.remote() for _ in range(count)]
        try:
            yield Crew(made, load).answers
        finally:
            with contextlib.suppress(Exception):  # a cluster that has ended has no workers either
                for worker in made:
                    ray.kill(worker)


def room(has: dict[str, float], workers: int, gpus: bool) -> tuple[float, int]:
    """Return the share of an accelerator per worker, and the number of workers.

    has: the resources of a cluster, by Ray's names. Raises ClpError for a cluster without a core, SettingError if
    accelerators are needed and it has none.
    """
    cores, accelerators = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if cores < 1:
        raise ClpError("the Ray cluster has no core to work on; start a node with cores, ray start --num-cpus N")
    if not gpus:
        return 0.0, min(workers, cores)
    if accelerators < 1:
        raise SettingError("device", "auto", "no node of the Ray cluster has an accelerator", {"device": "cpu"})
    count = min(workers, cores, PER_GPU * accelerators)
    return 1 / -(-count // accelerators), count


def cannot_start(said: str) -> ClpError:
    """Return the error for a node that cannot start a worker. said: Ray's message, with the node, in many lines."""
    node, lines = re.search(r"ip=([^,)\s]+)", said), said.strip().splitlines() or ["it died"]
    return ClpError(
        f"node {node[1] if node else 'of the cluster'} cannot start a worker ({lines[-1].strip()}); install this"
        " package, in the same version, on every node"
    )


@dataclass
class Job:
    """An item in progress. tries: workers that died with it."""

    item: Any
    answer: Answer | None = None
    tries: int = 0


class Crew:
    """The actors, including those that wait for room on the cluster, and their items."""

    def __init__(self, workers: Sequence[Any], load: Load) -> None:
        self.load, self.window = load, AHEAD * len(workers)
        self.under_way: dict[Any, tuple[Any, Job | None]] = {}  # reference -> worker, its job or None
        self.todo, self.free = deque[Job](), deque[Any]()
        self.begun, self.give_up = False, time.monotonic() + PATIENCE
        for worker in [*workers] * SLOTS:
            self.await_(worker)

    def answers(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the task's result for each item, in order. Raises the errors of the task, also in order."""
        left, mine = iter(items), deque[Job]()
        while True:
            for item in islice(left, self.window - len(mine)):
                mine.append(Job(item))
                self.todo.append(mine[-1])
            if not mine:
                return
            self.deal()
            if mine[0].answer is None:
                self.wait()
                continue
            answer = mine.popleft().answer
            assert answer is not None
            if answer.error is not None:
                raise answer.error
            yield answer.value

    def deal(self) -> None:
        """Give waiting items to free workers."""
        while self.todo and self.free:
            worker, job = self.free.popleft(), self.todo.popleft()
            self.under_way[worker.work.remote(self.load, job.item)] = worker, job

    def await_(self, worker: Any) -> None:
        """Mark a worker as free as soon as it has started, now or again after its death."""
        self.under_way[worker.alive.options(max_task_retries=-1).remote()] = worker, None

    def wait(self) -> None:
        """Wait for one event: a worker has started, an item is done, or its worker has died."""
        import ray
        from ray.exceptions import ActorDiedError, RayError, RayTaskError

        done, _ = ray.wait(list(self.under_way), num_returns=1, timeout=TICK)
        if not done:
            if not self.begun and time.monotonic() > self.give_up:
                raise ClpError(
                    f"the Ray cluster has found no room for a worker in {PATIENCE} s; look at it with ray status"
                )
            return
        worker, job = self.under_way.pop(done[0])
        try:
            answer = ray.get(done[0])
        except RayTaskError as error:
            answer = Answer(error=error.cause)
        except RayError as error:
            if job is None and isinstance(error, ActorDiedError):  # others are started again
                raise cannot_start(str(error)) from None
            self.await_(worker)
            if job is not None:
                self.again(job)
            return
        self.begun = True
        self.free.append(worker)
        if job is not None:
            job.answer = answer

    def again(self, job: Job) -> None:
        """Put the item of a dead worker before all others. Raises ClpError if too many workers died with it."""
        job.tries += 1
        if job.tries == TRIES:
            raise ClpError(
                f"{TRIES} workers died with the same pictures (killed, or out of memory); run again with --resume, with"
                " fewer --workers"
            )
        self.todo.appendleft(job)
