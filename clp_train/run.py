"""One run of the command: LOAD, train, EVALUATE, write; by one process, or by several ranks.

Only rank 0 prints and writes. If one rank fails, no rank continues, and none trains before all have the same settings,
data and initial network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch

from clp_aug.common import memory
from clp_aug.common.progress import Bars, Watch
from clp_aug.common.terminal import progress_bars, say
from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from clp_train import finishing, run_folder
from clp_train.algorithm.losses import REMEDY, DivergedError
from clp_train.board import board_for
from clp_train.config import TrainConfig
from clp_train.finishing import Finished
from clp_train.loading.data import RunData, geometry
from clp_train.loading.data import load as load_data
from clp_train.loading.features import digest_of_body
from clp_train.loading.views import check_views_given
from clp_train.pictures.types import kind_counts
from clp_train.presets import check_shard
from clp_train.ranks.agreement import check_same, said_by_first, together
from clp_train.ranks.team import ALONE, Ranks
from clp_train.running import loop
from clp_train.running.assembly import Assembly, assemble, check_meta_batch
from clp_train.running.checkpoint import CHECKPOINT, Checkpoint
from clp_train.running.place import LESS_MEMORY, find_place
from clp_train.running.trial import check_before_load

MEMORY_OPTIONS = "lower --batch-size and --meta-batch-size, or take --store memory or --precision bf16"
COMPLETE, LONGER, FRESH = "complete", "longer", "fresh"
"""Work to do in a folder: complete a finished run, add epochs to it, or run from the start or a state."""


def run(config: TrainConfig, quiet: bool, resume: bool = False, ranks: Ranks = ALONE) -> Finished | None:
    """Do a run, or complete a finished one that is resumed. Return it on rank 0, None on other ranks."""
    memory.keep_freed_memory()
    ranks, quiet = replace(ranks, batch_norm=config.run.rank_batch_norm), quiet or not ranks.is_first
    place = find_place(config.run, ranks)
    with folder_of(config, resume, ranks), remedies_spelt_as_options(), place.active():
        kind = what_to_do(config, ranks)
        if kind == COMPLETE:
            return complete(config, quiet) if ranks.is_first else None
        if not quiet:
            say(f"on {place.shared_by(ranks)}, {place.precision}", err=True)
            if ranks.size > 1 and config.data.cache is None:
                say("each rank holds all pictures; with --cache FOLDER the ranks of a machine share one file", err=True)
        check_same(ranks, {"versions": versions(), **settings_of(config)})
        with together(ranks):
            assembly = load(config, quiet, ranks)
        with together(ranks):
            if kind == LONGER and ranks.is_first:
                finishing.reopen(assembly, str(assembly.place.device))
        checkpoint = checkpoint_of(assembly)
        check_same(ranks, facts_of(assembly, checkpoint, resume))
        outcome = train_on(assembly, checkpoint, quiet, resume)
        if not ranks.is_first:
            return None
        return finishing.conclude(config, assembly.data, outcome, place.shared_by(ranks))


@contextmanager
def folder_of(config: TrainConfig, resume: bool, ranks: Ranks) -> Iterator[None]:
    """Let rank 0 lock the run's folder, as `run_folder.folder_for` does."""
    with ExitStack() as held:
        with together(ranks):
            if ranks.is_first:
                held.enter_context(run_folder.folder_for(config.folder, resume))
        yield


def what_to_do(config: TrainConfig, ranks: Ranks) -> str:
    """Return the work to do in the run's folder, decided by rank 0."""
    kind = ""
    with together(ranks):
        if ranks.is_first:
            finished = run_folder.is_finished(config.folder)
            kind = FRESH if not finished else LONGER if finishing.has_more_epochs(config) else COMPLETE
    return said_by_first(ranks, kind)


def complete(config: TrainConfig, quiet: bool) -> Finished:
    """Make the missing files of a finished run."""
    with progress_bars(quiet) as bar:
        return finishing.complete(config, load_bar(bar))


