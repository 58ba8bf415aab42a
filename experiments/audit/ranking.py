"""Does the audit rank models as their true worst group does, and what do boxes, pasting and fills change?

    python -m experiments.audit.ranking --data DIR --work DIR [--shards given hatt ...] [--methods erm clp ...]

Hypothesis (to be refuted): over the methods of the registry, heads on EfficientNet-Lite0 (preset waterbirds-probe) on
waterbirds_like, the accuracy of the lowest class before backgrounds of other classes has a rank correlation of at least
0.8 with the true worst group on test, without knowing a group, and so has the gap with the true gap between groups. By
boxes: given masks, hatt, masks' boxes moved by a tenth of their side, the centred box; by pasting: the object by its
matte, or all of its box; by the fill that removes the backgrounds' own objects. The body of all models is the same, so
that features of a shard are computed once. Groups of test pictures are used for the truth alone.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from clp_aug.common.files import written_beside
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.estimates import Estimate
from clp_train.auditing.figures import measure
from clp_train.auditing.verdict import verdict_of
from clp_train.auditing.views import read_audit_set
from clp_train.predicting.trained import load_classifier
from experiments.audit.heads import answers_by_head, features
from experiments.common import runner

METHODS = (
    "erm", "clp", "meta-lp", "background-adjust", "group-dro", "uw", "group-sample", "meta-only", "dfr",
    "balanced-softmax", "logit-adjust", "la-posthoc", "ldam", "ldam-drw", "irm", "v-rex", "focal", "isda", "risda",
    "uw-sample", "apl", "cb-focal", "cb-ce", "mwn", "l2rw", "lws", "crt", "cb-fine-tune", "pde", "tde", "ala", "ifl",
    "mentornet",
)  # fmt: skip
SEEDS = {"erm": (0, 1, 2), "clp": (0, 1, 2)}
MOVED = 0.1  # of a side
SHARDS: dict[str, list[str]] = {
    "given": [],
    "given, pasted by box": ["--paste", "box"],
    "hatt": ["--matte", "hatt"],
    "moved by a tenth": ["--boxes", "MOVED"],
    "centre": ["--matte", "centre"],
    "given, removed by tile": ["--remove", "tile"],
    "given, removed by grey": ["--remove", "grey"],
    "given, backgrounds of test": ["--backgrounds", "test"],
}


def moved_boxes(root: Path, file: Path) -> Path:
    """Write the boxes of all masks, each moved by a tenth of its sides, left or right and up or down by chance."""
    from clp_aug.datasets import load_dataset
    from clp_aug.mattes.chain import read_finding

    data = load_dataset("waterbirds", root)
    with written_beside(file) as temporary, open(temporary, "w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["file", "x0", "y0", "x1", "y1"])
        for row, name in enumerate(data.samples.name):
            width, height = data.source_size(row)
            box, _ = read_finding(data.alpha(row), width)
            x0, y0, x1, y1 = box or (0, 0, width, height)
            signs = rng_for(0, int(data.samples.sample_id[row]), "moved").choice([-1, 1], 2)
            dx, dy = (round(float(s * MOVED * side)) for s, side in zip(signs, (x1 - x0, y1 - y0), strict=True))
            low_x, high_x = np.clip([x0 + dx, x1 + dx], 0, width).tolist()
            low_y, high_y = np.clip([y0 + dy, y1 + dy], 0, height).tolist()
            writer.writerow([name, low_x, low_y, high_x, high_y])
    return file


def runs_of(arguments: argparse.Namespace, root: str) -> list[Path]:
    """Train every method, unless it is there, and return the folders of the runs."""
    folders = []
    for method in arguments.methods:
        for seed in SEEDS.get(method, (0,)):
            shard, folder = arguments.work / f"wb-{seed}.h5", arguments.work / "runs" / f"{method}-seed{seed}"
            if not shard.exists():
                settings = ["--cf", "tile", "--f", "random", "--size", "160", "--seed", str(seed), "--quiet"]
                runner.command(
                    "clp-augment", ["--dataset", "waterbirds", "--root", root, *settings, "--out", str(shard)]
                )
            settings = ["--preset", "waterbirds-probe", "--method", method, "--seed", str(seed)]
            runner.train(folder, ["--meta", str(shard), "--root", root, *settings])
            folders.append(folder)
    return folders


def shard_of(name: str, arguments: argparse.Namespace, root: str) -> Path:
    """Return the audit shard of a name, made now unless it is there."""
    path = arguments.work / f"audit-{name.replace(', ', '-').replace(' ', '_')}.h5"
    if not path.exists():
        moved = arguments.work / "moved.csv"
        options = [str(moved_boxes(Path(root), moved)) if o == "MOVED" else o for o in SHARDS[name]]
        settings = ["--audit", "test", *options, "--limit", str(arguments.limit), "--quiet", "--workers", "1"]
        runner.command("clp-augment", ["--dataset", "waterbirds", "--root", root, *settings, "--out", str(path)])
    return path


def truth_of(folder: Path) -> dict[str, float]:
    """Return what only who knows groups can tell, on test at the epoch that counts: the accuracy of the worst group,
    and that before the place of the class minus that before the other, the mean over classes.
    """
    result = json.loads((folder / "result.json").read_text())
    metrics = (result["selected"] or result["last"])["metrics"]["test"]
    of = dict(zip(result["group_names"], metrics["per_group"], strict=True))
    land = of["landbird on land"] - of["landbird on water"]
    water = of["waterbird on water"] - of["waterbird on land"]
    return {"true_worst_group": float(metrics["worst"]), "true_gap": (land + water) / 2}


def rank(shard: Path, folders: list[Path]) -> dict:
    """Audit every run on one shard, and correlate."""
    reader = ShardReader(shard)
    audit_set, label = read_audit_set(reader), np.asarray(reader.tables["meta/label"])
    rows = np.arange(len(reader))
    kept = shard.with_suffix(".safetensors")
    of_rows = features(reader, load_classifier(folders[0]).network, rows, kept)
    models = {}
    for folder in folders:
        given = answers_by_head(load_classifier(folder), of_rows, label)
        figures = measure(audit_set, given, np.ones(len(audit_set.class_names), bool))
        models[folder.name] = {
            **truth_of(folder),
            "gap": stored(figures.gap),
            "lowest_class_before_others": stored(figures.lowest_before_others),
            "cutting": stored(figures.cutting),
            "verdict": verdict_of(figures, audit_set).word,
        }
    correlations = {
        f"{name} with {truth}": float(
            spearmanr([m[truth] for m in models.values()], [m[name]["value"] for m in models.values()]).statistic
        )
        for truth in ("true_worst_group", "true_gap")
        for name in ("gap", "lowest_class_before_others")
    }
    return {"rank_correlations": correlations, "models": models}


def stored(estimate: Estimate) -> dict:
    """Return an estimate as plain JSON."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def main() -> None:
    """Train, make shards, audit; written after every shard, so that it can be stopped and started again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--shards", nargs="+", choices=list(SHARDS), default=list(SHARDS))
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ranking.json")
    arguments = parser.parse_args()
    root = str(arguments.data / "waterbirds_like")
    folders = runs_of(arguments, root)
    found = {}
    for name in arguments.shards:
        found[name] = rank(shard_of(name, arguments, root), folders)
        with written_beside(arguments.out) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n")
        print(name, found[name]["rank_correlations"], flush=True)


if __name__ == "__main__":
    main()
