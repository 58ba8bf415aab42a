"""Blocks that are made on machines without the shard's folder: a worker returns the filled rows, and this process
writes them.

So nodes of a cluster need no common disk for the shard, and marks, resuming and bytes are the same as with every other
engine. A worker gets only the parts of the shard that it reads: boxes once, mattes of an audit with each block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from clp_aug.common.ray_cluster import connect
from clp_aug.contract.errors import InputError
from clp_aug.engines import Map, on_ray
from clp_aug.header import file_sha256
from clp_aug.nets.devices import CPU, find_device
from clp_aug.on_device import on_device
from clp_aug.placing import Devices, make_of
from clp_aug.stages import Block, Stages
from clp_aug.staging import Rows, Staging

BOXES, INFILL = "boxes", "infill"  # halves of a run: the second one reads the results of the first one
Filled = tuple[str, int, np.ndarray | Sequence[np.ndarray]]
"""Rows of one data set: its name, the first row, the values; arguments of `Staging.fill`."""


class HandBack:
    """Replaces `Staging` in a worker: it keeps filled rows and returns known ones. known: data set -> its first known
    row, and the values from there on.
    """

    def __init__(self, known: Mapping[str, tuple[int, np.ndarray]]) -> None:
        self.known = dict(known)
        self.filled: list[Filled] = []
        self.pictures: dict[str, str] = {}

    def fill(self, name: str, start: int, values: np.ndarray | Sequence[np.ndarray]) -> None:
        """Keep rows for the shard."""
        self.filled.append((name, start, values))

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows of a data set, all by default."""
        first, values = self.known[name]
        return values[start - first : None if stop is None else stop - first]

    def mark(self, block: str, rows: Rows, pictures: Mapping[str, str]) -> None:
        """Keep the digests of the pictures of a block."""
        self.pictures = dict(pictures)

    def has(self, block: str, rows: Rows, pictures: Callable[[], Mapping[str, str]]) -> bool:
        """Return False: the caller has already checked whether the block is finished."""
        return False


@dataclass(frozen=True)
class Asked:
    """A block for a worker. looked_at: whether it may be finished, so that only the digests of its pictures are wanted;
    known: the parts of the shard that only this block reads, as in `HandBack`.
    """

    block: Block
    looked_at: bool
    known: Mapping[str, tuple[int, np.ndarray]]


@dataclass(frozen=True)
class HandedBack:
    """The result of a block: rows to fill, None if only digests were wanted, and the digests of its pictures."""

    filled: Sequence[Filled] | None
    pictures: Mapping[str, str]


@dataclass
class Away:
    """The task of such workers. stages: with `HandBack` as its staging; half: BOXES or INFILL; known: the parts that
    every block reads, as in `HandBack`; facts: about the files and the device of its networks on the machine of the
    run.
    """

    stages: Stages
    half: str
    known: Mapping[str, tuple[int, np.ndarray]]
    facts: Mapping[str, str]
    compared: bool = field(default=False, init=False)

    def __call__(self, asked: Any) -> Any:
        """Return the result of `Stages`; for a block, the rows to fill."""
        if not isinstance(asked, Asked):
            return self.stages(asked)
        if asked.looked_at:
            return HandedBack(None, self.stages.digests_of(asked.block))
        if not self.compared:
            self.compare()
        folder = HandBack({**self.known, **asked.known})
        self.stages.staging = folder
        if device_of(self.stages.devices, self.half) == CPU:
            self.stages(asked.block)
        else:
            list(on_device(self.stages, partial(map, self.stages), [asked.block], 0))
        return HandedBack(folder.filled, folder.pictures)

    def compare(self) -> None:
        """Raise InputError if the networks of this node differ from those of the run: the bytes would differ."""
        device = device_of(self.stages.devices, self.half)
        if device != CPU:
            find_device(device)
        here = facts_of(self.stages, self.half)
        for name, expected in self.facts.items():
            if here[name] != expected:
                raise InputError(f"{name} is {here[name]} here, {expected} where the run was started")
        self.compared = True


def facts_of(stages: Stages, half: str) -> dict[str, str]:
    """Return the digests of the network files and the make of the device for one half of a run, by description."""
    device = device_of(stages.devices, half)
    facts = {} if device == CPU else {"the device": make_of(device)}
    if half == BOXES:
        return facts | {"the matte's digest": stages.chain[0].about.sha256}
    options = {name: options for name, options in stages.config.fill_options.items() if name in stages.config.fills}
    files = {f"{name}'s {key}": file for name, one in options.items() for key, file in one.files().items()}
    return facts | {name: file_sha256(file) for name, file in files.items() if file is not None}


def device_of(devices: Devices, half: str) -> str:
    """Return the device of one half of a run."""
    return devices.fills if half == INFILL else devices.matte


def away(stages: Stages, half: str) -> Away:
    """Return the task of workers elsewhere, with what every block of one half reads."""
    of_infills = ("meta/box", "train/box") if stages.config.audit else ("meta/box",)
    known = {name: (0, stages.staging.read(name)) for name in (of_infills if half == INFILL else ())}
    there = dataclasses.replace(stages, staging=HandBack({}), devices=visible(stages.devices))
    return Away(there, half, known, facts_of(stages, half))


def visible(devices: Devices) -> Devices:
    """Return the devices without numbers: a worker sees only the one device that Ray gave to it."""
    return dataclasses.replace(devices, matte=devices.matte.partition(":")[0], fills=devices.fills.partition(":")[0])


@contextmanager
def remote(stages: Stages, staging: Staging, workers: int, address: str | None) -> Iterator[Map]:
    """Work on a Ray cluster, in place of an engine with `stages` as its task; see `on_ray`. staging: of the run.

    Workers of the second half of a run start with its first block; workers of the first half have ended then.
    """
    with connect(address, workers), ExitStack() as crews:
        at_work: dict[str, Map] = {}

        def crew(half: str) -> Map:
            if half not in at_work:
                crews.close()
                gpus = device_of(stages.devices, half) != CPU
                at_work.clear()
                at_work[half] = crews.enter_context(on_ray(away(stages, half), workers, address, gpus))
            return at_work[half]

        def work(items: Iterable[Any]) -> Iterator[Any]:
            every = list(items)
            if not every:
                return iter(())
            if not isinstance(every[0], Block):
                return crew(BOXES)(every)
            return put_in(stages, staging, crew(INFILL if every[0].stage == INFILL else BOXES), every)

        yield work


def put_in(stages: Stages, staging: Staging, work: Map, blocks: Sequence[Block]) -> Iterator[int]:
    """Let workers make blocks and write their results into the shard; yield the number of pictures of each.

    A block with a mark is only checked, and made again if it does not fit the mark.
    """
    for block, made in zip(
        blocks, work(ask(stages, block, staging.is_marked(block.name)) for block in blocks), strict=True
    ):
        rows = stages.rows_of(block)
        if made.filled is None and not staging.has(block.name, rows, partial(dict, made.pictures)):
            (made,) = work([ask(stages, block, False)])
        if made.filled is not None:
            for name, start, values in made.filled:
                staging.fill(name, start, values)
            staging.mark(block.name, rows, made.pictures)
        yield block.stop - block.start


def ask(stages: Stages, block: Block, look: bool) -> Asked:
    """Return the request for a worker. look: whether the block has a mark."""
    known = {}
    if block.stage == INFILL and stages.cuts_out and not look:
        known["look/matte"] = block.start, stages.staging.read("look/matte", block.start, block.stop)
    return Asked(block, look, known)