def versions() -> str:
    """Return the versions of the computing code, in words."""
    return f"clp {version('causal-logit-perturbation')}, torch {torch.__version__}"


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that all ranks of a run share, by name; paths may differ between machines."""
    return {name: value for name, value in config.as_json().items() if name not in run_folder.UNTIED}


def facts_of(assembly: Assembly, checkpoint: Checkpoint, resume: bool) -> dict[str, Any]:
    """Return the facts that must be equal on all ranks of a run before its first step."""
    if assembly.ranks.size == 1:
        return {}
    names = {"fingerprint": "the data set", "shard": "the shard", "pictures": "the pictures"}
    facts = {words: checkpoint.key[name] for name, words in names.items()}
    facts["the network before its first step"] = digest_of_body(assembly.network)
    if resume:
        path = checkpoint.path
        facts[CHECKPOINT] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no such file"
    return facts


def load(config: TrainConfig, quiet: bool, ranks: Ranks = ALONE) -> Assembly:
    """LOAD: read the shard and the pictures, and assemble the run. Raises ClpError for a run that is not possible."""
    with progress_bars(quiet) as bar:
        shard = ShardReader(config.data.meta)
        if config.preset is not None:
            check_shard(config.preset, shard.header.dataset, shard.header.settings)
        check_meta_batch(config, len(shard))
        check_views_given(config.run.select, config.data.audit, shard.header)
        check_before_load(config, len(shard.header.class_names), geometry(shard)[0])
        data = load_data(shard, config.data, config.run.seed, load_bar(bar))
        assembly = assemble(config, data, ranks)
    if not quiet:
        say(describe(data), err=True)
        start = assembly.network.start_weights
        if start is not None:
            say(f"starts from {start.file}: {start.taken}", err=True)
    return assembly


def load_bar(bar: Bars) -> Watch:
    """Return a function that shows progress while the pictures of a split are read."""
    return lambda rows, name: bar.track(rows, description=f"LOAD {name}")


def checkpoint_of(assembly: Assembly) -> Checkpoint:
    """Return the file of the full state; only rank 0 writes it."""
    config, ranks = assembly.config, assembly.ranks
    device = str(assembly.place.device)
    return run_folder.checkpoint_of(config.folder, config.as_json(), assembly.data, device, ranks)


def train_on(assembly: Assembly, checkpoint: Checkpoint, quiet: bool, resume: bool) -> loop.Trained:
    """Train, with a bar, metrics and curves by epoch, and the full state on disk."""
    if not assembly.ranks.is_first:
        return loop.train(assembly, loop.NO_HOOKS, checkpoint, resume)
    config = assembly.config
    with progress_bars(quiet) as bar, board_for(config.folder) as show_curves:
        task = bar.add_task("TRAIN", total=None)

        def on_step(step: loop.Done) -> None:
            meta = "" if step.losses.meta is None else f", meta {step.losses.meta:.3f}"
            text = f"TRAIN epoch {step.epoch}, loss {step.losses.train:.3f}{meta}"
            bar.update(task, completed=step.step, total=step.steps, description=text)

        def on_epoch(history: list[dict[str, Any]]) -> None:
            run_folder.write_metrics(config.folder, history)
            show_curves(history[-1])

        note = loop.NO_HOOKS.note if quiet else remark
        hooks = loop.Hooks(
            on_step, on_epoch, lambda rows, name: bar.track(rows, description=name), remark=remark, note=note
        )
        return loop.train(assembly, hooks, checkpoint, resume)


def remark(line: str) -> None:
    """Print a remark on stderr."""
    say(line, err=True)


@contextmanager
def remedies_spelt_as_options() -> Iterator[None]:
    """Name command line options in the remedies of divergence and memory errors that are raised inside this context."""
    spelt = {REMEDY: "lower --lr, with another --out", LESS_MEMORY: MEMORY_OPTIONS}
    try:
        yield
    except (DivergedError, InputError) as error:
        remedy = next((remedy for remedy in spelt if remedy in str(error)), None)
        if remedy is None:
            raise
        raise type(error)(str(error).replace(remedy, spelt[remedy])) from None


def describe(data: RunData) -> str:
    """Return one line about what a run learns from and is measured on."""
    kinds = ", ".join(f"{n} {kind}s" for kind, n in kind_counts(data.meta).items())
    splits = ", ".join(f"{name} {len(part)}" for name, part in data.evaluation.items())
    missing = "" if "val" in data.evaluation else "; no val split: no epoch is selected, the last one is used"
    return f"{data.header.dataset}: train {len(data.train)}, {splits}; meta set: {kinds}{missing}"
