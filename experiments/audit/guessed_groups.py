"""Are the groups that `clp-audit data` guesses the true ones, and do they serve as well? waterbirds_like and the demo.

    python -m experiments.audit.guessed_groups --data DIR --work DIR [--parts guess nulls demo training] [--seeds 0 1 2]

The audit sees files, labels and boxes; places are known to the scoring alone. Hypotheses, each with what refutes it:

1. guess: of the minority pictures (landbirds on water, waterbirds on land) most are found, and most that are called so
   are (recall, precision a class); with boxes of hatt in place of given ones, too; boxes alone tell nothing.
2. nulls: on the balanced test split as if it were training data, and on training labels dealt out anew, 40 times, the
   verdict is "none seen".
3. demo: the same as 1 where places are those of the built-in set.
4. training: group-dro and uw on guessed groups reach the worst TRUE group that they reach on true ones; a head on
   frozen features, preset spurious-background, three seeds of shard and start. Epochs are selected by val's groups as
   each run knows them, guessed or true; ERM beside them.

Written after every part and run, so that it can be stopped and started again. DIR of --data holds waterbirds_like/.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clp_aug.common.files import written_beside
from clp_aug.contract.schema import OK
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_aug.library import find_boxes
from clp_train.auditing.data_audit import DataAudit, as_json, audit_data
from clp_train.auditing.data_boxes import background_features, known_boxes, training_rows
from clp_train.auditing.data_features import open_eyes
from clp_train.auditing.data_figures import data_figures
from clp_train.auditing.data_judge import box_columns
from clp_train.auditing.data_table import write_groups
from clp_train.auditing.data_verdict import verdict_on_data
from clp_train.backgrounds.prior import background_log_prior
from clp_train.loading.data import geometry, load_shard_dataset
from experiments.common import runner

NULLS = 40
METHODS = ("group-dro", "uw", "erm")
PRESET = "spurious-background-learnt"
RESULTS = Path(__file__).parent / "results"


def write(name: str, found: dict[str, Any]) -> None:
    """Write a part's result."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with written_beside(RESULTS / name) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


def shard_of(path: Path, *arguments: object) -> Path:
    """Return a shard, made now unless it is there."""
    if not path.exists():
        runner.command("clp-augment", [*map(str, arguments), "--out", str(path), "--quiet"])
    return path


def truth_of(root: Path) -> dict[str, tuple[int, int]]:
    """Return file -> (class, place) of waterbirds_like."""
    with open(root / "metadata.csv", newline="") as file:
        return {row["img_filename"]: (int(row["y"]), int(row["place"])) for row in csv.DictReader(file)}


def scored(audit: DataAudit, place: np.ndarray) -> dict[str, Any]:
    """Return precision and recall of the guess at minority pictures (class != place), a class, and agreement in all.

    place: int64 (n,), the class whose place each picture of the audit truly has; train and held-out pictures apart.
    """
    found: dict[str, Any] = {}
    for name, rows in (("train", audit.is_train), ("held out", ~audit.is_train)):
        guessed, true = audit.likeness[rows] != audit.label[rows], place[rows] != audit.label[rows]
        part: dict[str, Any] = {"agreement": float((audit.likeness[rows] == place[rows]).mean())}
        for c, title in enumerate(audit.class_names):
            own = audit.label[rows] == c
            hits, called, there = (int((each & own).sum()) for each in (guessed & true, guessed, true))
            rates = {"precision": hits / max(1, called), "recall": hits / max(1, there)}
            part[title] = {"minority": there, "guessed": called, "hits": hits, **rates}
        found[name] = part
    return found


def audit_of(shard: Path, root: Path | None) -> DataAudit:
    """Return the audit of a shard's data."""
    reader = ShardReader(shard)
    return audit_data(reader, open_eyes(None, reader.shape[1], "auto"), root, find_boxes=find_boxes)


def guess(root: Path, work: Path) -> None:
    """Part 1, and the tables that part 4 trains on."""
    truth, found = truth_of(root), {}
    for matte in ("given", "hatt"):
        shard = shard_of(
            work / f"waterbirds-{matte}.h5",
            "--dataset", "waterbirds", "--root", root, "--ratio", 0, "--size", 160, "--matte", matte,
        )  # fmt: skip
        audit = audit_of(shard, root)
        place = np.array([truth[audit.name(i)][1] for i in range(len(audit.rows))])
        found[matte] = {**as_json(audit), "score": scored(audit, place)}
        write_groups(work / f"groups-{matte}.csv", audit.boxes, audit.rows, audit.guess)
        write("guess.json", found)
        print(matte, audit.verdict.word, json.dumps(found[matte]["score"]["train"]), flush=True)


