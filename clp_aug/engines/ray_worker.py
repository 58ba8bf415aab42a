"""A worker on a Ray cluster: it gets its task once, then works on items, with its own networks in its own process."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from dataclasses import dataclass
from typing import Any

from clp_aug import __version__
from clp_aug.common.own_code import expect_files, loaded_files, look_in, said
from clp_aug.contract.errors import ClpError, InputError
from clp_aug.engines import tasks
from clp_aug.engines.tasks import Task, quiet_threads

SAME_PLACE = "every node needs the same files, under the same names"


@dataclass(frozen=True)
class Load:
    """A task on its way to a worker. parcel: the pickled task, or Ray's reference to it; node: the node of the run;
    folder: its working folder, the base of relative paths; look_in: its folders of modules; plugins: value of
    `loaded_files`; version: of this package.
    """

    parcel: Any
    node: str
    folder: str
    look_in: tuple[str, ...]
    plugins: tuple[tuple[str, str], ...]
    version: str

    @staticmethod
    def of(parcel: Any, node: str) -> Load:
        """Return the load of a parcel from this process."""
        return Load(parcel, node, os.getcwd(), tuple(sys.path), loaded_files(), __version__)


@dataclass(frozen=True)
class Answer:
    """The result of an item: the task's value, or its error."""

    value: Any = None
    error: Exception | None = None


class Worker:
    """The class of the actors. An error that a user can act on is returned as an answer, because Ray would wrap it."""

    def __init__(self) -> None:
        self.task: Task | None = None

    def alive(self) -> None:
        """Return as soon as this process has started."""

    def work(self, load: Load, item: Any) -> Answer:
        """Return the task's result for an item; the first call unpacks the task from its load."""
        try:
            if self.task is None:
                self.task = taken(load)
            return Answer(self.task(item))
        except InputError as error:
            here = not tasks.place
            return Answer(error=error if here else type(error)(f"{tasks.place}: {error}; {SAME_PLACE}"))
        except ClpError as error:
            return Answer(error=error)


def taken(load: Load) -> Task:
    """Return the task. Raises ClpError, with the name of the node, if it cannot be made here."""
    import ray

    if load.version != __version__:
        raise ClpError(
            f"{where()} has version {__version__} of this package, the run {load.version}; install the same there"
        )
    if ray.get_runtime_context().get_node_id() != load.node:
        tasks.place = where()
    if os.path.isdir(load.folder):
        os.chdir(load.folder)
    for folder in filter(os.path.isdir, load.look_in):
        look_in(folder)
    expect_files(load.plugins)
    quiet_threads()
    try:
        return pickle.loads(ray.get(load.parcel))  # from the run itself, not from a disk
    except ClpError as error:
        raise ClpError(f"{where()}: {error}; {SAME_PLACE}") from None
    except Exception as error:
        raise ClpError(
            f"{where()} cannot take the work: {said(error)}; every node needs the same packages and own code"
        ) from error


def where() -> str:
    """Return the node of a worker in words: the name of its machine and its address."""
    import ray

    return f"node {socket.gethostname()} ({ray.util.get_node_ip_address()})"
