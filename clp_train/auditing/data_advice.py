"""AUDIT DATA: the commands to run next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from clp_train.auditing.data_audit import DataAudit
from clp_train.auditing.data_groups import NO_GROUPS
from clp_train.auditing.data_table import place_of
from clp_train.auditing.verdict import CANNOT_TELL, NONE_SEEN, SOME, STRONG

USUAL = 10  # meta pictures a group
FILLS = ("--cf", "tile", "--f", "mix-rand")
PRESET = "spurious-background"
WHY = {
    STRONG: "meta pictures help: a network can learn the background in place of the object",
    SOME: "meta pictures may help: a network can gain by looking at the background",
    NONE_SEEN: "backgrounds say nothing about the label here: meta pictures against backgrounds will not help",
    CANNOT_TELL: "it is unknown whether meta pictures would help",
}
"""Word of the verdict -> its meaning for the meta set."""


@dataclass(frozen=True)
class Advice:
    """What to do next. reason: one line; protocol: for --meta; commands: to run one after the other."""

    reason: str
    protocol: str
    commands: tuple[str, ...]


def advice_of(audit: DataAudit, table: Path | None, root: Path | None, dataset: str) -> Advice:
    """Return what to do next.

    table: path of the written table, None if there is none; root, dataset: as the user gave them. With guessed groups
    the meta set takes at most ten pictures per group, and at most half of the smallest group; else ten per class.
    """
    word = audit.verdict.word
    place = None if table is None else place_of(table, audit.boxes.dataset)
    smallest = 0 if audit.guess.made_of == NO_GROUPS else int(audit.group_counts.min())
    size = str(audit.boxes.size)
    if place is None or smallest < 2:
        where = ["--dataset", dataset, *(("--root", str(root)) if root else ()), "--size", size]
        protocol = f"{USUAL}/class"
        return Advice(WHY[word], protocol, commands_of(where, protocol, [], root, is_telling=audit.is_telling))
    found, first = place
    protocol = f"{min(USUAL, smallest // 2)}/group"
    where = ["--dataset", "table", "--root", str(found), "--size", size]
    return Advice(WHY[word], protocol, commands_of(where, protocol, first, found, is_telling=True))


def commands_of(
    where: list[str], protocol: str, first: list[str], root: Path | None, is_telling: bool
) -> tuple[str, ...]:
    """Return the commands that make a shard and train on it. where: the data set, as options of clp-augment; first:
    commands to run before.
    """
    name = where[1].rpartition(":")[2]
    shard = f"shards/{name}-tile-mix-rand-seed0.h5"
    augment = ["clp-augment", *where, *FILLS, "--meta", protocol]
    train = ["clp-train", "--meta", shard, *(("--root", str(root)) if root else ())]
    train += ["--method", "clp", "--preset", PRESET] if is_telling else ["--method", "erm"]
    return (*first, shlex.join(augment), shlex.join(train))
