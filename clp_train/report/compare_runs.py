"""REPORT: several runs of the same data: read, checked, named, and grouped if only their seeds differ."""

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
"""Settings about places and storage: runs that differ only in these count as equal."""
SEED = "seed"
SHARD = "shard: "  # beginning of the names of a shard's settings
NAMED_BY = 2  # most settings in the names of variants of one method
LONGEST = 24  # most characters of a setting's value in a name


class Run(NamedTuple):
    """A finished run. result: plain JSON; name: its name in the comparison."""

    folder: Path
    result: Result
    name: str = ""

    @property
    def snapshot(self) -> dict[str, Any]:
        """Metrics of the selected epoch, or of the last one if none was selected."""
        found: dict[str, Any] = self.result["selected"] or self.result["last"]
        return found

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.result["config"][SEED])


class Variant(NamedTuple):
    """Runs that differ only in their seeds. runs: their indices among all runs, in the order of seeds."""

    name: str
    runs: tuple[int, ...]


class Runs(NamedTuple):
    """The compared runs, in the order of the command line. variants: every run belongs to one."""

    runs: tuple[Run, ...]
    variants: tuple[Variant, ...]

    @property
    def first(self) -> Result:
        """The first run's result, for facts that all runs share."""
        return self.runs[0].result

    @property
    def splits(self) -> tuple[str, ...]:
        """The test splits, or val if there are none."""
        return splits_of(self.first)

    def variant_of(self, run: int) -> int:
        """Return the index of a run's variant."""
        return next(v for v, variant in enumerate(self.variants) if run in variant.runs)


def read_runs(folders: Sequence[Path]) -> Runs:
    """Read the runs in some folders, name them and group them into variants.

    Raises UsageError for fewer than two runs, and for a run that is given twice; InputError for a folder without a
    finished run, and for runs of different data; the message says what differs. Source: ours.
    """
    if len(folders) < 2:
        raise UsageError(f"expected at least two runs, given {len(folders)}; name the folders that clp-train wrote")
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
        raise InputError(f"{folder}: an unfinished run; continue it with the command of that run and --resume")
    run = Run(folder, read_result(folder))
    with result_of_a_run(folder):
        data_of(run.result)
        settings_of(run.result)
        int(run.seed)
    return run


def splits_of(result: Result) -> tuple[str, ...]:
    """Return the test splits of a result, or val if there are none."""
    names = tuple((result["selected"] or result["last"])["metrics"])
    return tuple(name for name in names if name != "val") or names


def data_of(result: Result) -> dict[str, Any]:
    """Return the facts that must be equal in all compared runs, by name."""
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
    """Raise InputError, which names the first difference, for a run of other data than the first run."""
    ours, theirs = data_of(first.result), data_of(run.result)
    for what, value in ours.items():
        if theirs.get(what) != value:
            raise InputError(
                f"{run.folder}: its data differ from those of {first.folder}: {what} {briefly(theirs.get(what))}, there"
                f" {briefly(value)}; compare runs of the same data"
            )


def briefly(value: object) -> str:
    """Return a value as text for a message, at most 60 characters."""
    text = plain(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def settings_of(result: Result) -> dict[str, Any]:
    """Return everything that defines a run except its seed and folder, by name: the run's settings, the method's own,
    the shard's ("shard: cf"), the number of training pictures, and the device.
    """
    config = {k: v for k, v in result["config"].items() if k not in (SEED, "out", "options")}
    options = result["config"].get("options") or {}
    shard = {f"{SHARD}{k}": v for k, v in result["shard_settings"].items() if k != SEED}
    data = {"training pictures": sum(result["train_group_counts"])}
    versions = {f"version: {k}": v for k, v in result["versions"].items()}
    return {**config, **options, **shard, **data, **versions}


def variants_of(results: Sequence[Result]) -> list[Variant]:
    """Group results that differ only in their seeds; places and versions do not count. Source: ours."""
    members: dict[str, list[int]] = {}
    for i, result in enumerate(results):
        kept = {k: v for k, v in settings_of(result).items() if k not in PLACES and not k.startswith("version: ")}
        members.setdefault(json.dumps(kept, sort_keys=True), []).append(i)
    ordered = [sorted(some, key=lambda i: int(results[i]["config"][SEED])) for some in members.values()]
    names = variant_names([results[some[0]] for some in ordered])
    return [Variant(name, tuple(some)) for name, some in zip(names, ordered, strict=True)]


def variant_names(results: Sequence[Result]) -> list[str]:
    """Return the names of variants: their method, and settings that differ if several variants have one method."""
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
    """Return the names of the settings that differ, in their order."""
    names = dict.fromkeys(name for each in settings for name in each)
    return [name for name in names if any(each.get(name) != settings[0].get(name) for each in settings)]


def named(runs: Sequence[Run], variants: Sequence[Variant]) -> list[Run]:
    """Return the runs with names: that of the variant, with the seed for several runs, with the folder if needed."""
    names = [""] * len(runs)
    for variant in variants:
        seeds = Counter(runs[i].seed for i in variant.runs)
        for i in variant.runs:
            seed = f", seed {runs[i].seed}" if len(variant.runs) > 1 else ""
            names[i] = f"{variant.name}{seed}" + (f", {runs[i].folder.name}" if seeds[runs[i].seed] > 1 else "")
    return [run._replace(name=name) for run, name in zip(runs, unique(names), strict=True)]


def unique(names: Sequence[str]) -> list[str]:
    """Return the names, with a number after each name that occurs twice."""
    counts, seen, found = Counter(names), Counter[str](), []
    for name in names:
        seen[name] += 1
        found.append(f"{name} #{seen[name]}" if counts[name] > 1 else name)
    return found
