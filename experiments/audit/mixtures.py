"""Does the gap measure what it says? Heads whose labels follow the background with a known probability.

    python -m experiments.audit.mixtures --data DIR --work DIR

Hypothesis (to be refuted): the gap rises with the share q of training pictures that stand before a background of their
own class; at q = 0.5, where the background says nothing of the label, its interval holds zero for at least 90 of 100
heads. Training pictures of waterbirds_like are cut out, and each stands once before a background of its own class, with
weight q, and once before one of the other class, with weight 1 - q, so that nothing but the background's share differs
between heads of different q, and at q = 0.5 the two are balanced picture by picture. Heads are logistic regressions on
the features of EfficientNet-Lite0, each of four fifths of the pictures by chance. The audit is of test pictures, with
backgrounds that no head has seen. Control: the same heads' worst group on the original test pictures, which the gap
does not use.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.files import written_beside
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.figures import Figures, measure
from clp_train.auditing.verdict import verdict_of
from clp_train.auditing.views import MIX_OTHER, MIX_SAME, AuditSet, read_audit_set
from clp_train.backgrounds.prior import fit_logistic
from clp_train.models import build_model
from clp_train.pictures.keys import generator_for
from experiments.audit.heads import answers, features
from experiments.common import runner

WEIGHTS = {0.5: (1, 1), 0.6: (3, 2), 0.7: (7, 3), 0.8: (4, 1), 0.9: (9, 1), 1.0: (1, 0)}
"""Share of backgrounds of the own class -> how often each picture is there before such a one, and before another."""
HEADS = {0.5: 100}
OTHERS = 20  # heads of every other share
KEPT = 0.8  # of the training pictures
DECAY = 1e-2
TRAIN = ["--audit", "train", "--limit", "600", "--draws", "1", "--pool", "200", "--seed", "1"]
TEST = ["--audit", "test"]


def main() -> None:
    """Make both shards, fit and audit every head, write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mixtures.json")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    network = build_model("efficientnet-lite0", 2, [0.0] * 3, [1.0] * 3, generator_for(0, 0, "network"))
    network.to(memory_format=torch.channels_last)

    readers = {}
    for name, options in (("train", TRAIN), ("test", TEST)):
        shard = arguments.work / f"audit-{name}.h5"
        if not shard.exists():
            root = str(arguments.data / "waterbirds_like")
            runner.command("clp-augment", ["--dataset", "waterbirds", "--root", root, *options, "--out", str(shard)])
        readers[name] = ShardReader(shard)
    audit_set, learnt = read_audit_set(readers["test"]), read_audit_set(readers["train"])
    rows = np.concatenate([learnt.rows[MIX_SAME][:, 0], learnt.rows[MIX_OTHER][:, 0]])
    of_train = features(readers["train"], network, rows, arguments.work / "train.safetensors").unflatten(0, (2, -1))
    of_test = features(
        readers["test"], network, np.arange(len(readers["test"])), arguments.work / "test.safetensors"
    )  # fmt: skip
    unseen = ~np.isin(seen_backgrounds(learnt), readers["test"].tables["train/sample_id"]).any(0)
    of_train, learnt_label = of_train[:, unseen], learnt.label[unseen]
    label = np.asarray(readers["test"].tables["meta/label"])
    found = {}
    for q in WEIGHTS:
        fitted = [fit_head(q, k, of_train, learnt_label) for k in range(HEADS.get(q, OTHERS))]
        audits = [measure(audit_set, answers(head(of_test), label), np.ones(2, bool)) for head in fitted]
        found[str(q)] = [told(figures, audit_set) for figures in audits]
    with written_beside(arguments.out) as temporary:
        temporary.write_text(json.dumps({"shares": found, "summary": summary(found)}, indent=1) + "\n")
    print(json.dumps(summary(found), indent=1))


def seen_backgrounds(learnt: AuditSet) -> np.ndarray:
    """Return whose background each training picture has: int64 (2, P), of its own class and of the other."""
    return np.stack([learnt.donor[MIX_SAME][:, 0], learnt.donor[MIX_OTHER][:, 0]])


def fit_head(q: float, k: int, of_train: Tensor, label: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Fit the k-th head of a share: features -> logits. of_train: (2, P, A), before own and other."""
    rows = rng_for(k, 0, "mixtures").permutation(len(label))[: round(KEPT * len(label))]
    x = torch.cat([part[rows] for part, times in zip(of_train, WEIGHTS[q], strict=True) for _ in range(times)])
    y = torch.from_numpy(label[rows]).repeat(sum(WEIGHTS[q]))
    mean = x.mean(0)
    scale = (x - mean).square().sum(1).mean().sqrt()
    weight, bias = fit_logistic((x - mean) / scale, y, 2, DECAY)
    return lambda features: (features - mean) / scale @ weight.T + bias


def told(figures: Figures, audit_set: AuditSet) -> dict:
    """Return of the figures of a head what is kept."""
    groups = {name: e.value for name, e in zip(audit_set.group_names, figures.by_group, strict=True)}
    gap = figures.gap
    return {
        "gap": gap.value, "low": gap.low, "high": gap.high, "verdict": verdict_of(figures, audit_set).word,
        "original": figures.by_view["original"].value, "worst_group": min(groups.values()),
    }  # fmt: skip


def summary(found: dict[str, list[dict]]) -> dict:
    """Return what a table shows: a line a share."""
    return {
        q: {
            "heads": len(heads),
            "gap": [float(np.mean([h["gap"] for h in heads])), float(np.std([h["gap"] for h in heads]))],
            "holds_zero": sum(h["low"] <= 0 <= h["high"] for h in heads),
            "worst_group": float(np.mean([h["worst_group"] for h in heads])),
            "verdicts": {w: sum(h["verdict"] == w for h in heads) for w in sorted({h["verdict"] for h in heads})},
        }
        for q, heads in found.items()
    }


if __name__ == "__main__":
    main()
