"""A fork server: every command of a case runs in a child of this process, which has loaded all modules before.

A child is what a process of its own would be: a process group, its own output, no handles but the standard ones. So a
case takes the time of its work, not that of the imports. Commands that start others of ours (clp-bench) start them as
forks too.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import io
import json
import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMANDS = {
    "clp-augment": "clp_aug.cli:augment",
    "clp-inspect": "clp_aug.inspect_cli:inspect",
    "clp-fit": "clp_aug.fit_cli:fit",
    "clp-data": "clp_aug.data_cli:data",
    "clp-train": "clp_train.cli:train",
    "clp-bench": "clp_train.bench.cli:bench",
}
TERMS = re.compile(r"\w+ weights: ")
HUNG = 1000  # stands for the exit code of a command that did not end
LIMIT = 120.0  # seconds
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: of the exit, minus the signal that killed it, or HUNG."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The lines on stderr that say something, without those about the terms of networks."""
        return [line for line in self.err.splitlines() if line.strip() and not TERMS.match(line)]

    def is_one_line(self, more: bool = False) -> bool:
        """Whether it ended well, or with one line that says why not. more: others may stand before it."""
        lines = self.lines
        return self.code == 0 or (bool(lines) and lines[-1].startswith("error: ") and (more or len(lines) == 1))

    @property
    def traceback(self) -> bool:
        """Whether a traceback reached the user."""
        return "Traceback (most recent call last)" in self.err + self.out


def load_commands() -> dict[str, Any]:
    """Return the click command of each of our commands by its name."""
    found = {}
    for name, place in COMMANDS.items():
        module, _, attribute = place.partition(":")
        found[name] = getattr(importlib.import_module(module), attribute)
    return found


class Server:
    """Runs commands as forks. scratch: folder for what they print, outside of what is counted.

    before: called in the child before the command, for a case that needs something set.
    """

    def __init__(self, scratch: Path) -> None:
        import torch

        torch.set_num_threads(1)
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)  # what a killed command leaves behind becomes our child
        scratch.mkdir(parents=True, exist_ok=True)
        self.scratch, self.commands, self.number = scratch, load_commands(), 0

    def start(self, command: Sequence[str], before: Callable[[], None] | None = None, learn: bool = False) -> Running:
        """Start a command: its name and its arguments. learn: have it tell which modules it loaded."""
        self.number += 1
        names = [self.scratch / f"{self.number}.{kind}" for kind in ("out", "err", "modules")]
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            with child_of(names[0], names[1]) as leave:
                if before is not None:
                    before()
                leave(run_command(self.commands, command, names[2] if learn else None))
        return Running(pid, os.pidfd_open(pid), names, time.monotonic())

    def run(
        self, command: Sequence[str], before: Callable[[], None] | None = None, limit: float = LIMIT, sweep: bool = True
    ) -> Ended:
        """Run a command to its end, and end what it left running, unless sweep is false."""
        ended = self.start(command, before).wait(limit)
        if sweep:
            end_children()
        return ended

    def warm(self, command: Sequence[str], before: Callable[[], None] | None = None) -> Ended:
        """Run a command, and load every module that it loaded, so that later forks need not."""
        running = self.start(command, before, learn=True)
        ended = running.wait(5 * LIMIT, keep=True)
        modules = running.names[2]
        for path in modules.parent.glob(f"{modules.name}*"):
            for name in json.loads(path.read_text()):
                if name not in sys.modules:
                    with contextlib.suppress(Exception):
                        importlib.import_module(name)
            path.unlink()
        for path in running.names:
            path.unlink(missing_ok=True)
        return ended


@dataclass
class Running:
    """A command under way. handle: of its process; names: files of stdout, stderr and modules; start: when it began."""

    pid: int
    handle: int
    names: list[Path]
    start: float

    def wait(self, limit: float = LIMIT, keep: bool = False) -> Ended:
        """Wait until it ends, and end it after `limit` seconds. keep: the files."""
        ready, _, _ = select.select([self.handle], [], [], max(0.0, limit))
        if not ready:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.handle)
        seconds = time.monotonic() - self.start
        out, err = (path.read_text(errors="replace") if path.exists() else "" for path in self.names[:2])
        if not keep:
            for path in self.names:
                path.unlink(missing_ok=True)
        return Ended(os.waitstatus_to_exitcode(status) if ready else HUNG, out, err, seconds)


