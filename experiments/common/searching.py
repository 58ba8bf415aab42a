"""Train rows of settings in this process and judge them on val pictures; started again, a search goes on.

A row may change what no setting changes, by a context that the run is made in. After each run the search's JSON is read
and written anew: what is finished is kept, and two processes with seeds of their own may share it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor

from clp_aug.common import memory
from clp_aug.common.files import written_beside
from clp_train.algorithm.characteristics import View
from clp_train.config import make_config
from clp_train.loading import data
from clp_train.methods import clp
from clp_train.presets import read_method, read_preset
from clp_train.running import loop


class Row(NamedTuple):
    """A method, its settings as KEY=VALUE, a context that changes what they cannot, and whether delta is looked at.

    A dictionary that the context yields is kept with the result.
    """

    method: str
    texts: tuple[str, ...] = ()
    changed: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
    explained: bool = False


def arguments_of(doc: str, out: str, size: int | None = None, data: bool = True) -> argparse.Namespace:
    """Read the command line of a search. doc: its text; out: the name of its results; size: of pictures, if any; data:
    whether it needs some.
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
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / out)
    return parser.parse_args()


def search(
    rows: Mapping[str, Row],
    arguments: argparse.Namespace,
    preset: str | None,
    settings: dict,
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
            own = {"meta": str(shard), "method": row.method, "seed": seed}
            of_preset = (read_preset(preset), read_method(preset, row.method)) if preset else ()
            found = scores_of(row, make_config(*of_preset, settings | own, texts=row.texts))
            whole = known(arguments.out) | {"preset": preset}
            whole["settings"][name] = [row.method, *row.texts]
            whole["rows"].setdefault(name, {})[str(seed)] = found
            with written_beside(arguments.out) as temporary:
                temporary.write_text(json.dumps(whole, indent=1) + "\n")
            last = found["last"]
            print(f"{name}, seed {seed}: val worst {last['worst']:.3f}, average {last['average']:.3f}", flush=True)


def known(out: Path) -> dict:
    """Return what a search has found so far."""
    return json.loads(out.read_text()) if out.exists() else {"preset": "", "settings": {}, "rows": {}}


def scores_of(row: Row, config) -> dict:
    """Return val's accuracies of one run at its last and its selected epoch, its seconds, and what delta does."""
    run, seen = data.load(config), []
    with row.changed() as more, watched(seen) if row.explained else contextlib.nullcontext():
        trained = loop.train(config, run)
    found = {
        when: {key: round(getattr(snapshot.metrics["val"], key), 4) for key in ("worst", "average")}
        | {"per_group": [round(v, 4) for v in snapshot.metrics["val"].per_group], "epoch": snapshot.epoch}
        for when, snapshot in (("last", trained.last), ("selected", trained.selected))
    }
    steps = len(run.train.label) // config.batch_size
    found["seconds"] = round(trained.spent.cpu_seconds)
    if row.explained:
        found["delta"] = explained(seen[-steps:])
    return found | more if isinstance(more, dict) else found


@contextlib.contextmanager
def watched(seen: list) -> Iterator[None]:
    """Put (view, delta) of every training batch into a list."""
    plain = clp.Clp.terms

    def terms(self, view: View):
        found = plain(self, view)
        if view.row is not None:
            seen.append((view, found.delta.detach()))
        return found

    with mock.patch.object(clp.Clp, "terms", terms):
        yield


def explained(seen: list[tuple[View, Tensor]]) -> dict:
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
