"""Around which alpha should the box of the matting network be drawn? On pairs that its fit held back.

    python -m experiments.matting.matte_cut --fitted DIR --weights FILE [--seed 0] [--pairs 400]

--fitted is train/ of unpack_matting.py, of which a tenth, by the seed of the fit, was never learnt from. For each cut:
mean box IoU of all pairs with an object and of each kind, and the share of pairs without one that come out empty.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from clp_aug import boxing
from clp_aug.contract import boxes
from clp_aug.fitting.matte import composites, split
from clp_aug.fitting.sources import read_sources
from clp_aug.nets.hatt_lite import load

CUTS = (0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15)
SIZE = 224


def main() -> None:
    """Score every cut."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fitted", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "matte_cut.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    held = split(read_sources(arguments.fitted), arguments.seed)[1]
    pairs, network = composites(held, arguments.seed + 1, SIZE), load(arguments.weights)[0]
    found = {cut: {"empty": []} for cut in CUTS}
    for i in range(arguments.pairs):
        truth, kind = pairs.item(i), pairs.plan(i).kind
        with torch.no_grad():
            alpha = network(torch.from_numpy(truth.picture).permute(2, 0, 1)[None].float() / 255)[0, 0].numpy()
        true = boxing.enclosing_box(truth.alpha >= boxing.THRESHOLD)
        for cut, scores in found.items():
            box = boxing.enclosing_box(boxing.foreground(np.clip(alpha * boxing.THRESHOLD / cut, 0, 1)))
            if true is None:
                scores["empty"].append(box is None)
            else:
                overlap = 0.0 if box is None else float(boxes.iou(np.array(box), np.array(true)))
                scores.setdefault("all", []).append(overlap)
                scores.setdefault(kind, []).append(overlap)
    means = {str(cut): {k: round(float(np.mean(v)), 4) for k, v in scores.items()} for cut, scores in found.items()}
    for cut, scores in means.items():
        print(cut, scores)
    arguments.out.write_text(json.dumps(means, indent=1) + "\n")


if __name__ == "__main__":
    main()
