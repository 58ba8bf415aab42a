"""Give damaged and strange inputs to every reader: nothing but an error in one line may come of what is refused.

    python -m tests.campaigns.fuzz --work DIR --out fuzz.json --cases 1000000 --workers 2
    python -m tests.campaigns.fuzz --work DIR --out fuzz.json --only shard --replay 1234

An input is made of a good one by its reader, its number and the seed alone, so each can be made again (--replay, which
prints the traceback). Inputs are read in a child process with a limit of memory; when one takes too long, or ends the
process by a signal, that is noted and the next one is read in a new child. Good outcomes: "accepted", "refused". Bad
ones: "Escaped" (an exception that users are not told of in one line), "Lines" and "Code" (what they are told, and the
exit code), "Changed" (a strict reader accepts what is not what a good input holds), "Hung", "Died".
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import mmap
import os
import random
import resource
import select
import shutil
import signal
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaigns import (
    campaign,
    readers_of_boxes,
    readers_of_files,
    readers_of_networks,
    readers_of_results,
    readers_of_tars,
    readers_of_texts,
)
from tests.campaigns.readers import Reader, outcome_of
from tests.campaigns.record import Record

READERS = (
    readers_of_files.READERS | readers_of_networks.READERS | readers_of_texts.READERS | readers_of_results.READERS
    | readers_of_boxes.READERS | readers_of_tars.READERS
)  # fmt: skip
CHUNK = 2000.0  # milliseconds of inputs that one child reads
LONGEST = 20.0  # seconds that one input may take
MEMORY = 3 << 30  # bytes that a child may take beyond what it starts with
SHOWN = 200  # findings of one kind that are written down


@dataclass
class Desk:
    """Where one reader is fuzzed: its folder, its good inputs, and what they hold."""

    name: str
    reader: Reader
    place: Path
    seeds: list[bytes]
    contents: set[object]
    seed: int
    cpu: float = 0.0  # seconds that children took

    @property
    def path(self) -> Path:
        """Where inputs go."""
        return self.place / self.reader.file

    def input(self, number: int) -> bytes:
        """Return an input by its number."""
        draw = random.Random(f"{self.seed} {self.name} {number}")
        return self.reader.mutate(draw.choice(self.seeds), self.seeds, draw)

    def read(self, number: int) -> tuple[str, str]:
        """Read an input; return the outcome, and why where it is bad."""
        data = self.input(number)
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(data)
        outcome, content = outcome_of(self.reader.read, self.path)
        if outcome == "accepted" and self.reader.strict and content not in self.contents:
            return "Changed", "accepted, with another content than any good input"
        return outcome, str(content)


def desk_of(name: str, work: Path, seed: int) -> Desk:
    """Make the good inputs of a reader, and check that it accepts those that it should."""
    reader = READERS[name]
    place = work / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    seeds = list(reader.make(place, work.parent / "inputs"))
    contents, accepted = set(), 0
    for data in seeds:
        (place / reader.file).write_bytes(data)
        outcome, content = outcome_of(reader.read, place / reader.file)
        accepted += outcome == "accepted"
        if reader.strict:
            contents.add(content)
        if reader.complete and outcome != "accepted" and (reader.strict or (data is seeds[-1] and not accepted)):
            raise SystemExit(f"{name}: a good input is {outcome}: {content}")
    return Desk(name, reader, place, seeds, contents, seed)


class Board:
    """What a child tells while it reads, in memory that both processes see: the input under way, and since when."""

    def __init__(self) -> None:
        self.map = mmap.mmap(-1, 16)

    def tell(self, number: int) -> None:
        """Say which input is read now."""
        self.map[:16] = struct.pack("qd", number, time.monotonic())

    def look(self) -> tuple[int, float]:
        """Return which input is read, and for how many seconds."""
        number, since = struct.unpack("qd", self.map[:16])
        return number, time.monotonic() - since


def read_chunk(desk: Desk, numbers: range, board: Board) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Read the inputs of some numbers, in as many children as are needed; return counts, and what is bad."""
    counts: dict[str, int] = {}
    findings: list[dict[str, Any]] = []
    at = numbers.start
    while at < numbers.stop:
        told, ending = in_a_child(desk, range(at, numbers.stop), board)
        for number, outcome, why in told:
            counts[outcome] = counts.get(outcome, 0) + 1
            if outcome[0].isupper():
                findings.append({"input": number, "outcome": outcome, "why": why[-400:]})
        at = told[-1][0] + 1 if told else at
        if ending is not None:
            counts[ending[0]] = counts.get(ending[0], 0) + 1
            findings.append({"input": at, "outcome": ending[0], "why": ending[1]})
            at += 1
    return counts, findings


