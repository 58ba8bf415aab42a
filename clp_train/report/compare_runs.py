"""REPORT: several runs of the same data: read, checked, named, and put together where only their seeds differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clp_aug.common.plugins import short
from clp_aug.contract.errors import InputError, UsageError
from clp_train.report.page import plain, read_result, result_of_a_run
from clp_train.report.table import Result
from clp_train.running.checkpoint import CHECKPOINT

PLACES = (
    "meta", "root", "dataset", "out", "cache", "export", "preset", "device", "store", "workers", "checkpoint_interval",
)  # fmt: skip
"""Settings that say where things lie or how they are kept: runs that differ in nothing else are alike."""
SEED = "seed"
SHARD = "shard: "  # how the names of a shard's settings begin
NAMED_BY = 2  # settings that tell variants of one method apart in their names, at most
LONGEST = 24  # of a setting's value in a name


class Run(NamedTuple):
    """A finished run. result: plain JSON; name: what it is called among the others."""

    folder: Path
    result: Result
    name: str = ""

    @property
    def snapshot(self) -> dict[str, Any]:
        """Metrics of the selected epoch, of the last where nothing was selected."""
        found: dict[str, Any] = self.result["selected"] or self.result["last"]
        return found

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.result["config"][SEED])


class Variant(NamedTuple):
    """Runs that differ in their seeds alone. runs: their places among all runs, in the order of their seeds."""

    name: str
    runs: tuple[int, ...]


class Runs(NamedTuple):
    """What is compared, in the order of the command line. variants: every run is of one."""

    runs: tuple[Run, ...]
    variants: tuple[Variant, ...]

    @property
    def first(self) -> Result:
        """The first run's result, for what all have in common."""
        return self.runs[0].result

    @property
    def splits(self) -> tuple[str, ...]:
        """The test splits; val where there is none."""
        return splits_of(self.first)

    def variant_of(self, run: int) -> int:
        """Return the place of a run's variant."""
        return next(v for v, variant in enumerate(self.variants) if run in variant.runs)


def read_runs(folders: Sequence[Path]) -> Runs:
    """Read the runs in some folders, named and put together.

    Raises UsageError for fewer than two, and for one that is given twice; InputError for a folder without a finished
    run, and for runs of different data, naming what differs. Source: ours.
    """
    if len(folders) < 2:
        raise UsageError(f"expected two runs or more, given {len(folders)}; name the folders that clp-train wrote")
    places: dict[Path, Path] = {}
    for folder in folders:
        if places.setdefault(folder.resolve(), folder) != folder or folders.count(folder) > 1:
            raise UsageError(f"{folder}: this run is given twice; name each folder once")
    runs = [read_run(folder) for folder in folders]
    for run in runs[1:]:
        check_same_data(runs[0], run)
    variants = variants_of([run.result for run in runs])
    return Runs(tuple(named(runs, variants)), tuple(variants))


def read_run(folder: Path) -> Run:
    """Return the run in a folder. Raises InputError for a folder without a finished run."""
    if not folder.is_dir():
        kind = "it is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {kind}; give the folder of a finished run of clp-train")
    if (folder / CHECKPOINT).exists() and not (folder / "result.json").exists():
        raise InputError(f"{folder}: an unfinished run; the command of that run with --resume goes on with it")
    run = Run(folder, read_result(folder))
    with result_of_a_run(folder):
        data_of(run.result)
        settings_of(run.result)
        int(run.seed)
    return run


def splits_of(result: Result) -> tuple[str, ...]:
    """Return the test splits of a result; val where there is none."""
    names = tuple((result["selected"] or result["last"])["metrics"])
    return tuple(name for name in names if name != "val") or names


def data_of(result: Result) -> dict[str, Any]:
    """Return what must be the same in runs that are compared, by what it is called."""
    metrics = (result["selected"] or result["last"])["metrics"]
    splits = splits_of(result)
    return {
        "data set": result["dataset"],
        "fingerprint": result["fingerprint"],
        "classes": result["class_names"],
        "groups": result["group_names"] if result["has_groups"] else None,
        "splits": list(splits),
        **{f"pictures of each class in {split}": metrics[split]["class_counts"] for split in splits},
    }


