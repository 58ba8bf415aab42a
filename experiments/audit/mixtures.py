"""Does the gap measure what it says? Heads whose labels follow the background with a known probability.

    python -m experiments.audit.mixtures --data DIR --work DIR

Hypothesis (to be refuted): the gap rises with the share q of training pictures that stand before a background of their
own class; at q = 0.5, where the background says nothing of the label, its interval holds zero for at least 90 of 100
heads. Training pictures of waterbirds_like are cut out, and each stands once before a background of its own class, with
weight q, and once before one of the other class, with weight 1 - q, so that nothing but the background's share differs
between heads of different q, and at q = 0.5 the two are balanced picture by picture. Heads are logistic regressions,
each of four fifths of the pictures by chance, on features of EfficientNet-Lite0: of whole pictures, or of the object
alone and of the background alone, one behind the other, where objects cannot be hidden by backgrounds. The audit is of
test pictures, with backgrounds that no head has seen. Control: the same heads' gap between the true groups of the
original test pictures, which the audit does not know.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clp_aug import fill, load_dataset
from clp_aug.common.files import written_beside
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.figures import Figures, measure
from clp_train.auditing.verdict import verdict_of
from clp_train.auditing.views import MIX_OTHER, MIX_SAME, NONE, AuditSet, read_audit_set
from clp_train.backgrounds.prior import fit_logistic
from clp_train.evaluating.outputs import outputs
from clp_train.models import build_model
from clp_train.models.parts import Classifier
from clp_train.pictures.keys import generator_for
from experiments.audit.heads import AT_ONCE, answers, features
from experiments.common import runner

WEIGHTS = {0.5: (1, 1), 0.6: (3, 2), 0.7: (7, 3), 0.8: (4, 1), 0.9: (9, 1), 1.0: (1, 0)}
"""Share of backgrounds of the own class -> how often each picture is there before such a one, and before another."""
HEADS = {0.5: 100}
OTHERS = 20  # heads of every other share
KEPT = 0.8  # of the training pictures
DECAY = 1e-2
GREY, FILLED = "object alone, grey", "background alone, cagan"
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
    rows = np.concatenate([learnt.rows[GREY][:, 0], learnt.rows[MIX_SAME][:, 0], learnt.rows[MIX_OTHER][:, 0]])
    learnt_rows = features(readers["train"], network, rows, arguments.work / "train.safetensors").unflatten(0, (3, -1))
    rows = np.arange(len(readers["test"]))
    of_test = features(readers["test"], network, rows, arguments.work / "test.safetensors")
    behind = {
        name: of_backgrounds(reader, arguments.data / "waterbirds_like", network, arguments.work / f"{name}-behind")
        for name, reader in readers.items()
    }
    seen = np.stack([learnt.donor[MIX_SAME][:, 0], learnt.donor[MIX_OTHER][:, 0]])
    unseen = ~np.isin(seen, readers["test"].tables["train/sample_id"]).any(0)
    apart = torch.stack([torch.cat([learnt_rows[0], behind["train"](ids)], 1) for ids in seen])
    inputs = {
        "whole pictures": (learnt_rows[1:], of_test),
        "object and background apart": (apart, both_apart(audit_set, of_test, behind["test"])),
    }
    label, found = np.asarray(readers["test"].tables["meta/label"]), {}
    for name, (of_train, tested) in inputs.items():
        for q in WEIGHTS:
            heads = [fit_head(q, k, of_train[:, unseen], learnt.label[unseen]) for k in range(HEADS.get(q, OTHERS))]
            given = [answers(head(tested), label) for head in heads]
            audits = [measure(audit_set, each, np.ones(2, bool)) for each in given]
            halves = [half_of(audit_set, k) for k in range(len(heads))]
            of_halves = [measure(half, each, np.ones(2, bool)).gap for half, each in zip(halves, given, strict=True)]
            found.setdefault(name, {})[str(q)] = [
                told(figures, audit_set) | {"half": [half.value, half.low, half.high]}
                for figures, half in zip(audits, of_halves, strict=True)
            ]
    summaries = {name: summary(of_shares) for name, of_shares in found.items()}
    with written_beside(arguments.out) as temporary:
        temporary.write_text(json.dumps({"summary": summaries, "heads": found}, indent=1) + "\n")
    print(json.dumps(summaries, indent=1))


def of_backgrounds(reader: ShardReader, root: Path, network: Classifier, kept: Path) -> Callable[[np.ndarray], Tensor]:
    """Return what gives the features of pictures that give backgrounds, without their objects, by their ids: (n, A)."""
    ids, file = reader.tables["train/sample_id"], kept.with_suffix(".safetensors")
    if not file.exists():
        data, made = load_dataset("waterbirds", root), []
        for row, box in zip(data.rows_of(ids).tolist(), reader.tables["train/box"], strict=True):
            made.append(fill(data.image(row, reader.shape[1]), box, "cagan"))
        images = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)
        parts = (part.contiguous(memory_format=torch.channels_last) for part in images.split(AT_ONCE))
        with written_beside(file) as temporary:
            save_file({"features": torch.cat([out.features for out in outputs(network, parts)])}, temporary)
    found = load_file(file)["features"]
    return lambda wanted: found[torch.from_numpy(np.searchsorted(ids, wanted))]


def both_apart(audit_set: AuditSet, of_rows: Tensor, behind: Callable[[np.ndarray], Tensor]) -> Tensor:
    """Return features of the object and of the background of every row of the shard, one behind the other: (N, 2 A)."""
    out = torch.zeros(len(of_rows), 2 * of_rows.shape[1])
    objects, own = (of_rows[torch.from_numpy(audit_set.rows[view][:, 0])] for view in (GREY, FILLED))
    for view, rows in audit_set.rows.items():
        for draw in range(rows.shape[1]):
            other = view in (MIX_SAME, MIX_OTHER)
            at = torch.from_numpy(rows[:, draw])
            out[at] = torch.cat([objects, behind(audit_set.donor[view][:, draw]) if other else own], 1)
    return out


def fit_head(q: float, k: int, of_train: Tensor, label: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Fit the k-th head of a share: features -> logits. of_train: (2, P, A), before own and other."""
    rows = rng_for(k, 0, "mixtures").permutation(len(label))[: round(KEPT * len(label))]
    x = torch.cat([part[rows] for part, times in zip(of_train, WEIGHTS[q], strict=True) for _ in range(times)])
    y = torch.from_numpy(label[rows]).repeat(sum(WEIGHTS[q]))
    mean = x.mean(0)
    scale = (x - mean).square().sum(1).mean().sqrt()
    weight, bias = fit_logistic((x - mean) / scale, y, 2, DECAY)
    return lambda features: (features - mean) / scale @ weight.T + bias


