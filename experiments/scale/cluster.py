"""Blocks of pictures on many workers, with slow ones and dying nodes: one run, simulated event by event.

A driver sends blocks to workers, takes what they send back at once and writes it, one block after the other. A worker
does one block at a time and has others waiting. A node that dies takes with it the blocks of its workers; the driver
sends them again, before new ones.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A job on a cluster. Times are in seconds.

    block: pictures a block; seconds: that a picture takes, on average, with a lognormal spread (standard deviation by
    mean); slow: share of the workers that are `times` as slow; deaths: of a node, an hour; back: until another node
    stands in its place, whose workers `start` anew; ahead: blocks that a worker may have, done ones left out; window:
    blocks, times the workers, that may have been sent and not be written; ordered: whether the driver writes blocks in
    order alone; size: bytes a picture that are sent back; rate: bytes a second that the driver writes; call: what a
    block costs the driver besides.
    """

    pictures: int
    block: int
    seconds: float
    workers: int = 1000
    per_node: int = 16
    spread: float = 0.0
    slow: float = 0.0
    times: float = 1.0
    deaths: float = 0.0
    back: float = 120.0
    start: float = 0.0
    ahead: int = 2
    window: int = 3
    ordered: bool = True
    size: float = 0.0
    rate: float = math.inf
    call: float = 0.0

    @property
    def blocks(self) -> int:
        """How many there are."""
        return -(-self.pictures // self.block)

    @property
    def ideal(self) -> float:
        """Seconds that the work takes, divided evenly, where nothing is in its way."""
        return self.pictures * self.seconds / self.workers


class Outcome(NamedTuple):
    """How a run went. makespan: until all is written; deaths: of nodes; lost: seconds of work done in vain; again:
    blocks that were sent once more; waiting: the most blocks that had been done and not been written.
    """

    makespan: float
    deaths: int
    lost: float
    again: int
    waiting: int


@dataclass
class Worker:
    """A worker and its blocks, the first of which it does."""

    node: int
    times: float
    blocks: deque[int] = field(default_factory=deque)
    began: float = 0.0


class Run:
    """The state of one run. `go` goes on to the end."""

    def __init__(self, cluster: Cluster, rng: np.random.Generator) -> None:
        self.cluster, self.rng, self.now = cluster, rng, 0.0
        slow = set(rng.permutation(cluster.workers)[: round(cluster.slow * cluster.workers)].tolist())
        workers = range(cluster.workers)
        self.workers = [Worker(i // cluster.per_node, cluster.times if i in slow else 1.0) for i in workers]
        self.lives = [0] * (self.workers[-1].node + 1)  # of each node: how often it died; what was before is void
        self.loads: list[dict[int, None]] = [
            {} for _ in range(cluster.ahead + 1)
        ]  # workers by how many blocks they have
        self.events: list[tuple[float, int, Callable[..., None], tuple[int, ...]]] = []
        self.ties = count()
        self.fresh, self.again = 0, list[int]()  # the first block that was never sent; those to be sent once more
        self.done: dict[int, None] = {}  # blocks that wait to be written, in the order in which they came
        self.written, self.is_writing = 0, False
        self.deaths, self.lost, self.resent, self.waiting = 0, 0.0, 0, 0
        for node in range(len(self.lives)):
            self.come_up(node)

    def go(self) -> Outcome:
        """Return how it went."""
        while self.written < self.cluster.blocks:
            self.now, _, happens, what = heapq.heappop(self.events)
            happens(*what)
        return Outcome(self.now, self.deaths, self.lost, self.resent, self.waiting)

    def after(self, seconds: float, happens: Callable[..., None], *what: int) -> None:
        """Let something happen after so many seconds."""
        heapq.heappush(self.events, (self.now + seconds, next(self.ties), happens, what))

    def come_up(self, node: int) -> None:
        """A node is there: its workers start, and its death is drawn."""
        self.after(self.cluster.start, self.join, node, self.lives[node])
        if self.cluster.deaths:
            self.after(self.rng.exponential(3600 / self.cluster.deaths), self.die, node)

    def workers_of(self, node: int) -> range:
        """Return the numbers of a node's workers."""
        first = node * self.cluster.per_node
        return range(first, min(first + self.cluster.per_node, self.cluster.workers))

    def join(self, node: int, life: int) -> None:
        """The workers of a node are ready."""
        if life == self.lives[node]:
            self.loads[0] |= dict.fromkeys(self.workers_of(node))
            self.after(0.0, self.send)  # when all are there that come at this moment

    def send(self) -> None:
        """Send blocks to the workers that have the fewest, as long as more may be in flight."""
        while (load := next((n for n, some in enumerate(self.loads[:-1]) if some), None)) is not None:
            if self.again:
                block = heapq.heappop(self.again)
                self.resent += 1
            elif self.fresh < self.cluster.blocks and self.fresh - self.written < self.most:
                block, self.fresh = self.fresh, self.fresh + 1
            else:
                return
            i = next(iter(self.loads[load]))
            del self.loads[load][i]
            self.loads[load + 1][i] = None
            self.workers[i].blocks.append(block)
            if load == 0:
                self.begin(i)

    @property
    def most(self) -> int:
        """The most blocks that are sent and not written."""
        return self.cluster.window * self.cluster.workers

    def begin(self, i: int) -> None:
        """A worker begins with the first of its blocks."""
        cluster, worker = self.cluster, self.workers[i]
        pictures = min(cluster.block, cluster.pictures - worker.blocks[0] * cluster.block)
        seconds = pictures * cluster.seconds * worker.times * lognormal(self.rng, cluster.spread / math.sqrt(pictures))
        worker.began = self.now
        self.after(seconds, self.finish, i, self.lives[worker.node])

    def finish(self, i: int, life: int) -> None:
        """A worker has done a block, and takes the next; the driver looks whether it can write."""
        worker = self.workers[i]
        if life != self.lives[worker.node]:
            return
        load = len(worker.blocks)
        del self.loads[load][i]
        self.loads[load - 1][i] = None
        self.done[worker.blocks.popleft()] = None
        self.waiting = max(self.waiting, len(self.done))
        if worker.blocks:
            self.begin(i)
        self.write()
        self.send()

    def write(self) -> None:
        """The driver takes the next block, if it has nothing else to do."""
        block = self.written if self.cluster.ordered else next(iter(self.done), -1)
        if self.is_writing or block not in self.done:
            return
        del self.done[block]
        self.is_writing = True
        pictures = min(self.cluster.block, self.cluster.pictures - block * self.cluster.block)
        self.after(self.cluster.call + pictures * self.cluster.size / self.cluster.rate, self.wrote)

    def wrote(self) -> None:
        """A block is written; another one may be sent."""
        self.is_writing, self.written = False, self.written + 1
        self.write()
        self.send()

    def die(self, node: int) -> None:
        """A node dies: its blocks are lost and sent once more; later another node stands in its place."""
        self.lives[node] += 1
        self.deaths += 1
        for i in self.workers_of(node):
            worker = self.workers[i]
            self.loads[len(worker.blocks)].pop(i, None)
            self.lost += self.now - worker.began if worker.blocks else 0.0
            for block in worker.blocks:
                heapq.heappush(self.again, block)
            worker.blocks.clear()
        self.after(self.cluster.back, self.come_up, node)
        self.send()


def lognormal(rng: np.random.Generator, spread: float) -> float:
    """Return a lognormal number of mean 1; spread: its standard deviation."""
    variance = math.log1p(spread**2)
    return float(rng.lognormal(-variance / 2, math.sqrt(variance))) if spread else 1.0


def simulate(cluster: Cluster, rng: np.random.Generator) -> Outcome:
    """Return how a run of a job on a cluster goes, with the random numbers of `rng`."""
    return Run(cluster, rng).go()
