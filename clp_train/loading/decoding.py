"""LOAD reads pictures on all cores, in their order: in one thread, threads or processes, whichever is fastest.

Threads help for large pictures: Pillow releases Python's lock while it decodes and resizes. For a small picture it
holds the lock most of the time, so threads wait for each other. Processes have one lock each, but take time to start.
The cost of a picture is measured on the first ones. The pictures are the same in every way.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import numpy as np
import torch

from clp_train.loading.crew import packed, read_by_processes

Read = Callable[[int], np.ndarray]
"""Row of a data set -> its picture."""
BLOCK_BYTES = 1 << 20  # of pictures that a thread reads at a time
BLOCK_PICTURES = 64  # at most
AHEAD = 2  # blocks per worker that are being read or wait to be used
MOST = 16  # useful workers: only one thread consumes the pictures
ALONE, THREADS, PROCESSES = "alone", "threads", "processes"
TRIED, LEAST, TRIED_SECONDS = 16, 3, 0.05
"""Pictures that are read to measure the cost of one; the smaller number once that has taken so many seconds."""
LOCKED, HANDED = 0.05e-3, 0.09e-3
"""Seconds per picture for which a thread holds Python's lock, and seconds to hand the lock over."""
STARTED, PASSED = 0.6, 0.01e-3
"""Seconds until processes work, and seconds to transfer a picture from a process."""
GAIN = 0.9
"""Largest share of a simpler way's time at which another way is used."""


def default_workers() -> int:
    """Return the default number of workers that read pictures: the number of torch's threads, at most MOST.

    So parallel runs that divide threads among themselves also share the cores in LOAD.
    """
    return min(torch.get_num_threads(), MOST)


def block_of(picture_bytes: int) -> int:
    """Return how many pictures of `picture_bytes` bytes a worker reads at a time."""
    return min(max(1, BLOCK_BYTES // picture_bytes), BLOCK_PICTURES)


def soonest(seconds: float, pictures: int, workers: int, can_travel: bool = True) -> str:
    """Return the fastest way to read `pictures` pictures: "alone", "threads" or "processes".

    seconds: for one picture, alone; workers: > 1; can_travel: whether the read function can be sent to processes. A way
    that gains little over a simpler one is not used.
    """
    by_threads = max(seconds / workers, LOCKED) + HANDED
    best = THREADS if by_threads < GAIN * seconds else ALONE
    by_processes = seconds / workers + PASSED + STARTED / max(1, pictures)
    gains = by_processes < GAIN * min(by_threads, seconds)
    return PROCESSES if gains and can_travel else best


def read_in_order(read: Read, rows: np.ndarray, workers: int, block: int) -> Generator[np.ndarray, None, None]:
    """Yield `read(row)` for each row, int64 (n,), in their order; the same for any number of workers.

    workers: how many call `read` at once: threads, or processes if `read` can be pickled; only this thread if 1; block:
    rows that a worker reads at a time. At most AHEAD blocks per worker are read in advance. Raises the first error of
    `read`, by the order of the rows. A caller that stops early waits for one picture per thread, not for a whole block.
    """
    costs: list[float] = []
    if workers > 1:
        yield from tried(read, rows, costs)
        rows = rows[len(costs) :]
    way, task = chosen(read, costs, len(rows), workers)
    if way == PROCESSES:
        yield from read_by_processes(read, task, rows, workers, block, AHEAD)
    elif way == THREADS:
        yield from read_by_threads(read, rows, workers, block)
    else:
        yield from (read(int(row)) for row in rows)


def chosen(read: Read, costs: list[float], pictures: int, workers: int) -> tuple[str, bytes]:
    """Return the way to read `pictures` more pictures, and the packed read function for processes; costs: so far."""
    if not costs or not pictures:
        return ALONE, b""
    seconds = statistics.median(costs[len(costs) // 2 :])  # the first ones cost more: nothing is cached yet
    way = soonest(seconds, pictures, workers)
    task = packed(read) if way == PROCESSES else b""
    return (way, task) if task or way != PROCESSES else (soonest(seconds, pictures, workers, can_travel=False), b"")


def tried(read: Read, rows: np.ndarray, costs: list[float]) -> Iterator[np.ndarray]:
    """Yield the pictures of the first rows, int64 (n,), and note in `costs` how many seconds each of them took."""
    for row in rows[:TRIED]:
        start = time.perf_counter()
        picture = read(int(row))
        costs.append(time.perf_counter() - start)
        yield picture
        if len(costs) >= LEAST and sum(costs) > TRIED_SECONDS:
            return


def read_by_threads(read: Read, rows: np.ndarray, workers: int, block: int) -> Generator[np.ndarray, None, None]:
    """Do the same as `read_in_order` in threads, whatever a picture costs."""
    stopped, waiting = Event(), deque[Future[list[np.ndarray]]]()

    def read_block(part: np.ndarray) -> list[np.ndarray]:
        return [read(int(row)) for row in part if not stopped.is_set()]

    pool = ThreadPoolExecutor(workers, "LOAD")
    try:
        for start in range(0, len(rows), block):
            waiting.append(pool.submit(read_block, rows[start : start + block]))
            if len(waiting) == workers * AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