def in_a_child(desk: Desk, numbers: range, board: Board) -> tuple[list[tuple[int, str, str]], tuple[str, str] | None]:
    """Read inputs in a child; return what it told of each, and how it ended before the last one, None if it did not."""
    told = desk.place / "told"
    told.unlink(missing_ok=True)
    board.tell(numbers.start)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            read_all(desk, numbers, board, told)
            os._exit(0)
        os._exit(99)
    handle = os.pidfd_open(pid)
    hung = False
    while not select.select([handle], [], [], 0.5)[0]:
        if board.look()[1] > LONGEST:
            hung = True
            os.kill(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    desk.cpu += used.ru_utime + used.ru_stime
    os.close(handle)
    lines = (
        [line.split("\t", 2) for line in told.read_text(errors="replace").split("\0") if line] if told.exists() else []
    )
    entries = [(int(number), outcome, why) for number, outcome, why in lines]
    if status == 0:
        return entries, None
    return entries, ("Hung" if hung else "Died", f"exit status {os.waitstatus_to_exitcode(status)}")


def read_all(desk: Desk, numbers: range, board: Board, told: Path) -> None:
    """Read inputs one by one, within a limit of memory, and write down each outcome."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    printed = os.open(desk.place / "printed", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(printed, 2)
    with open(told, "w", encoding="utf-8", errors="backslashreplace") as file:
        for number in numbers:
            board.tell(number)
            outcome, why = desk.read(number)
            if outcome in ("accepted", "refused") and os.fstat(printed).st_size:
                outcome, why = "Lines", os.pread(printed, 400, 0).decode(errors="replace")
            os.ftruncate(printed, 0)
            why = "" if outcome in ("accepted", "refused") else why.replace("\0", " ")[-1000:]
            file.write(f"{number}\t{outcome}\t{why}\0")
            file.flush()


def fuzz(options: campaign.Options) -> None:
    """Do this worker's share of the inputs of every reader."""
    record, board, start = Record(options.out), Board(), time.monotonic()
    for name, quota in shares(options.only, options.cases).items():
        size = max(1, round(CHUNK / READERS[name].cost))
        chunks = [range(at, min(at + size, quota)) for at in range(0, quota, size)]
        mine = [chunk for n, chunk in enumerate(chunks) if n % options.workers == options.part]
        todo = [chunk for chunk in mine if f"{name} {chunk.start}-{chunk.stop}" not in record.done]
        if not todo or time.monotonic() - start > options.seconds:
            continue
        desk = desk_of(name, options.work / f"worker{options.part}", options.seed)
        for chunk in todo:
            if time.monotonic() - start > options.seconds:
                break
            begun, desk.cpu = time.monotonic(), 0.0
            counts, findings = read_chunk(desk, chunk, board)
            record.add({
                "case": f"{name} {chunk.start}-{chunk.stop}", "of": name, "counts": counts,
                "findings": findings[:SHOWN], "seconds": round(time.monotonic() - begun, 3), "cpu": round(desk.cpu, 3),
            })  # fmt: skip


def shares(names: list[str], inputs: int) -> dict[str, int]:
    """Return how many inputs each reader gets: cheap ones more, but no reader less than a share by time alone."""
    whole = sum(READERS[name].cost ** -0.5 for name in names)
    return {name: max(1, round(inputs * READERS[name].cost ** -0.5 / whole)) for name in names}


def replay(options: campaign.Options, number: int) -> int:
    """Read one input of one reader again, and show what comes of it."""
    desk = desk_of(options.only[0], options.work / "replayed", options.seed)
    data = desk.input(number)
    desk.path.write_bytes(data)
    print(f"{desk.path}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:16]}")
    try:
        print(desk.reader.read(desk.path))
    except BaseException:
        traceback.print_exc(file=sys.stdout)
    print(desk.read(number))
    return 0


def main() -> int:
    """Read the command line and do what it says; return the exit code."""
    number = replay_asked()
    if number is not None:
        options = campaign.read_options(__doc__.partition("\n")[0], list(READERS), 1, ())
        campaign.prepare(options)
        return replay(options, number)
    about = __doc__.partition("\n")[0]
    return campaign.run("tests.campaigns.fuzz", about, list(READERS), fuzz, 1_000_000, shimmed=False)


def replay_asked() -> int | None:
    """Take --replay NUMBER out of the command line."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--replay", type=int)
    given, sys.argv[1:] = parser.parse_known_args()
    return given.replay


if __name__ == "__main__":
    sys.exit(main())
