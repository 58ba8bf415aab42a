"""LOAD reads pictures on all cores: in threads, a few blocks ahead of who takes them, in their order.

Threads do: Pillow lets go of Python's lock while it decodes and while it resizes, which is most of what a picture
costs from some hundred pixels on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import numpy as np
import torch

Read = Callable[[int], np.ndarray]
"""Row of a data set -> its picture."""
BLOCK_BYTES = 1 << 20  # of pictures that a thread reads at a time
BLOCK_PICTURES = 64  # at most
AHEAD = 2  # blocks a thread that are under way or wait to be taken
MOST = 16  # threads that are worth while: more would wait for Python's lock


def default_workers() -> int:
    """Return how many threads read pictures where no number is given: as many as torch computes with, up to MOST.

    So runs side by side, whose threads are counted out among them, share the cores in LOAD, too.
    """
    return min(torch.get_num_threads(), MOST)


def block_of(picture_bytes: int) -> int:
    """Return how many pictures of so many bytes a thread reads at a time."""
    return min(max(1, BLOCK_BYTES // picture_bytes), BLOCK_PICTURES)


def read_in_order(read: Read, rows: np.ndarray, workers: int, block: int) -> Generator[np.ndarray, None, None]:
    """Yield what `read` makes of each row, int64 (n,), in their order, the same for any number of workers.

    read: is called from `workers` threads at once, from this one alone if that is 1; block: rows that one thread goes
    through at a time. No more than AHEAD blocks a worker are read before they are asked for. Raises what `read` raises
    first, by the order of the rows. Who stops early waits for one picture a thread, for no whole block.
    """
    if workers == 1:
        yield from (read(int(row)) for row in rows)
        return
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
