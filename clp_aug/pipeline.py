"""The flow of clp-augment on one page: READ -> MATTE -> BOX -> INFILL -> SHARD."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import clp_aug
from clp_aug.checking import Progress, all_at_once, check_pictures, readable
from clp_aug.common.files import disk_error
from clp_aug.common.locks import held_for
from clp_aug.config import AugmentConfig
from clp_aug.contract.blank import lay_out
from clp_aug.contract.errors import InputError, TooManyFallbacks, UsageError
from clp_aug.contract.schema import FIELDS, NO_FILL, ORIGINAL, OUTCOMES, SCHEMA_VERSION, Header
from clp_aug.datasets import load_dataset
from clp_aug.datasets.annotations import with_annotations
from clp_aug.datasets.base import Dataset
from clp_aug.engines import ENGINES, Map, default_engine
from clp_aug.engines.starting import refuse_in_a_worker
from clp_aug.fills import FILLS, infill_all
from clp_aug.fills.options import FillOptions, digest_names
from clp_aug.fills.scene import Materials, trial_scene
from clp_aug.mattes import Matte, make_chain
from clp_aug.mattes.refine import compile_solver
from clp_aug.nets.devices import AUTO, CPU, find_device
from clp_aug.on_device import on_device
from clp_aug.placing import Devices, place_networks
from clp_aug.protocol.split import Split, make_split
from clp_aug.remarks import remarks_of
from clp_aug.sharding import Copy, check_space, plan_copies
from clp_aug.stages import Block, Stages
from clp_aug.staging import Staging

AHEAD = 2  # batches a worker decodes before an accelerator needs them
BOX_BLOCK, INFILL_BLOCK = 256, 64  # pictures a block: what a kill can cost
LARGEST_DEFAULT, SMALLEST_DEFAULT, SAMPLED = 224, 8, 101
NAMED = 3  # pictures that are named of those that did not go as asked


@dataclass(frozen=True)
class Plan:
    """Everything that is settled before a picture is decoded."""

    config: AugmentConfig  # with size and matte filled in
    size: int
    matte: str
    dataset: Dataset
    split: Split
    copies: list[list[Copy]]  # per meta original, the copies to make
    fills: tuple[str, ...]
    chain: list[Matte]
    devices: Devices

    @property
    def rows(self) -> int:
        """Meta rows of the shard: originals and copies."""
        return len(self.copies) + sum(map(len, self.copies))


@dataclass(frozen=True)
class Outcome:
    """What a run did: the shard, its rows, pictures by use, remarks on how the data set was read, boxes by outcome and
    by matte, fills asked for but replaced; examples: outcome, or "substituted" -> names of the first such pictures;
    devices: of networks that did not run on the CPU, "matte" or "fills" -> which one.
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


def no_progress(stage: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Show nothing."""
    return nullcontext(lambda done: None)


def read(config: AugmentConfig, progress: Progress = no_progress) -> Plan:
    """READ: load the data set, apply the protocol, and settle size, mattes and copies.

    Opens no picture but where the protocol looks at some, clusters of meta pictures and flip-similar noise, and where
    those are to be left out that cannot be read.
    """
    if config.device not in (AUTO, CPU):
        find_device(config.device)  # one that is not there is told first
    dataset = with_annotations(load_dataset(config.dataset, config.root), config.masks, config.boxes)
    if len(dataset.class_names) < 2:
        raise InputError(f"data set {dataset.name}: it has one class, {dataset.class_names[0]}; a classifier needs two")
    if config.skip_broken:
        dataset = readable(dataset, config, progress)
    with all_at_once(dataset, config, progress):
        split = make_split(dataset, config)
    labels, ids = dataset.samples.label[split.meta], dataset.samples.sample_id[split.meta]
    partnered = [name for name in config.fills if FILLS[name].partner]
    if partnered and len(np.unique(labels)) < 2:
        raise InputError(f"fill {partnered[0]!r} takes from another class, but the meta set has one class only")
    matte = config.matte or ("given" if dataset.annotated else "hatt")
    if matte == "given" and not dataset.annotated:
        raise UsageError(
            f"--matte given: data set {dataset.name} has no masks or boxes; give --masks DIR or --boxes FILE"
        )
    with all_at_once(dataset, config, progress):
        size = config.size or default_size(dataset, split.meta)
    config = dataclasses.replace(config, matte=matte, size=size)
    copies = plan_copies(labels, ids, config.cf, config.f, config.ratio, config.seed)
    for options in options_in_use(config).values():
        options.prepare()
        options.check(size, len(dataset.class_names))
    devices = place_networks(config, matte)
    try_on_device(config, devices, size, len(dataset.class_names))
    fills = tuple(dict.fromkeys((NO_FILL, *config.fills, "grey")))  # grey may step in for any
    return Plan(config, size, matte, dataset, split, copies, fills, make_chain(matte, devices.matte), devices)


def try_on_device(config: AugmentConfig, devices: Devices, size: int, classes: int) -> None:
    """Let the fills' networks fill a scene where they are going to run, if that is not the CPU.

    Raises InputError for one that does not work there.
    """
    if devices.fills == CPU:
        return
    for name in config.fills:
        kind, scene, rng = FILLS[name].kinds[0], trial_scene(size), np.random.default_rng(0)
        if FILLS[name].many:
            infill_all(name, kind, [scene], [rng], Materials(num_classes=classes, device=devices.fills),
                       config.fill_options.get(name))  # fmt: skip


def options_in_use(config: AugmentConfig) -> dict[str, FillOptions]:
    """Return the settings of those of the run's fills that have some of their own, by fill."""
    return {name: options for name, options in config.fill_options.items() if name in config.fills}


def default_size(dataset: Dataset, rows: np.ndarray) -> int:
    """Return the median shorter side of up to 101 pictures, from their headers, between 8 and 224 pixels."""
    sample = rows[np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).round().astype(int)]
    side = int(np.median([min(dataset.source_size(int(row))) for row in sample]))
    return min(max(side, SMALLEST_DEFAULT), LARGEST_DEFAULT)