def nulls(root: Path, work: Path) -> None:
    """Part 2: the balanced test split as training data, and labels dealt out anew."""
    folder = work / "balanced"
    table_of_test(root, folder)
    shard = shard_of(work / "balanced.h5", "--dataset", "table", "--root", folder, "--ratio", 0, "--size", 160)
    found: dict[str, Any] = {"balanced test split": as_json(audit_of(shard, folder))}
    reader = ShardReader(shard_of(work / "waterbirds-given.h5", "--dataset", "waterbirds", "--root", root, "--ratio", 0,
                                  "--size", 160))  # fmt: skip
    dataset = load_shard_dataset(reader, root)
    boxes = known_boxes(reader, dataset, *geometry(reader), find_boxes)
    rows = training_rows(boxes)
    features = background_features(open_eyes(None, 160, "auto"), boxes, rows, "train")
    by_box, label = box_columns(boxes.box[rows], 160), torch.from_numpy(dataset.samples.label[rows])
    found["labels dealt out anew"] = []
    for seed in range(NULLS):
        dealt = label[torch.from_numpy(rng_for(seed, 0, "nulls").permutation(len(label)))]
        seen, boxed = (background_log_prior(x, dealt, 2, rng_for(seed, 0, "folds")) for x in (features, by_box))
        figures = data_figures(seen, boxed, dealt, seed)
        verdict = verdict_on_data(figures, np.full(len(rows), OK), dataset.class_names)
        found["labels dealt out anew"].append({"verdict": verdict.word, "background": figures.background.value,
                                               "beyond": [figures.beyond.low, figures.beyond.high],
                                               "gain": [figures.gain.low, figures.gain.high]})  # fmt: skip
        write("nulls.json", found)
    words = [each["verdict"] for each in found["labels dealt out anew"]]
    print("balanced:", found["balanced test split"]["verdict"], "| dealt:", {w: words.count(w) for w in set(words)})


def table_of_test(root: Path, folder: Path) -> None:
    """Copy the test split of waterbirds_like with its masks into a folder, as the training pictures of a table."""
    with open(root / "metadata.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "2"]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = ["file,label,split,mask"]
    for row in rows:
        picture = Path(row["img_filename"])
        mask = Path("masks") / f"{picture.stem}.png"
        for path in (picture, mask):
            if not (folder / path).exists():
                shutil.copy(root / path, folder / path)
        lines.append(f"{picture.as_posix()},{('landbird', 'waterbird')[int(row['y'])]},train,{mask.as_posix()}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def demo(work: Path) -> None:
    """Part 3."""
    audit = audit_of(shard_of(work / "demo.h5", "--dataset", "demo", "--ratio", 0), None)
    dataset = audit.boxes.dataset
    place = dataset.samples.group[audit.rows] % 2
    found = {**as_json(audit), "score": scored(audit, place)}
    write("demo.json", found)
    print("demo", audit.verdict.word, json.dumps(found["score"]["train"]), flush=True)


def training(root: Path, work: Path, seeds: list[int]) -> None:
    """Part 4: each method on true groups and on those guessed with given boxes and with boxes of hatt."""
    truth = truth_of(root)
    common = ("--size", 160, "--cf", "tile", "--f", "random", "--meta", "10/group")
    places: dict[str, tuple[str, Path]] = {"true": ("waterbirds", root)}
    for matte in ("given", "hatt"):
        folder = work / f"pictures-{matte}"
        if not folder.exists():
            shutil.copytree(root / "images", folder / "images")
        shutil.copy(work / f"groups-{matte}.csv", folder / "table.csv")
        places[f"guessed, {matte} boxes"] = ("table", folder)
    rows: dict[str, dict[str, Any]] = {}
    for seed in seeds:
        for method in METHODS:
            for groups, (dataset, folder) in places.items():
                key = f"{method}, {groups} groups"
                short = key.replace(" ", "_").replace(",", "")
                shard = shard_of(work / f"{dataset}-{folder.name}-{seed}.h5", "--dataset", dataset, "--root", folder,
                                 *common, "--seed", seed)  # fmt: skip
                run = work / "runs" / f"{short}-seed{seed}"
                run.parent.mkdir(parents=True, exist_ok=True)
                runner.train(run, ["--meta", str(shard), "--root", str(folder), "--preset", PRESET, "--method", method,
                                   "--seed", str(seed), "--cache", str(work / "cache")])  # fmt: skip
                rows.setdefault(key, {})[str(seed)] = by_true_group(run, truth)
                write("training.json", {"preset": PRESET, "shards": list(map(str, common)), "rows": rows})
                print(key, seed, rows[key][str(seed)], flush=True)


def by_true_group(run: Path, truth: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Return accuracy of a run's test pictures in each true group, the worst and the average, at the selected epoch."""
    with open(run / "predictions-test.csv", newline="") as file:
        lines = [(truth[row["file"]], row["predicted"] == row["label"]) for row in csv.DictReader(file)]
    groups = sorted({group for group, _ in lines})
    accuracy = [float(np.mean([right for group, right in lines if group == each])) for each in groups]
    return {"per_group": accuracy, "worst": min(accuracy), "average": float(np.mean([right for _, right in lines]))}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["guess", "nulls", "demo", "training"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    root, work = arguments.data / "waterbirds_like", arguments.work
    work.mkdir(parents=True, exist_ok=True)
    parts = {
        "guess": lambda: guess(root, work), "nulls": lambda: nulls(root, work), "demo": lambda: demo(work),
        "training": lambda: training(root, work, arguments.seeds),
    }  # fmt: skip
    for name in arguments.parts:
        parts[name]()


if __name__ == "__main__":
    main()
