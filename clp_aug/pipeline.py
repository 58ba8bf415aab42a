"""The flow of clp-augment on one page: READ -> MATTE -> BOX -> INFILL -> SHARD."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clp_aug.checking import Progress, check_pictures, no_progress
from clp_aug.common.files import disk_error
from clp_aug.common.locks import held_for
from clp_aug.common.ray_cluster import connect
from clp_aug.config import AugmentConfig
from clp_aug.contract.blank import lay_out
from clp_aug.contract.errors import TooManyFallbacks
from clp_aug.contract.rereading import in_this_process
from clp_aug.contract.schema import ALL_FIELDS, FIELDS, ORIGINAL, OUTCOMES
from clp_aug.engines import RAY, Map, default_engine, engine_of
from clp_aug.engines.starting import refuse_in_a_worker
from clp_aug.header import make_header, staging_key
from clp_aug.mattes.refine import compile_solver
from clp_aug.nets.devices import CPU
from clp_aug.on_device import on_device
from clp_aug.planning import Plan, read
from clp_aug.remote import remote
from clp_aug.sharding import check_space
from clp_aug.stages import Block, Stages
from clp_aug.staging import Staging

AHEAD = 2  # batches per worker that are decoded before an accelerator needs them
BOX_BLOCK, INFILL_BLOCK = 256, 64  # pictures per block: the work that a kill can cost
MOST_ON_A_CLUSTER = 32, 16  # the same if many workers wait for the slowest: docs/explanation/scale.md
NAMED = 3  # number of named pictures among those with a problem


@dataclass(frozen=True)
class Outcome:
    """The result of a run. path: the shard; rows: of it; pictures: by use; remarks: on how the data set was read;
    outcomes, sources: boxes by outcome and by matte; substituted: number of replaced fills; examples: outcome, or
    "substituted" -> names of the first such pictures; devices: "matte" or "fills" -> the device of networks that did
    not run on the CPU.
    """

    path: Path
    rows: int
    pictures: dict[str, int]
    remarks: tuple[str, ...]
    outcomes: dict[str, int]
    sources: dict[str, int]
    substituted: int
    examples: dict[str, tuple[str, ...]]
    devices: dict[str, str]


def augment(config: AugmentConfig, progress: Progress = no_progress) -> Outcome:
    """Run the whole flow and return its result; the shard gets its name only when it is complete.

    Raises UsageError if another run is writing the same shard.
    """
    refuse_in_a_worker()
    with cluster_of(config):
        plan = read(config, progress)
        with held_for(config.shard_path()):
            return write(plan, Staging(config.shard_path(), staging_key(plan)), progress)


def cluster_of(config: AugmentConfig) -> AbstractContextManager[Any]:
    """Return the connection to a run's cluster, made once and before any work; an empty context without a cluster."""
    return connect(config.address, config.workers) if config.engine == RAY else nullcontext()


