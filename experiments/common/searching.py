"""Train rows of settings in this process and judge them on val pictures; started again, a search goes on.

A row may change what no setting changes: it names what makes another assembly of the one that its settings describe.
After each run the search's JSON is read and written anew: what is finished is kept, and two processes with seeds of
their own may share it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clp_aug.common import memory
from clp_aug.common.files import written_beside
from clp_aug.contract.shards import ShardReader
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.config import TrainConfig, make_config
from clp_train.loading.data import RunData, load
from clp_train.presets import read_method, read_preset
from clp_train.running.assembly import Assembly, assemble, assemble_with, context_of
from clp_train.running.checkpoint import Snapshot
from clp_train.running.loop import train


def unchanged(assembly: Assembly) -> Assembly:
    """Return what the settings describe."""
    return assembly


class Row(NamedTuple):
    """A method, its settings as KEY=VALUE, what changes the rest of the run, and whether delta is looked at."""

    method: str
    texts: tuple[str, ...] = ()
    changed: Callable[[Assembly], Assembly] = unchanged
    explained: bool = False


class Watching(Method):
    """Keeps something of each `terms`; what it tells at the end stands in the result."""

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.seen: list[Any] = []

    def findings(self, steps: int) -> dict[str, Any]:
        """Return what was found, by name. steps: of an epoch."""
        return {}


class WatchingDelta(Watching):
    """Keeps (view, delta) of every training batch."""

    def terms(self, view: View) -> Terms:
        found = super().terms(view)
        if view.row is not None:
            self.seen.append((view, found.delta.detach()))
        return found

    def findings(self, steps: int) -> dict[str, Any]:
        return {"delta": explained(self.seen[-steps:])}


def with_method(part: type[Method]) -> Callable[[Assembly], Assembly]:
    """Return what gives the method of an assembly what a class has otherwise; all else stays.

    part: stands before the method's own class, of which it may be a sub-class.
    """

    def changed(assembly: Assembly) -> Assembly:
        kind = type(part.__name__, (part, type(assembly.method)), {})
        config, data = assembly.config, assembly.data
        made = assemble_with(kind(config.options, context_of(config, data)), config, data)
        return replace(made, rule=assembly.rule, backgrounds=assembly.backgrounds)

    return changed


def arguments_of(
    doc: str, out: Path | None, size: int | None = None, data: bool = True, cases: Sequence[str] = ()
) -> argparse.Namespace:
    """Read the command line of a search. doc: its text; out: its results; size: of pictures, if any; data: whether it
    needs some; cases: to choose one of, if any.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=[""], help="Rows whose names start so.")
    if size is not None:
        parser.add_argument("--size", type=int, default=size)
        parser.add_argument("--meta", default="10/group", help="The meta set, as clp-augment takes it.")
    if cases:
        parser.add_argument("--case", choices=cases, required=True)
    parser.add_argument("--out", type=Path, default=out)
    return parser.parse_args()


def search(
    rows: Mapping[str, Row],
    arguments: argparse.Namespace,
    preset: str | None,
    settings: Mapping[str, Any],
    shard_of: Callable[[int], Path],
) -> None:
    """Train every row that is chosen and not done, seed by seed, and write what val says of it.

    settings: of all rows, after the preset's; shard_of: seed -> shard.
    """
    memory.keep_freed_memory()
    for seed in arguments.seeds:
        shard = shard_of(seed)
        for name, row in rows.items():
            if not name.startswith(tuple(arguments.rows)) or str(seed) in known(arguments.out)["rows"].get(name, {}):
                continue
            found = scores_of(row, config_of(row.method, row.texts, preset, settings, shard, seed))
            whole = known(arguments.out) | {"preset": preset}
            whole["settings"][name] = [row.method, *row.texts]
            whole["rows"].setdefault(name, {})[str(seed)] = found
            with written_beside(arguments.out) as temporary:
                temporary.write_text(json.dumps(whole, indent=1) + "\n")
            last = found["last"]
            print(f"{name}, seed {seed}: val worst {last['worst']:.3f}, average {last['average']:.3f}", flush=True)


def config_of(
    method: str, texts: tuple[str, ...], preset: str | None, settings: Mapping[str, Any], shard: Path, seed: int = 0
) -> TrainConfig:
    """Return the settings of one run: the preset's, then those of the search, then texts, "key=value".

    A method takes what it uses of the first two.
    """
    shared = {**(read_preset(preset) if preset else {}), **settings}
    of_method = read_method(preset, method) if preset else {}
    own = {name: value for name, value in of_method.items() if name not in settings}
    return make_config({"meta": shard, "method": method, "seed": seed}, texts, shared, own)


def known(out: Path) -> dict[str, Any]:
    """Return what a search has found so far."""
    return json.loads(out.read_text()) if out.exists() else {"preset": "", "settings": {}, "rows": {}}


def scores_of(row: Row, config: TrainConfig) -> dict[str, Any]:
    """Return val's accuracies of one run at its last and its selected epoch, its seconds, and what was looked at."""
    data = data_of(config)
    assembly = row.changed(assemble(config, data))
    if row.explained:
        assembly = with_method(WatchingDelta)(assembly)
    trained = train(assembly)
    found = {"last": val_scores(trained.last), "selected": val_scores(trained.selected)}
    found["seconds"] = round(trained.spent.cpu_seconds)
    if isinstance(assembly.method, Watching):
        found |= assembly.method.findings(len(data.train) // config.batches.batch_size)
    return found


def data_of(config: TrainConfig) -> RunData:
    """Return the pictures of a run."""
    return load(ShardReader(config.data.meta), config.data, config.run.seed)


def val_scores(snapshot: Snapshot) -> dict[str, Any]:
    """Return the epoch of a snapshot and val's accuracies then, rounded."""
    metrics = snapshot.metrics["val"]
    averages = {key: round(getattr(metrics, key), 4) for key in ("worst", "average")}
    return averages | {"per_group": [round(v, 4) for v in metrics.per_group], "epoch": snapshot.epoch}


def explained(seen: list[tuple[View, Tensor]]) -> dict[str, list[float]]:
    """Return by group, over batches: by how much logits and delta speak for the label, and |p - 1| with and without.

    "Speak for": that of the label less the log-sum-exp of the others, whose sigmoid is a probability.
    """
    label, group = (torch.cat([getattr(view, name) for view, _ in seen]) for name in ("label", "group"))

    def gap(values: Tensor) -> Tensor:
        own = label[:, None]
        others = values.scatter(1, own, -torch.inf).logsumexp(1)
        return values.gather(1, own).squeeze(1) - others

    logits = torch.cat([view.logits for view, _ in seen])
    delta = torch.cat([delta for _, delta in seen])
    columns = {
        "logits": gap(logits), "delta": gap(delta), "plain": (-gap(logits)).sigmoid(),
        "perturbed": (-gap(logits + delta)).sigmoid(),
    }  # fmt: skip
    return {
        name: [round(float(values[group == g].mean()), 3) for g in range(int(group.max()) + 1)]
        for name, values in columns.items()
    }
