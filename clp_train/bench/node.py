"""The work of a node of a cluster: check that it agrees with the queue, then do a job as the local queue would."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from clp_aug.common.locks import held_for, is_held, lock_of
from clp_aug.contract.errors import InputError
from clp_train.bench.job import Job, script
from clp_train.bench.processes import PAUSE, Ending, end, start, stop

ROOT = Path(__file__).parents[2]
PACKAGES = ("clp_aug", "clp_train")
SOURCES = (".py", ".toml")
VARIABLES = "CLP_"  # prefix of the environment variables that our commands read


@dataclass(frozen=True)
class Origin:
    """The facts that a node must share. folder: where relative paths begin; token: a lock that the queue holds in its
    work folder; code: digest of the sources; variables: our environment variables.
    """

    folder: Path
    token: Path
    code: str
    variables: dict[str, str]


@contextmanager
def origin_at(work: Path) -> Iterator[Origin]:
    """Yield this process as the origin of a queue; remove the tokens of killed queues. work: the existing folder.

    Raises InputError when the disk refuses.
    """
    for left in work.glob(".ray-*.lock"):
        is_held(left)
    token = lock_of(work / f"ray-{uuid4().hex}")
    variables = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
    with held_for(work / "ray", "queue", place=token):
        yield Origin(Path.cwd(), token, code_digest(), variables)


def do_job(job: Job, threads: int, device: str | None, origin: Origin) -> Ending:
    """Do a job on this node. Raises InputError if the node does not agree with the origin."""
    settle(origin)
    local = replace(job, command=(script(Path(job.command[0]).name), *job.command[1:]))
    entry = start(local, threads, device)
    if entry is None:
        return Ending(again=True)
    try:
        while entry.process.poll() is None:
            time.sleep(PAUSE)
        return end(entry)
    finally:
        if entry.process.poll() is None:
            stop([entry])


def settle(origin: Origin) -> None:
    """Give this process the folder and the variables of a queue. Raises InputError if its node does not agree."""
    node = socket.gethostname()
    with contextlib.suppress(OSError):
        os.chdir(origin.folder)
    work = origin.folder / origin.token.parent
    if Path.cwd() != origin.folder or not origin.token.exists():
        raise InputError(
            f"node {node} does not see {work}, where this queue works; give a --work on a disk that all nodes and this"
            " machine share, at the same path"
        )
    if not is_held(origin.token):
        raise InputError(
            f"node {node} does not see the locks in {work}; give a --work on a disk whose locks hold between machines"
            " (NFS without nolock and local_lock)"
        )
    if code_digest() != origin.code:
        raise InputError(f"node {node} has another version of this package; install that of this machine")
    for name in [name for name in os.environ if name.startswith(VARIABLES)]:
        del os.environ[name]
    os.environ.update(origin.variables)


@functools.cache
def code_digest() -> str:
    """Return a digest of the sources and presets of this installation."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*"), key=lambda path: path.parts):
            if path.suffix in SOURCES:
                digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
