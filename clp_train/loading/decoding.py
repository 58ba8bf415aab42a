"""LOAD reads pictures on all cores, in their order: alone, in threads or in processes, whichever is soonest done.

Threads pay where pictures are large: Pillow lets go of Python's lock while it decodes and while it resizes. Of a small
picture it holds the lock most of the time, and threads hand it around; processes have a lock each, and take a while to
start. What a picture costs is measured on the first ones. The pictures are the same in any way.
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
AHEAD = 2  # blocks a worker that are under way or wait to be taken
MOST = 16  # workers that are worth while: who takes the pictures is alone
ALONE, THREADS, PROCESSES = "alone", "threads", "processes"
TRIED, LEAST, TRIED_SECONDS = 16, 3, 0.05
"""Pictures that are read to know what one costs; fewer, but so many, once that has taken so many seconds."""
LOCKED, HANDED = 0.05e-3, 0.09e-3
"""Seconds a picture in which a thread has Python's lock for itself, and that handing the lock over takes."""
STARTED, PASSED = 0.6, 0.01e-3
"""Seconds until processes are at work, and that a picture takes on its way out of one."""
GAIN = 0.9
"""What a way may take of the time of a simpler one to be worth it."""


def default_workers() -> int:
    """Return how many workers read pictures where no number is given: as many as torch computes with, up to MOST.

    So runs side by side, whose threads are counted out among them, share the cores in LOAD, too.
    """
    return min(torch.get_num_threads(), MOST)


def block_of(picture_bytes: int) -> int:
    """Return how many pictures of so many bytes a worker reads at a time."""
    return min(max(1, BLOCK_BYTES // picture_bytes), BLOCK_PICTURES)


def soonest(seconds: float, pictures: int, workers: int, can_travel: bool = True) -> str:
    """Return in which way so many pictures are read soonest: "alone", "threads" or "processes".

    seconds: that one takes alone; workers: > 1; can_travel: whether processes can be told how to read. A way that
    gains little over those before it is not taken.
    """
    by_threads = max(seconds / workers, LOCKED) + HANDED
    best = THREADS if by_threads < GAIN * seconds else ALONE
    by_processes = seconds / workers + PASSED + STARTED / max(1, pictures)
    gains = by_processes < GAIN * min(by_threads, seconds)
    return PROCESSES if gains and can_travel else best


def read_in_order(read: Read, rows: np.ndarray, workers: int, block: int) -> Generator[np.ndarray, None, None]:
    """Yield what `read` makes of each row, int64 (n,), in their order, the same for any number of workers.

    read: is called by at most so many workers at once: threads, or processes where it can be pickled; by this thread
    alone if that is 1; block: rows that a worker goes through at a time. No more than AHEAD blocks a worker are read
    before they are asked for. Raises what `read` raises first, by the order of the rows. Who stops early waits for one
    picture a thread, for no whole block.
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
    """Return in which way so many pictures more are read, and for processes how, packed; costs: of those before."""
    if not costs or not pictures:
        return ALONE, b""
    seconds = statistics.median(costs[len(costs) // 2 :])  # the first ones cost more: nothing is at hand yet
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
    """Do what `read_in_order` does in threads, whatever a picture costs."""
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