def write(plan: Plan, staging: Staging, progress: Progress) -> Outcome:
    """MATTE, BOX, INFILL and SHARD, from the start or from the point where a killed run ended."""
    config = plan.config
    new = staging.open(config.resume, config.overwrite)
    try:
        workers = min(config.workers, sum(-(-len(rows) // size) for rows, size in stage_sizes(plan).values()))
        if config.refine:
            with progress("COMPILE PyMatting (minutes, once)", 1) as advance:
                compile_solver()
                advance(1)
        task = stages(plan, staging)
        with workers_of(task, staging, config, workers) as work:
            if new:
                lay_out_shard(plan, staging)  # workers start meanwhile
            if not config.skip_broken:
                check_pictures(plan.dataset, rows_in_use(plan), work, progress)
            do_blocks(task, work, "boxes-meta", "MATTE + BOX meta", plan, progress)
            do_blocks(task, work, "boxes-train", "MATTE + BOX train", plan, progress)
            check_fallbacks(plan, staging)
            do_blocks(task, work, "infill", "INFILL", plan, progress)
            outcome = summarise(plan, staging)
            with progress("SHARD", plan.rows + len(plan.split.meta)) as advance:  # it is read again, with its mattes
                staging.publish(advance, in_this_process if config.engine == RAY else work)
        return outcome
    except BaseException:
        staging.remove_if_empty()
        raise


def workers_of(task: Stages, staging: Staging, config: AugmentConfig, workers: int) -> AbstractContextManager[Map]:
    """Return the workers of a run; workers that may be on other machines return their results."""
    if config.engine == RAY:
        return remote(task, staging, workers, config.address)
    return engine_of(config.engine or default_engine(workers))(task, workers)


def rows_in_use(plan: Plan) -> np.ndarray:
    """Return the rows of all pictures that the run, or a training on its shard, opens: ascending, each once."""
    split = plan.split
    return np.unique(np.concatenate([split.train, split.meta, split.val, split.test]))


def stage_sizes(plan: Plan) -> dict[str, tuple[np.ndarray, int]]:
    """Return the rows of each stage, and the number per block."""
    meta, train = plan.split.meta, plan.split.train
    boxes, infill = BOX_BLOCK, INFILL_BLOCK
    if plan.config.engine == RAY:
        boxes, infill = min(boxes, MOST_ON_A_CLUSTER[0]), min(infill, MOST_ON_A_CLUSTER[1])
    return {"boxes-meta": (meta, boxes), "boxes-train": (train, boxes), "infill": (meta, infill)}


def do_blocks(task: Stages, work: Map, stage: str, title: str, plan: Plan, progress: Progress) -> None:
    """Do the blocks of a stage; finished ones are only checked. work: the task, done by workers.

    A stage with a network on an accelerator is done in this process, so that only one process opens it; workers decode
    for it. Workers of a cluster have their own accelerators.
    """
    rows, size = stage_sizes(plan)[stage]
    blocks = [Block(stage, n, at, min(at + size, len(rows))) for n, at in enumerate(range(0, len(rows), size))]
    device = plan.devices.of(stage)
    by_workers = device == CPU or plan.config.engine == RAY
    with progress(title if device == CPU else f"{title} on {device}", len(rows)) as advance:
        for done in work(blocks) if by_workers else on_device(task, work, blocks, AHEAD * plan.config.workers):
            advance(done)


def stages(plan: Plan, staging: Staging) -> Stages:
    """Return the task of the workers."""
    split = plan.split
    return Stages(
        plan.dataset, split.meta, split.train, plan.copies, plan.fills, plan.config, plan.size, plan.matte, staging,
        plan.devices,
    )  # fmt: skip


def lay_out_shard(plan: Plan, staging: Staging) -> None:
    """SHARD: lay out the file at its full size, and fill in the tables that are known before a picture is decoded."""
    samples, split = plan.dataset.samples, plan.split
    sizes = {"N": plan.rows, "M": len(split.train), "K": len(split.meta), "H": plan.size, "W": plan.size}
    check_space(staging.shard.parent, plan.rows * plan.size**2 * 3 + len(split.meta) * plan.size**2)
    original = np.repeat(split.meta, plan.rows_each)
    kinds = [kind for copies in plan.copies for kind in (ORIGINAL, *(copy.kind for copy in copies))]
    tables = {
        "meta/label": samples.label[original],
        "meta/kind": np.array(kinds),
        "meta/sample_id": samples.sample_id[original],
        "meta/parent_id": samples.sample_id[original],
        "meta/group": samples.group[original],
        "train/sample_id": samples.sample_id[split.train],
        "train/label": split.train_label,
        "look/sample_id": samples.sample_id[split.meta],
    }
    try:
        lay_out(staging.blank.path, make_header(plan), FIELDS if plan.audited is None else ALL_FIELDS, sizes)
    except OSError as error:
        raise disk_error(staging.blank.path, error) from None
    for name, values in tables.items():
        staging.fill(name, 0, values)
    staging.begin()


def boxes_of(plan: Plan, staging: Staging, column: str) -> np.ndarray:
    """Return one column of the boxes of all originals and training pictures."""
    each = plan.rows_each
    return np.concatenate([staging.read(f"meta/{column}")[::each], staging.read(f"train/{column}")])


def names_of(plan: Plan, chosen: np.ndarray) -> tuple[str, ...]:
    """Return the names of the first few of the chosen pictures: bool (K + M,), originals, then training pictures."""
    rows = np.concatenate([plan.split.meta, plan.split.train])[chosen]
    return tuple(plan.dataset.samples.name[row] for row in rows[:NAMED].tolist())


def check_fallbacks(plan: Plan, staging: Staging) -> None:
    """Raise TooManyFallbacks if the chosen matte failed for a larger share than `max_fallback`."""
    fallen = boxes_of(plan, staging, "box_source") != 0
    outcomes = Counter(boxes_of(plan, staging, "outcome")[fallen].tolist())
    if fallen.mean() > plan.config.max_fallback:
        why = ", ".join(f"{count} {OUTCOMES[code]}" for code, count in sorted(outcomes.items()))
        raise TooManyFallbacks(
            f"matte {plan.chain[0].about.name} gave no usable box for {fallen.sum()} of {len(fallen)} pictures"
            f" ({fallen.mean():.0%}; {why}; e.g. {', '.join(names_of(plan, fallen))}), more than --max-fallback"
            f" {plan.config.max_fallback:g}; give --boxes or --masks, another --matte, or --resume with a higher"
            " --max-fallback"
        )


def summarise(plan: Plan, staging: Staging) -> Outcome:
    """Count the outcomes of mattes and fills, and name some pictures with a problem."""
    split = plan.split
    outcome, source = boxes_of(plan, staging, "outcome"), boxes_of(plan, staging, "box_source")
    asked = np.array([[0, *(plan.fills.index(copy.fill) for copy in copies)] for copies in plan.copies])
    replaced = staging.read("meta/fill").reshape(asked.shape) != asked
    examples = {OUTCOMES[code]: names_of(plan, outcome == code) for code in np.unique(outcome).tolist() if code}
    if replaced.any():
        of_originals = np.concatenate([replaced.any(axis=1), np.zeros(len(split.train), bool)])
        examples["substituted"] = names_of(plan, of_originals)
    uses = {"train": len(split.train), "meta": len(split.meta), "val": len(split.val), "test": len(split.test)}
    return Outcome(
        staging.shard,
        plan.rows,
        uses if plan.audited is None else {"audited": uses["meta"], "for backgrounds": uses["train"]},
        plan.remarks,
        {OUTCOMES[code]: count for code, count in sorted(Counter(outcome.tolist()).items())},
        {plan.chain[code].about.name: count for code, count in sorted(Counter(source.tolist()).items())},
        int(replaced.sum()),
        examples,
        plan.devices.in_words(),
    )
