"""Jobs on a Ray cluster: a job is a task, which starts the same process on its node as the local queue does here.

The nodes and this machine share the disk of the work folder, so locks, checkpoints and products are at their usual
places. If a worker or node dies, Ray starts the task again, and it continues from its checkpoint. A process that ends
with an exit code has failed and is not tried again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from clp_aug.common.locks import is_held, lock_of
from clp_aug.common.ray_cluster import connect
from clp_aug.contract.errors import ClpError, UsageError
from clp_train.bench.job import Job
from clp_train.bench.node import Origin, do_job, origin_at
from clp_train.bench.processes import Ending
from clp_train.bench.queue import cores

RETRIES = 3  # of a task after its worker or node died
LOOK = 10.0  # seconds between two checks of the nodes
LAG = 60.0  # seconds until a shared disk shows the files of a node here
UNSEEN = "a node has made it, but this machine does not see it; give a --work on a disk that they share"
FAREWELL = 10.0  # seconds for interrupted tasks to end their processes


class Cluster:
    """The place of a queue on a cluster. gpus: a job's share of a GPU; device: of all runs."""

    def __init__(
        self, ray: Any, origin: Origin, workers: int | None, threads: int, gpus: float, device: str | None
    ) -> None:
        self.ray, self.origin, self.workers = ray, origin, workers
        self.threads, self.gpus, self.device = threads, gpus, device
        self.tasks: dict[Any, Job] = {}
        self.unseen: list[tuple[Job, Ending, float]] = []  # ended, products not seen yet; time limit
        self.looked, self.room = -math.inf, 0
        self.remote = ray.remote(do_job).options(
            num_cpus=threads, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=False
        )
        if self.most == 0:
            share = f" and {gpus:g} of a GPU" if gpus else ""
            raise UsageError(
                f"no node of the Ray cluster has {threads} cores{share}; take fewer --threads, or no --gpus"
            )

    @property
    def running(self) -> Sequence[Job]:
        """The jobs at work."""
        return [*self.tasks.values(), *(job for job, _, _ in self.unseen)]

    @property
    def most(self) -> int:
        """How many jobs the present nodes can do at once; 0 if no node is large enough."""
        if time.monotonic() > self.looked + LOOK:
            nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
            self.room, self.looked = sum(holds(node, self.threads, self.gpus) for node in nodes), time.monotonic()
        return min(self.room, self.workers or self.room)

    def start(self, job: Job) -> bool:
        """Hand a job to the cluster; False while another queue does the same job."""
        if is_held(lock_of(job.log)) or is_held(job.lock):
            return False
        self.tasks[self.remote.remote(job, self.threads, self.device, self.origin)] = job
        return True

    def ended(self) -> list[tuple[Job, Ending]]:
        """Return the jobs that ended since the last call, and how. Raises ClpError for a node that cannot do any."""
        over = self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0)[0] if self.tasks else []
        self.unseen += [(self.tasks.pop(task), self.ending_of(task), time.monotonic() + LAG) for task in over]
        endings, still = [], []
        for job, ending, until in self.unseen:
            if not ending.made or job.done:
                endings.append((job, ending))
            elif time.monotonic() < until:
                still.append((job, ending, until))
            else:
                endings.append((job, replace(ending, failure=UNSEEN)))
        self.unseen = still
        return endings

    def ending_of(self, task: Any) -> Ending:
        """Return how a task ended. Raises ClpError for a node that cannot do any."""
        errors = self.ray.exceptions
        try:
            ending: Ending = self.ray.get(task)
        except errors.RayTaskError as error:
            if isinstance(error.cause, ClpError):
                raise error.cause from None
            raise ClpError(
                f"a task of the Ray cluster failed ({last_line(error)}); install the same version of this package on"
                " every node"
            ) from None
        except errors.RayError as error:
            return Ending(failure=f"its worker or node died {RETRIES + 1} times: {type(error).__name__}")
        return ending

    def stop(self) -> None:
        """End the jobs that are at work; they can all go on later."""
        for task in self.tasks:
            self.ray.cancel(task)
        if self.tasks:
            self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=FAREWELL)
        self.tasks.clear()
        self.unseen.clear()


@contextmanager
def cluster(
    address: str | None, workers: int | None, threads: int, gpus: float, device: str | None, work: Path
) -> Iterator[Cluster]:
    """Connect to a Ray cluster and yield it as the place of a queue; without an address, start one here until the end.

    workers: most jobs at once, None for the capacity of the nodes; threads: cores of a job; gpus: share of a GPU, in
    [0, 1]; work: the existing folder of shards and runs. Raises what `connect` raises, and UsageError if no node is
    large enough for a job.
    """
    cpus = cores() if workers is None else workers * threads
    with connect(address, cpus) as ray, origin_at(work) as origin:
        yield Cluster(ray, origin, workers, threads, gpus, device)


def holds(node: dict[str, float], threads: int, gpus: float) -> int:
    """Return how many jobs a node can do at once. node: its resources."""
    by_cores = int(node.get("CPU", 0) // threads)
    return min(by_cores, int(node.get("GPU", 0)) * math.floor(1 / gpus + 1e-9)) if gpus else by_cores


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