def augment(config: AugmentConfig, progress: Progress = no_progress) -> Outcome:
    """Run the whole flow and return what was done; the shard appears under its name only when it is complete.

    Raises UsageError while another run writes the same shard.
    """
    refuse_in_a_worker()
    plan = read(config, progress)
    with held_for(config.shard_path()):
        return write(plan, Staging(config.shard_path(), staging_key(plan)), progress)


def write(plan: Plan, staging: Staging, progress: Progress) -> Outcome:
    """MATTE, BOX, INFILL and SHARD, from the start or from where a killed run was."""
    config = plan.config
    new = staging.open(config.resume, config.overwrite)
    try:
        if new:
            lay_out_shard(plan, staging)
        workers = min(config.workers, sum(-(-len(rows) // size) for rows, size in stage_sizes(plan).values()))
        engine = ENGINES[config.engine or default_engine(workers)]
        if config.refine:
            with progress("COMPILE PyMatting (minutes, once)", 1) as advance:
                compile_solver()
                advance(1)
        task = stages(plan, staging)
        with engine(task, workers) as work:
            if not config.skip_broken:
                check_pictures(plan.dataset, rows_in_use(plan), work, progress)
            do_blocks(task, work, "boxes-meta", "MATTE + BOX meta", plan, progress)
            do_blocks(task, work, "boxes-train", "MATTE + BOX train", plan, progress)
            check_fallbacks(plan, staging)
            do_blocks(task, work, "infill", "INFILL", plan, progress)
        outcome = summarise(plan, staging)
        staging.publish()  # SHARD
        return outcome
    except BaseException:
        staging.remove_if_empty()
        raise


def rows_in_use(plan: Plan) -> np.ndarray:
    """Return the rows whose pictures the run, or training on its shard, opens: ascending, each once."""
    split = plan.split
    return np.unique(np.concatenate([split.train, split.meta, split.val, split.test]))


def stage_sizes(plan: Plan) -> dict[str, tuple[np.ndarray, int]]:
    """Return the rows of each stage, and how many go into a block."""
    meta, train = plan.split.meta, plan.split.train
    return {"boxes-meta": (meta, BOX_BLOCK), "boxes-train": (train, BOX_BLOCK), "infill": (meta, INFILL_BLOCK)}


def do_blocks(task: Stages, work: Map, stage: str, title: str, plan: Plan, progress: Progress) -> None:
    """Do the blocks of a stage; those that are finished are only looked at. work: the task, done by workers.

    A stage whose network has an accelerator is done here, so that one process opens it; workers decode for it.
    """
    rows, size = stage_sizes(plan)[stage]
    blocks = [Block(stage, n, at, min(at + size, len(rows))) for n, at in enumerate(range(0, len(rows), size))]
    device = plan.devices.of(stage)
    with progress(title if device == CPU else f"{title} on {device}", len(rows)) as advance:
        for done in work(blocks) if device == CPU else on_device(task, work, blocks, AHEAD * plan.config.workers):
            advance(done)


def stages(plan: Plan, staging: Staging) -> Stages:
    """Return the task of the workers."""
    split = plan.split
    return Stages(
        plan.dataset, split.meta, split.train, plan.copies, plan.fills, plan.config, plan.size, plan.matte, staging,
        plan.devices,
    )  # fmt: skip


def lay_out_shard(plan: Plan, staging: Staging) -> None:
    """SHARD: lay the file out at its full size, and fill in what is known before a picture is decoded."""
    samples, split, config = plan.dataset.samples, plan.split, plan.config
    sizes = {"N": plan.rows, "M": len(split.train), "K": len(split.meta), "H": plan.size, "W": plan.size}
    check_space(staging.shard.parent, plan.rows * plan.size**2 * 3 + len(split.meta) * plan.size**2)
    original = np.repeat(split.meta, 1 + config.ratio)
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
        lay_out(staging.blank.path, make_header(plan), FIELDS, sizes)
    except OSError as error:
        raise disk_error(staging.blank.path, error) from None
    for name, values in tables.items():
        staging.fill(name, 0, values)
    staging.begin()


def boxes_of(plan: Plan, staging: Staging, column: str) -> np.ndarray:
    """Return one column of the boxes of all originals and training pictures."""
    each = 1 + plan.config.ratio
    return np.concatenate([staging.read(f"meta/{column}")[::each], staging.read(f"train/{column}")])


def names_of(plan: Plan, chosen: np.ndarray) -> tuple[str, ...]:
    """Return the names of the first few of the chosen pictures: bool (K + M,), originals, then training pictures."""
    rows = np.concatenate([plan.split.meta, plan.split.train])[chosen]
    return tuple(plan.dataset.samples.name[row] for row in rows[:NAMED].tolist())


def check_fallbacks(plan: Plan, staging: Staging) -> None:
    """Raise TooManyFallbacks when the chosen matte gave fewer boxes than the run can bear."""
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
    """Count what became of the mattes and of the fills asked for, and name some of what did not go as asked."""
    split = plan.split
    outcome, source = boxes_of(plan, staging, "outcome"), boxes_of(plan, staging, "box_source")
    asked = np.array([[0, *(plan.fills.index(copy.fill) for copy in copies)] for copies in plan.copies])
    replaced = staging.read("meta/fill").reshape(asked.shape) != asked
    examples = {OUTCOMES[code]: names_of(plan, outcome == code) for code in np.unique(outcome).tolist() if code}
    if replaced.any():
        of_originals = np.concatenate([replaced.any(axis=1), np.zeros(len(split.train), bool)])
        examples["substituted"] = names_of(plan, of_originals)
    return Outcome(
        staging.shard,
        plan.rows,
        {"train": len(split.train), "meta": len(split.meta), "val": len(split.val), "test": len(split.test)},
        remarks(plan),
        {OUTCOMES[code]: count for code, count in sorted(Counter(outcome.tolist()).items())},
        {plan.chain[code].about.name: count for code, count in sorted(Counter(source.tolist()).items())},
        int(replaced.sum()),
        examples,
        plan.devices.in_words(),
    )


def remarks(plan: Plan) -> tuple[str, ...]:
    """Return what a user should know before reading any figure, a line each."""
    of_device = (plan.devices.remark,) if plan.devices.remark else ()
    return (*remarks_of(plan.dataset, plan.split, plan.config), *of_device)


def make_header(plan: Plan) -> Header:
    """Return the shard's root attributes."""
    return Header(
        dataset=plan.dataset.name,
        class_names=plan.dataset.class_names,
        group_names=plan.dataset.group_names,
        fills=plan.fills,
        box_sources=tuple(matte.about.name for matte in plan.chain),
        settings={
            **plan.config.stored(),
            "matte": plan.chain[0].about.name,
            **digests(plan),
            **clusters(plan),
            **left_out(plan),
            **plan.devices.stored(),
        },
        matte=dataclasses.asdict(plan.chain[0].about),
        fingerprint=plan.dataset.fingerprint(),
        seed=plan.config.seed,
        tool_version=clp_aug.__version__,
    )


def clusters(plan: Plan) -> dict[str, Any]:
    """Return what a meta set spread over clusters was made with and what it lacks, for the settings of the shard."""
    return {"meta_clusters": plan.split.clusters} if plan.split.clusters else {}


def left_out(plan: Plan) -> dict[str, Any]:
    """Return which pictures the run does without, for the settings of the shard: training has to, too."""
    return {"left_out": list(plan.dataset.left_out)} if plan.dataset.left_out else {}


def staging_key(plan: Plan) -> dict[str, Any]:
    """Return what must not change between a killed run and the one that goes on."""
    header = make_header(plan)
    return {
        **header.settings, "matte_sha256": header.matte["sha256"], "fingerprint": header.fingerprint,
        "tool_version": header.tool_version, "schema": SCHEMA_VERSION,
    }  # fmt: skip


def digests(plan: Plan) -> dict[str, str]:
    """Return hashes of the files a run depends on beside the pictures, and terms: annotations, networks of fills."""
    facts = {"annotations": plan.dataset.annotations_digest()}
    for options in plan.config.fill_options.values():
        facts |= dict.fromkeys(digest_names(type(options)), "")
    for name, options in options_in_use(plan.config).items():
        facts |= {key: "" if file is None else file_sha256(file) for key, file in options.files().items()}
        if options.terms():
            facts[f"{name}_terms"] = options.terms()
    return facts


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal. Raises InputError for a file that cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        raise InputError(f"{path}: cannot read ({error.strerror}); give the path of the network's file") from None
    return digest.hexdigest()
