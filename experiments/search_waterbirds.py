"""What keeps CLP from the worst group? A head on frozen features of waterbirds_like, judged on val pictures alone.

    python experiments/search_waterbirds.py --data DIR --work DIR [--seeds 0 1 2] [--rows PART ...]

Hypotheses, each with the rows that could refute it:
1. the step is at fault: other steps, forms and starts of Omega would lift the worst group;
2. the ten characteristics are at fault, which do not show the group: an Omega that is told the group would lift it;
3, 4 (in the results alone). an eleventh characteristic, the margin of the picture without its object, shows enough of
   the group. It gained too little to be kept; its rows were made by the code of ec69078;
5. what the background explains must be taken out before the first step (start at log P(class | background)), and the
   meta step then still adds something;
6. from there the kinds of meta pictures matter: without counterfactuals, with all else alike, less is gained.

Settings are those of preset waterbirds-probe, 40 meta pictures, tile and random, true boxes. DIR of --data holds
waterbirds_like/. Written after every run, so that it can be stopped and started again; no test picture is looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from unittest import mock

import runner
import torch

from clp_aug.contract import memory
from clp_aug.contract.files import written_beside
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, ORIGINAL
from clp_train import data, loop
from clp_train.characteristics import View
from clp_train.config import make_config
from clp_train.methods import clp
from clp_train.presets import read_method, read_preset

PRESET = "waterbirds-probe"
START = "omega_start=background"


def told_groups(view: View, _classes) -> torch.Tensor:
    """Stand in for the ten characteristics: the group alone, one-hot."""
    return torch.nn.functional.one_hot(view.group, 10).float()


@contextlib.contextmanager
def oracle():
    """Let Omega see the group and nothing else."""
    with mock.patch.multiple(clp, characteristics=told_groups, standardised=lambda g: g):
        yield


def kinds(*which: int):
    """Let the meta step look at some kinds of meta pictures alone."""
    return mock.patch.object(clp.Clp, "meta_kinds", which)


# name -> method, settings, what is changed beside them
ROWS = {
    "ERM": ("erm", [], None),
    "control: group weights": ("group-weight", [], None),
    "control: GroupDRO": ("group-dro", [], None),
    "control: meta originals alone": ("meta-only", [], None),
    "Meta-LP": ("meta-lp", [], None),
    "CLP": ("clp", [], None),
    "1: bounded": ("clp", ["omega_form=bounded"], None),
    "1: true class": ("clp", ["omega_form=true-class"], None),
    "1: Omega's step 1e-4": ("clp", ["omega_lr=1e-4"], None),
    "1: Omega's step 3e-4": ("clp", ["omega_lr=3e-4"], None),
    "1: Omega's step 3e-3": ("clp", ["omega_lr=3e-3"], None),
    "1: Omega's step 1e-2": ("clp", ["omega_lr=1e-2"], None),
    "1: start at the log prior": ("clp", ["omega_start=log-prior"], None),
    "1: momentum in the virtual step": ("clp", ["virtual_momentum=true"], None),
    "1: lagged meta step": ("clp", ["meta_step=lagged"], None),
    "1: weight decay 0.1": ("clp", ["weight_decay=0.1"], None),
    "1: weight decay 1": ("clp", ["weight_decay=1"], None),
    "1: twice the epochs": ("clp", ["epochs=120"], None),
    "2: told the group": ("clp", [], oracle),
    "2: told the group, step 3e-3": ("clp", ["omega_lr=3e-3"], oracle),
    "2: told the group, bounded": ("clp", ["omega_form=bounded"], oracle),
    "2: told the group, Meta-LP": ("meta-lp", [], oracle),
    "5: no meta step": ("background-adjust", [], None),
    "5: no meta step, half of it": ("background-adjust", ["tau=0.5"], None),
    "5: no meta step, twice": ("background-adjust", ["tau=2"], None),
    "5: Omega's step 1e-4": ("clp", [START, "omega_lr=1e-4"], None),
    "5: Omega's step 3e-4": ("clp", [START, "omega_lr=3e-4"], None),
    "5: Omega's step 1e-3": ("clp", [START], None),
    "5: Omega's step 3e-3": ("clp", [START, "omega_lr=3e-3"], None),
    "5: Meta-LP": ("meta-lp", [START], None),
    "5: Meta-LP, Omega's step 3e-4": ("meta-lp", [START, "omega_lr=3e-4"], None),
    "6: no counterfactuals": ("clp", [START], lambda: kinds(ORIGINAL, FACTUAL)),
    "6: no factuals": ("clp", [START], lambda: kinds(ORIGINAL, COUNTERFACTUAL)),
    "6: no originals": ("clp", [START], lambda: kinds(COUNTERFACTUAL, FACTUAL)),
}
EXPLAINED = ("CLP", "5: Omega's step 1e-3")


def main() -> None:
    """Make a shard a seed, train every row that is not done, write accuracies on val and what delta does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=[""], help="Rows whose names start so.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "search_waterbirds.json")
    arguments = parser.parse_args()
    memory.keep_freed_memory()
    root = str(arguments.data / "waterbirds_like")
    chosen = [name for name in ROWS if name.startswith(tuple(arguments.rows))]
    known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"settings": {}, "rows": {}}
    settings = known["settings"] | {row: [method, *texts] for row, (method, texts, _) in ROWS.items()}
    found = known["rows"]
    for seed in arguments.seeds:
        shard = shard_of(arguments.work, root, seed)
        for name in chosen:
            if str(seed) in found.get(name, {}):
                continue
            found.setdefault(name, {})[str(seed)] = scores_of(name, seed, shard, root, arguments.work)
            with written_beside(arguments.out) as temporary:
                temporary.write_text(
                    json.dumps({"preset": PRESET, "settings": settings, "rows": found}, indent=1) + "\n"
                )
            last = found[name][str(seed)]["last"]
            print(f"{name}, seed {seed}: val worst {last['worst']:.3f}, average {last['average']:.3f}", flush=True)