def half_of(audit_set: AuditSet, k: int) -> AuditSet:
    """Return an audit of half of the pictures before half of the backgrounds, others for every k: so that the luck of
    one audit set is not counted as that of all heads.
    """
    rng = rng_for(k, 1, "mixtures")
    pictures = np.sort(rng.permutation(len(audit_set))[: len(audit_set) // 2])
    ids = np.unique(np.concatenate([audit_set.donor[view].ravel() for view in (MIX_SAME, MIX_OTHER)]))
    kept = np.append(rng.permutation(ids)[: len(ids) // 2], NONE)
    rows = {
        view: np.where(np.isin(audit_set.donor[view], kept), some, NONE)[pictures]
        for view, some in audit_set.rows.items()
    }
    donor = {view: np.where(rows[view] == NONE, NONE, some[pictures]) for view, some in audit_set.donor.items()}
    columns = {name: getattr(audit_set, name)[pictures] for name in ("label", "group", "sample_id", "box", "outcome")}
    return replace(audit_set, rows=rows, donor=donor, **columns)


def told(figures: Figures, audit_set: AuditSet) -> dict:
    """Return of the figures of a head what is kept."""
    groups = {name: e.value for name, e in zip(audit_set.group_names, figures.by_group, strict=True)}
    gap = figures.gap
    return {
        "gap": gap.value, "low": gap.low, "high": gap.high, "verdict": verdict_of(figures, audit_set).word,
        "original": figures.by_view["original"].value, "worst_group": min(groups.values()),
        "true_gap": true_gap(groups), "gap_by_class": [each.value for each in figures.gap_by_class],
    }  # fmt: skip


def true_gap(groups: dict[str, float | None]) -> float:
    """Return the accuracy of original pictures before the place of their class minus that before the other, the mean
    over both classes; it takes the true groups, which the audit does not know.
    """
    land, water = (
        groups[f"{bird} on {own}"] - groups[f"{bird} on {other}"]
        for bird, own, other in (("landbird", "land", "water"), ("waterbird", "water", "land"))
    )
    return (land + water) / 2


def summary(found: dict[str, list[dict]]) -> dict:
    """Return what a table shows: a line a share."""
    return {
        q: {
            "heads": len(heads),
            "gap": [float(np.mean([h["gap"] for h in heads])), float(np.std([h["gap"] for h in heads]))],
            "holds_zero": sum(h["low"] <= 0 <= h["high"] for h in heads),
            "halves_hold_zero": sum(h["half"][1] <= 0 <= h["half"][2] for h in heads),
            "true_gap": float(np.mean([h["true_gap"] for h in heads])),
            "holds_true_gap": sum(h["low"] <= h["true_gap"] <= h["high"] for h in heads),
            "worst_group": float(np.mean([h["worst_group"] for h in heads])),
            "verdicts": {w: sum(h["verdict"] == w for h in heads) for w in sorted({h["verdict"] for h in heads})},
        }
        for q, heads in found.items()
    }


if __name__ == "__main__":
    main()
