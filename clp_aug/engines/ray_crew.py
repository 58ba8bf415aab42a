"""The engine "ray": actors of a Ray cluster, which load their networks once.

Ray starts an actor anew, on any node with room, when its process or its node dies. The item that it had goes to whoever
is free, so that a cluster that has become smaller goes on. Answers come in order, few are under way: memory stays flat.
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

SLOTS = 1  # items a worker has: a slow one with more would be as many times as late
AHEAD = 8  # items a worker whose answers may wait for an earlier one, of a slow worker
TRIES = 4  # workers that may die with an item
PER_GPU = 4  # workers that share an accelerator: one decodes while another computes
PATIENCE = 600  # seconds until Ray must have found room for a worker
TICK = 5.0  # seconds between looks at the clock


@contextmanager
def on_ray(task: Task, workers: int = 2, address: str | None = None, gpus: bool = False) -> Iterator[Map]:
    """Work in actors, one thread each, as many as the cluster has cores for, at most `workers`.

    address: of a cluster, None to start one on this machine; gpus: whether the task needs an accelerator. Raises
    UsageError without Ray, ClpError for an address that nobody answers, and for an item with which workers die.
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
            with contextlib.suppress(Exception):  # a cluster that is gone has no workers either
                for worker in made:
                    ray.kill(worker)


def room(has: dict[str, float], workers: int, gpus: bool) -> tuple[float, int]:
    """Return the share of an accelerator that a worker takes, and how many workers there are.

    has: what a cluster has in all, by Ray's names. Raises ClpError for a cluster without a core, SettingError for one
    without accelerators where they are needed.
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
    """Return the one line for a node where no worker can be made. said: by Ray, with the node, in many lines."""
    node, lines = re.search(r"ip=([^,)\s]+)", said), said.strip().splitlines() or ["it died"]
    return ClpError(
        f"node {node[1] if node else 'of the cluster'} cannot start a worker ({lines[-1].strip()}); install this"
        " package, in the same version, on every node"
    )


@dataclass
class Job:
    """An item under way. tries: workers that died with it."""

    item: Any
    answer: Answer | None = None
    tries: int = 0


class Crew:
    """Actors, those that Ray has not found room for included, and what they are about."""

    def __init__(self, workers: Sequence[Any], load: Load) -> None:
        self.load, self.window = load, AHEAD * len(workers)
        self.under_way: dict[Any, tuple[Any, Job | None]] = {}  # Ray's reference -> whose it is, None to be there
        self.todo, self.free = deque[Job](), deque[Any]()
        self.begun, self.give_up = False, time.monotonic() + PATIENCE
        for worker in [*workers] * SLOTS:
            self.await_(worker)

    def answers(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield what the task makes of each item, in order. Raises what the task raises, in order, too."""
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
        """Give what is to do to those who are free."""
        while self.todo and self.free:
            worker, job = self.free.popleft(), self.todo.popleft()
            self.under_way[worker.work.remote(self.load, job.item)] = worker, job

    def await_(self, worker: Any) -> None:
        """Let a worker have a slot when it is there, now or when Ray has started it anew."""
        self.under_way[worker.alive.options(max_task_retries=-1).remote()] = worker, None

    def wait(self) -> None:
        """Wait for one thing to happen: a worker is there, an item is done, or its worker has died."""
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
            if job is None and isinstance(error, ActorDiedError):  # others are started anew
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
        """Put an item whose worker has died before all others. Raises ClpError when too many have."""
        job.tries += 1
        if job.tries == TRIES:
            raise ClpError(
                f"{TRIES} workers died with the same pictures (killed, or out of memory); run again with --resume, with"
                " fewer --workers"
            )
        self.todo.appendleft(job)