def shard_of(work: Path, root: str, seed: int) -> Path:
    """Return the shard of a seed, made now unless it is there."""
    path = work / f"waterbirds-160-seed{seed}.h5"
    if not path.exists():
        runner.command("clp-augment", [
            "--dataset", "waterbirds", "--root", root, "--cf", "tile", "--f", "random", "--size", "160",
            "--seed", str(seed), "--out", str(path), "--quiet",
        ])  # fmt: skip
    return path


def scores_of(name: str, seed: int, shard: Path, root: str, work: Path) -> dict:
    """Return val's accuracies of one run at its last and its selected epoch, and for some what delta does."""
    method, texts, changed = ROWS[name]
    settings = {"meta": str(shard), "root": root, "method": method, "seed": seed, "cache": str(work / "cache")}
    settings["omega_start"] = "zero"  # the preset has what this search chose
    config = make_config(read_preset(PRESET), read_method(PRESET, method), settings, texts=texts)
    run, seen = data.load(config), []
    with changed() if changed else contextlib.nullcontext(), watched(seen):
        trained = loop.train(config, run)
    scores = {
        when: {key: round(getattr(snapshot.metrics["val"], key), 4) for key in ("worst", "average")}
        | {"per_group": [round(v, 4) for v in snapshot.metrics["val"].per_group], "epoch": snapshot.epoch}
        for when, snapshot in (("last", trained.last), ("selected", trained.selected))
    }
    return scores | (
        {"delta": explained(seen[-len(run.train.label) // config.batch_size :])} if name in EXPLAINED else {}
    )


@contextlib.contextmanager
def watched(seen: list):
    """Put (view, delta) of every training batch into a list."""
    plain = clp.Clp.terms

    def terms(self, view: View):
        found = plain(self, view)
        seen.append((view, found.delta.detach()))
        return found

    with mock.patch.object(clp.Clp, "terms", terms):
        yield


def explained(seen: list) -> dict:
    """Return by group, over the last batches: by how much logits and delta speak for the label, and |p - 1|."""
    label, group = (torch.cat([getattr(view, name) for view, _ in seen]) for name in ("label", "group"))

    def gap(values: torch.Tensor) -> torch.Tensor:
        own = label[:, None]
        return (values.gather(1, own) - values.gather(1, 1 - own)).squeeze(1)

    logits, delta = gap(torch.cat([view.logits for view, _ in seen])), gap(torch.cat([delta for _, delta in seen]))
    columns = {"logits": logits, "delta": delta, "plain": (-logits).sigmoid(), "perturbed": (-logits - delta).sigmoid()}
    return {
        name: [round(float(values[group == g].mean()), 3) for g in range(int(group.max()) + 1)]
        for name, values in columns.items()
    }


if __name__ == "__main__":
    main()