def check_same_data(first: Run, run: Run) -> None:
    """Raise InputError for a run of other data than the first one's, naming the first difference."""
    ours, theirs = data_of(first.result), data_of(run.result)
    for what, value in ours.items():
        if theirs.get(what) != value:
            raise InputError(
                f"{run.folder}: its data are not those of {first.folder}: {what} {briefly(theirs.get(what))}, there"
                f" {briefly(value)}; compare runs of the same data"
            )


def briefly(value: object) -> str:
    """Return a value as a message has it: at most 60 characters."""
    text = plain(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def settings_of(result: Result) -> dict[str, Any]:
    """Return all that a run was made with, but its seed and its folder, by name: the run's own settings, the method's
    further ones, the shard's ("shard: cf"), how many training pictures, and on what it ran.
    """
    config = {k: v for k, v in result["config"].items() if k not in (SEED, "out", "options")}
    options = result["config"].get("options") or {}
    shard = {f"{SHARD}{k}": v for k, v in result["shard_settings"].items() if k != SEED}
    data = {"training pictures": sum(result["train_group_counts"])}
    versions = {f"version: {k}": v for k, v in result["versions"].items()}
    return {**config, **options, **shard, **data, **versions}


def variants_of(results: Sequence[Result]) -> list[Variant]:
    """Put results together that differ in their seeds alone; places and versions do not count. Source: ours."""
    members: dict[str, list[int]] = {}
    for i, result in enumerate(results):
        kept = {k: v for k, v in settings_of(result).items() if k not in PLACES and not k.startswith("version: ")}
        members.setdefault(json.dumps(kept, sort_keys=True), []).append(i)
    ordered = [sorted(some, key=lambda i: int(results[i]["config"][SEED])) for some in members.values()]
    names = variant_names([results[some[0]] for some in ordered])
    return [Variant(name, tuple(some)) for name, some in zip(names, ordered, strict=True)]


def variant_names(results: Sequence[Result]) -> list[str]:
    """Return what variants are called: by their method; of several with one method by settings that differ, too."""
    methods = [short(str(result["config"]["method"])) for result in results]
    names = []
    for result, method in zip(results, methods, strict=True):
        rivals = [other for other, name in zip(results, methods, strict=True) if name == method]
        names.append(method if len(rivals) == 1 else f"{method} ({told_apart(result, rivals)})")
    return unique(names)


def told_apart(result: Result, rivals: Sequence[Result]) -> str:
    """Return the first settings of a result in which some results differ, with their values."""
    parts = []
    for name in differing([settings_of(rival) for rival in rivals]):
        if name not in PLACES and not name.startswith("version: "):
            value = plain(settings_of(result).get(name))
            parts.append(f"{name.removeprefix(SHARD)} {value if len(value) <= LONGEST else value[:LONGEST] + '...'}")
    return ", ".join(parts[:NAMED_BY])


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the settings that are not the same in all, in their order."""
    names = dict.fromkeys(name for each in settings for name in each)
    return [name for name in names if any(each.get(name) != settings[0].get(name) for each in settings)]


def named(runs: Sequence[Run], variants: Sequence[Variant]) -> list[Run]:
    """Return the runs with names: their variant's, of several runs with the seed, and with the folder where need be."""
    names = [""] * len(runs)
    for variant in variants:
        seeds = Counter(runs[i].seed for i in variant.runs)
        for i in variant.runs:
            seed = f", seed {runs[i].seed}" if len(variant.runs) > 1 else ""
            names[i] = f"{variant.name}{seed}" + (f", {runs[i].folder.name}" if seeds[runs[i].seed] > 1 else "")
    return [run._replace(name=name) for run, name in zip(runs, unique(names), strict=True)]


def unique(names: Sequence[str]) -> list[str]:
    """Return names with a number behind those that occur twice."""
    counts, seen, found = Counter(names), Counter[str](), []
    for name in names:
        seen[name] += 1
        found.append(f"{name} #{seen[name]}" if counts[name] > 1 else name)
    return found