class child_of:
    """Within it a fork is a process of its own; its value ends the process with an exit code."""

    def __init__(self, out: Path, err: Path) -> None:
        self.out, self.err = out, err

    def __enter__(self) -> Callable[[int], None]:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        streams = [os.open("/dev/null", os.O_RDONLY)]
        streams += [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) for path in (self.out, self.err)]
        use_as_standard(streams)
        return leave

    def __exit__(self, kind: type | None, error: BaseException | None, where: object) -> None:
        if error is not None:
            traceback.print_exception(error)
        leave(1)


def leave(code: int) -> None:
    """End this fork as the interpreter ends a program."""
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(code)


def use_as_standard(streams: Sequence[int]) -> None:
    """Make handles stdin, stdout and stderr, and close every other that a new program would not get."""
    for number, handle in enumerate(streams):
        os.dup2(handle, number)
    for name in os.listdir("/proc/self/fd"):
        handle = int(name)
        with contextlib.suppress(OSError):
            if handle > 2 and not os.get_inheritable(handle):
                os.close(handle)
    for number, name in ((1, "stdout"), (2, "stderr")):
        raw = io.FileIO(number, "w", closefd=False)
        setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", write_through=True))


def run_command(commands: dict[str, Any], command: Sequence[str], modules: Path | None = None) -> int:
    """Run one of our commands in this process, as its script would, and return its exit code.

    modules: where it tells which modules it loaded, each process in a file whose name starts so.
    """
    import subprocess

    subprocess.Popen = popen_by_fork(commands, subprocess.Popen, modules)  # type: ignore[misc]
    main: Any = sys.modules["__main__"]
    main.__spec__, main.__file__ = None, str(Path(sys.executable).with_name(command[0]))  # what spawned workers read
    sys.argv = list(command)
    code: object = 0
    try:
        commands[command[0]].main(list(command[1:]), prog_name=command[0])
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        traceback.print_exception(error)
        code = 1
    if modules is not None:
        modules.with_name(f"{modules.name}{os.getpid()}").write_text(json.dumps(list(sys.modules)))
    if isinstance(code, str):
        print(code, file=sys.stderr)
    return code if isinstance(code, int) else int(code is not None)


def popen_by_fork(commands: dict[str, Any], popen: Any, modules: Path | None) -> Any:
    """Return what starts processes in place of subprocess.Popen: our commands as forks, all others as ever."""

    class Fork:
        """The part of subprocess.Popen that our own queue uses."""

        def __init__(self, command: Sequence[str], env: dict[str, str], stdout: Any, pass_fds: Sequence[int] = ()):
            self.returncode: int | None = None
            sys.stdout.flush()
            self.pid = os.fork()
            if self.pid == 0:
                os.setsid()
                os.environ.clear()
                os.environ.update(env)
                for handle in pass_fds:
                    os.set_inheritable(handle, True)
                use_as_standard([os.open("/dev/null", os.O_RDONLY), stdout.fileno(), stdout.fileno()])
                leave(run_command(commands, [Path(command[0]).name, *command[1:]], modules))

        def poll(self) -> int | None:
            return self._wait(os.WNOHANG)

        def wait(self, timeout: float | None = None) -> int | None:
            return self._wait(0)

        def terminate(self) -> None:
            self.send_signal(signal.SIGTERM)

        def kill(self) -> None:
            self.send_signal(signal.SIGKILL)

        def send_signal(self, number: int) -> None:
            if self.poll() is None:
                os.kill(self.pid, number)

        def _wait(self, flags: int) -> int | None:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, flags)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            return self.returncode

    def start(command: Any, **options: Any) -> Any:
        if isinstance(command, str) or Path(command[0]).name not in COMMANDS:
            return popen(command, **options)
        return Fork(command, options["env"], options["stdout"], options.get("pass_fds", ()))

    return start


def end_children() -> None:
    """Kill and reap every child that this process has: what a killed command left running."""
    while True:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if not children:
            return
        for pid in map(int, children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
