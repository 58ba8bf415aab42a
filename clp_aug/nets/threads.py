"""How a network runs inside clp-augment: without gradients, with the same sums for any number of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from clp_aug.common.rounding import unrounded
from clp_aug.nets.devices import CPU

Item = TypeVar("Item")
Found = TypeVar("Found")

PIXELS = 32 * 224 * 224  # of a batch: one or two gigabytes in the networks of the package


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, without gradients; restore the number of threads at the end."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def each_on_one_thread(work: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
    """Return the result of `work` for each item, without gradients: the same for any number of threads and items.

    It works on as many items at once as torch has threads, each on its own thread; `work` must be thread-safe.
    """
    from concurrent.futures import ThreadPoolExecutor

    import torch

    threads = min(torch.get_num_threads(), len(items))

    def alone(item: Item) -> Found:
        with torch.inference_mode():  # each thread has to enter it
            return work(item)

    with one_thread():
        if threads <= 1:
            return [work(item) for item in items]
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(alone, items))


@contextmanager
def inference_on(device: str) -> Iterator[None]:
    """Run networks without gradients: on the CPU on one thread (workers share the cores), elsewhere in float32."""
    import torch

    if device == CPU:
        with one_thread():
            yield
    else:
        with unrounded(), torch.no_grad():
            yield


def most_in_a_batch(pixels: int) -> int:
    """Return the number of pictures that fit into an accelerator's memory at once. pixels: of each picture."""
    return max(1, PIXELS // pixels)


def batches(count: int, most: int) -> Iterator[range]:
    """Yield the numbers of some pictures, from 0, in batches of at most `most`."""
    return (range(first, min(first + most, count)) for first in range(0, count, most))
