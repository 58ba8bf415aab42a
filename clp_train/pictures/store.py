"""Where the pictures of a stream are stored, and how a batch of them gets to the device.

"device": all on the device. "memory", "mapped": on the CPU, which gathers the rows of the next batches and starts their
copies while the device works on a batch. If the CPU itself trains, nothing is copied and no thread runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clp_aug.contract.errors import SettingError
from clp_aug.nets.devices import AUTO, CPU, free_memory_of
from clp_train.pictures.sending import Sent, lane_of, send
from clp_train.pictures.settings import DEVICE, MAPPED, MEMORY
from clp_train.pictures.types import BoxedPictures, Pictures

AHEAD = 2  # batches that are in transfer while one is used
SHARE = 0.5  # of a device's free memory that pictures may take by default
GIB = 1 << 30


@dataclass(frozen=True)
class Store:
    """A stream, and the device that needs its batches. pictures: where they are stored; label, group, kind, box: on the
    CPU, to choose rows by.
    """

    pictures: BoxedPictures
    label: Tensor
    group: Tensor
    kind: Tensor
    box: Tensor
    device: torch.device

    def __len__(self) -> int:
        return len(self.label)

    @property
    def is_at_hand(self) -> bool:
        """Whether the pictures are on the device that needs their batches."""
        return self.pictures.images.device == self.device

    def take(self, rows: np.ndarray) -> BoxedPictures:
        """Return some rows, int64 (n,), in that order, on the device."""
        places = torch.from_numpy(rows)
        return self.pictures.take(places) if self.is_at_hand else send(self.pictures, places, self.device).received()


def choose_store(store: str, streams: Sequence[Pictures], device: torch.device, is_mapped: bool) -> str:
    """Return where the pictures of all streams of a run are stored: "device", "memory" or "mapped".

    store: the setting; streams: in memory, or memory-mapped. Raises SettingError for a setting that is not possible.
    """
    as_they_are = MAPPED if is_mapped else MEMORY
    if device.type == CPU and store != AUTO:
        raise SettingError("store", store, "networks run on the CPU, expected auto", {"store": AUTO})
    if store == MAPPED and not is_mapped:
        raise SettingError("store", store, "pictures can only be mapped from the file of a cache", {"cache": "FOLDER"})
    if device.type == CPU or store in (MEMORY, MAPPED):
        return as_they_are if store == AUTO else store
    need, free = sum(stream.images.nbytes for stream in streams), free_memory_of(device)
    if store == AUTO:
        return as_they_are if free is None or need > SHARE * free else DEVICE
    if free is not None and need > free:
        reason = f"the pictures need {need / GIB:.1f} GiB, and {free / GIB:.1f} GiB of {device} are free"
        raise SettingError("store", store, reason, {"store": as_they_are})
    return store


def place(pictures: BoxedPictures, store: str, device: torch.device, is_mapped: bool = False) -> Store:
    """Return the store of a stream on the CPU. store: of `choose_store`; is_mapped: whether it is memory-mapped."""
    device = torch.empty(0, device=device).device  # with its number
    columns = {name: values for name, values in vars(pictures).items() if name in ("label", "group", "kind", "box")}
    if store == DEVICE:
        pictures = pictures.to(device)
    elif store == MEMORY and is_mapped:
        pictures = replace(pictures, images=pictures.images.clone())
    return Store(pictures, **columns, device=device)


def ahead(store: Store, batches: Iterable[np.ndarray]) -> Generator[BoxedPictures, None, None]:
    """Yield the pictures of batches, rows int64 (n,) each, in their order, on the device.

    If they are not on the device, a thread gathers them, and the next two batches are in transfer while one is used; so
    rows are requested two batches earlier. An error of a batch is raised in place of that batch. The thread ends with
    the iterator: close it, or exhaust it.
    """
    if store.is_at_hand:
        yield from map(store.take, batches)
        return
    lane, under_way = lane_of(store.device), deque[Future[Sent]]()
    with ThreadPoolExecutor(1, "pictures") as thread:
        try:
            for rows in batches:
                under_way.append(thread.submit(send, store.pictures, torch.from_numpy(rows), store.device, lane))
                if len(under_way) > AHEAD:
                    yield under_way.popleft().result().received()
            while under_way:
                yield under_way.popleft().result().received()
        finally:
            for batch in under_way:
                batch.cancel()
