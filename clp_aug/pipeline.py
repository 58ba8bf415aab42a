"""The flow of clp-augment on one page: READ -> MATTE -> BOX -> INFILL -> SHARD."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import clp_aug
from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError, TooManyFallbacks, UsageError
from clp_aug.contract.schema import NO_FILL, OUTCOMES, SCHEMA_VERSION, Header
from clp_aug.contract.shards import write_shard
from clp_aug.datasets import load_dataset
from clp_aug.datasets.annotations import with_annotations
from clp_aug.datasets.base import Dataset
from clp_aug.datasets.split import Split, make_split
from clp_aug.engines import ENGINES, Task, default_engine
from clp_aug.fills import FILLS
from clp_aug.fills.scene import Materials
from clp_aug.mattes import make_chain
from clp_aug.sharding import Staging, check_space, plan_copies
from clp_aug.stages import BoxStage, InfillStage

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(stage, pictures) -> context whose value is called with the pictures done since the last call."""

BOX_BLOCK, INFILL_BLOCK = 256, 64  # pictures a block: what a kill can cost, and what memory holds
LARGEST_DEFAULT, SMALLEST_DEFAULT, SAMPLED = 224, 8, 101


@dataclass(frozen=True)
class Plan:
    """Everything that is settled before a picture is decoded."""

    config: AugmentConfig  # with size and matte filled in
    dataset: Dataset
    split: Split
    copies: list  # per meta original, the copies to make
    fills: tuple[str, ...]
    chain: list

    @property
    def rows(self) -> int:
        """Meta rows of the shard: originals and copies."""
        return len(self.copies) + sum(map(len, self.copies))

    @property
    def shard_bytes(self) -> int:
        """Bytes of pixels in the shard, uncompressed."""
        return self.rows * self.config.size**2 * 3 + len(self.copies) * self.config.size**2


@dataclass(frozen=True)
class Outcome:
    """What a run did: the shard, its rows, boxes by outcome and by matte, and fills asked for but replaced."""

    path: Path
    rows: int
    outcomes: dict[str, int]
    sources: dict[str, int]
    substituted: int


def no_progress(stage: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Show nothing."""
    return nullcontext(lambda done: None)


def read(config: AugmentConfig) -> Plan:
    """READ: load the data set, apply the protocol, and settle size, mattes and copies. Decodes no picture."""
    dataset = with_annotations(load_dataset(config.dataset, config.root), config.masks, config.boxes)
    split = make_split(
        dataset, meta=config.meta, meta_from=config.meta_from, keep_meta_in_train=config.keep_meta_in_train,
        imbalance=config.imbalance, noise=config.noise, noise_seed=config.noise_seed, seed=config.seed,
        limit=config.limit,
    )  # fmt: skip
    labels, ids = dataset.samples.label[split.meta], dataset.samples.sample_id[split.meta]
    partnered = [name for name in (*config.cf, *config.f) if FILLS[name].needs == "partner"]
    if partnered and len(np.unique(labels)) < 2:
        raise InputError(f"fill {partnered[0]!r} takes from another class, but the meta set has one class only")
    matte = config.matte or ("given" if dataset.annotated else "grabcut")
    if matte == "given" and not dataset.annotated:
        raise UsageError(
            f"--matte given: data set {dataset.name} has no masks or boxes; give --masks DIR or --boxes FILE"
        )
    config = dataclasses.replace(config, matte=matte, size=config.size or default_size(dataset, split.meta))
    copies = plan_copies(labels, ids, config.cf, config.f, config.ratio, config.seed)
    fills = tuple(dict.fromkeys((NO_FILL, *config.cf, *config.f, "grey")))  # grey may step in for any
    return Plan(config, dataset, split, copies, fills, make_chain(matte))


def default_size(dataset: Dataset, rows: np.ndarray) -> int:
    """Return the median shorter side of up to 101 pictures, from their headers, between 8 and 224 pixels."""
    sample = rows[np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).round().astype(int)]
    side = int(np.median([min(dataset.source_size(int(row))) for row in sample]))
    return min(max(side, SMALLEST_DEFAULT), LARGEST_DEFAULT)


def augment(config: AugmentConfig, progress: Progress = no_progress) -> Outcome:
    """Run the whole flow and return what was done; the shard appears under its name only when it is complete."""
    plan = read(config)
    staging = Staging(config.shard_path(), staging_key(plan), config.compression)
    check_space(staging.shard.parent, int(2.2 * plan.shard_bytes))  # the staged blocks and the shard itself
    staging.open(config.resume, config.overwrite)
    try:
        for part in ("meta", "train"):  # MATTE and BOX
            rows = getattr(plan.split, part)
            task = BoxStage(plan.dataset, rows, plan.config, staging, part)
            run(task, len(rows), BOX_BLOCK, f"MATTE + BOX {part}", plan.config, staging, progress)
        boxes = {part: read_boxes(plan, staging, part) for part in ("meta", "train")}
        check_fallbacks(plan, boxes)

        task = InfillStage(  # INFILL
            plan.dataset, plan.split.meta, boxes["meta"]["box"], plan.copies, plan.fills, plan.config,
            materials(plan), staging,
        )  # fmt: skip
        run(task, len(plan.split.meta), INFILL_BLOCK, "INFILL", plan.config, staging, progress)
        return write(plan, boxes, staging, progress)  # SHARD
    except BaseException:
        staging.remove_if_empty()
        raise


def run(
    task: Task, rows: int, block: int, stage: str, config: AugmentConfig, staging: Staging, progress: Progress
) -> None:
    """Work through the blocks of a stage that are not finished yet, on the chosen engine."""
    spans = [(n, start, min(start + block, rows)) for n, start in enumerate(range(0, rows, block))]
    todo = [span for span in spans if not staging.has(task.stage, span[0])]
    workers = min(config.workers, len(todo)) or 1
    engine = ENGINES[config.engine or default_engine(workers)]
    with progress(stage, rows) as advance:
        advance(rows - sum(stop - start for _, start, stop in todo))
        for done in engine(task, todo, workers):
            advance(done)


def read_boxes(plan: Plan, staging: Staging, part: str) -> dict[str, np.ndarray]:
    """Return box, source and outcome of every picture of one part, in the order of its rows."""
    blocks = -(-len(getattr(plan.split, part)) // BOX_BLOCK)
    return {name: staging.table(BoxStage.name_of(part), blocks, name) for name in ("box", "box_source", "outcome")}


def check_fallbacks(plan: Plan, boxes: dict[str, dict[str, np.ndarray]]) -> None:
    """Raise TooManyFallbacks when the chosen matte gave fewer boxes than the run can bear."""
    sources = np.concatenate([part["box_source"] for part in boxes.values()])
    outcomes = Counter(np.concatenate([part["outcome"] for part in boxes.values()]).tolist())
    share = float((sources != 0).mean())
    if share > plan.config.max_fallback:
        why = ", ".join(f"{count} {OUTCOMES[code]}" for code, count in sorted(outcomes.items()) if code)
        raise TooManyFallbacks(
            f"matte {plan.config.matte} gave no usable box for {(sources != 0).sum()} of {len(sources)} pictures"
            f" ({share:.0%}; {why}), more than --max-fallback {plan.config.max_fallback:g}; give --boxes or --masks,"
            " another --matte, or --resume with a higher --max-fallback"
        )


def materials(plan: Plan) -> Materials:
    """Return what the fills may draw on beyond a picture; the infill stage adds the partners."""
    config = plan.config
    classes = len(plan.dataset.class_names)
    return Materials(
        classifier=config.classifier, epsilon=config.epsilon, targeted=config.fgsm == "targeted", num_classes=classes
    )


def write(plan: Plan, boxes: dict, staging: Staging, progress: Progress) -> Outcome:
    """SHARD: put the finished blocks together, and clear the staging folder."""
    samples, split, config = plan.dataset.samples, plan.split, plan.config
    blocks = -(-len(split.meta) // INFILL_BLOCK)
    at = staging.table(InfillStage.stage, blocks, "original")  # per meta row, the index of its original
    tables = {
        "meta/label": samples.label[split.meta][at],
        "meta/kind": staging.table(InfillStage.stage, blocks, "kind"),
        "meta/fill": staging.table(InfillStage.stage, blocks, "fill"),
        "meta/sample_id": samples.sample_id[split.meta][at],
        "meta/parent_id": samples.sample_id[split.meta][at],
        "meta/group": samples.group[split.meta][at],
        "train/sample_id": samples.sample_id[split.train],
        "train/label": split.train_label,
        "look/sample_id": samples.sample_id[split.meta],
        **{f"meta/{name}": values[at] for name, values in boxes["meta"].items()},
        **{f"train/{name}": values for name, values in boxes["train"].items()},
    }
    with progress("SHARD", plan.rows) as advance:

        def counted():
            for block in staging.stream(InfillStage.stage, blocks, "images"):
                yield block
                advance(len(block))

        mattes = staging.stream(BoxStage.name_of("meta"), -(-len(split.meta) // BOX_BLOCK), "matte")
        pictures = {"meta/images": counted(), "look/matte": mattes}
        write_shard(staging.shard, make_header(plan), tables, pictures, config.compression)
    staging.remove()
    return summarise(plan, boxes, tables, staging.shard)


def summarise(plan: Plan, boxes: dict, tables: dict, path: Path) -> Outcome:
    """Count what became of the mattes and of the fills asked for."""
    outcomes = np.concatenate([part["outcome"] for part in boxes.values()])
    sources = np.concatenate([part["box_source"] for part in boxes.values()])
    asked = [plan.fills.index(copy.fill) for copies in plan.copies for copy in copies]
    used = tables["meta/fill"][tables["meta/kind"] > 0]
    return Outcome(
        path, plan.rows,
        {name: int((outcomes == code).sum()) for code, name in enumerate(OUTCOMES) if (outcomes == code).any()},
        {m.about.name: int((sources == i).sum()) for i, m in enumerate(plan.chain) if (sources == i).any()},
        int((used != np.array(asked, used.dtype)).sum()),
    )  # fmt: skip


def make_header(plan: Plan) -> Header:
    """Return the shard's root attributes."""
    return Header(
        dataset=plan.dataset.name,
        class_names=plan.dataset.class_names,
        group_names=plan.dataset.group_names,
        fills=plan.fills,
        box_sources=tuple(matte.about.name for matte in plan.chain),
        settings={**plan.config.stored(), "matte": plan.chain[0].about.name, **digests(plan)},
        matte=dataclasses.asdict(plan.chain[0].about),
        fingerprint=plan.dataset.fingerprint(),
        seed=plan.config.seed,
        tool_version=clp_aug.__version__,
    )


def staging_key(plan: Plan) -> dict:
    """Return what must not change between a killed run and the one that goes on."""
    settings = {k: v for k, v in make_header(plan).settings.items() if k != "max_fallback"}
    return {
        **settings, "matte_sha256": plan.chain[0].about.sha256, "fingerprint": plan.dataset.fingerprint(),
        "tool_version": clp_aug.__version__, "schema": SCHEMA_VERSION,
    }  # fmt: skip


def digests(plan: Plan) -> dict[str, str]:
    """Return hashes of the files a run depends on beside the pictures: annotations and classifier."""
    classifier = plan.config.classifier
    if classifier is not None and not classifier.is_file():
        raise InputError(f"classifier {classifier}: no such file; clp-train --export writes one")
    return {
        "annotations": plan.dataset.annotations_digest(),
        "classifier": "" if classifier is None else file_sha256(classifier),
    }


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
