"""How good are the fills that stand for a background? The truth under holes, and what classifiers still see.

    python benchmarks/inpainting_quality.py --data DIR --held-out DIR [--cagan-weights FILE] [--pictures 300] [--out F]
    python benchmarks/inpainting_quality.py --data DIR --held-out DIR --contexts 0,0.5,1 [--pictures 300] [--out F]

DIR of --data holds tiny_imagenet100.h5 (for the shapes of boxes) and waterbirds_like/ (soft masks, two classes, two
places); --held-out: held-out/ of experiments/inpainting/unpack_inpainting.py. docs/how-to/data.md has their sources.

1. Under a hole: boxes of the data, shuffled among pictures, so that what they hide is known and is no object alone.
   l1, PSNR and SSIM inside the hole, by size, three draws of the shuffle. No picture was fitted on.
   With --contexts these figures alone, of cagan with each context, on the same pictures and holes; `gap` is how far
   its l1, PSNR and SSIM lie from the first one's, draw by draw.
2. What is left of class and place: the birds of waterbirds_like's test split, their boxes filled. Two linear
   classifiers on EfficientNet-Lite0's ImageNet features, fitted to the training split with all groups alike, say bird
   and place. A good counterfactual leaves P(y) near the prior, 0.5, and the place as it was.
3. Pictures a second, one picture at a time, on one thread and on two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from kornia.metrics import ssim
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clp_aug import boxing
from clp_aug.contract import boxes, images
from clp_aug.contract.schema import COUNTERFACTUAL
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets import load_dataset
from clp_aug.fills import infill
from clp_aug.fills.cagan import Options, load_inpainter
from clp_aug.fills.scene import Materials, Scene
from clp_aug.nets.efficientnet_lite import EfficientNetLite0, imagenet_weights

FILLS = ("cagan", "telea", "grey", "tile", "random", "shuffle")
SEEDS = (0, 1, 2)
WINDOW = 7  # of SSIM, in pixels


def spread(rows, count: int) -> np.ndarray:
    """Return at most `count` of the rows, spread over the whole."""
    rows = np.asarray(rows)
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def boxes_of_tiny(data: Path, side: int) -> list[boxes.Box]:
    """Return the drawn boxes of Tiny-ImageNet's validation pictures, scaled to a side; 2 to 70 % of the area."""
    with h5py.File(data / "tiny_imagenet100.h5") as file:
        truth = file["box_xyxy"][...][file["is_val"][...]].astype(float) * side / 64
    low, high = np.floor(truth[:, :2]).astype(int), np.ceil(truth[:, 2:]).astype(int)
    whole = np.concatenate([low, high], 1).clip(0, side)
    share = boxes.area(whole) / side**2
    return [tuple(box) for box in whole[(share > 0.02) & (share < 0.7)].tolist()]


def pictures_of(folder: Path, size: int, count: int) -> list[np.ndarray]:
    """Return held-out pictures, uint8 (size, size, 3)."""
    return [images.read_rgb(path.read_bytes(), str(path), size) for path in spread(sorted(folder.iterdir()), count)]


def birds(data: Path, size: int, count: int) -> tuple[list[np.ndarray], list[boxes.Box], np.ndarray, np.ndarray]:
    """Return test pictures of waterbirds_like, the boxes around their masks, their class and their place."""
    dataset = load_dataset("waterbirds", data / "waterbirds_like")
    rows = spread(np.flatnonzero(dataset.samples.split == 2), count)
    found = [boxing.enclosing_box(dataset.alpha(row, size, "crop") >= boxing.THRESHOLD) for row in rows]
    group = dataset.samples.group[rows]
    return [dataset.image(row, size, "crop") for row in rows], found, group // 2, group % 2


def own_options(fill: str, cagan: Options) -> Options | None:
    """Return the settings of a fill; only cagan has some here."""
    return cagan if fill == "cagan" else None


def under_holes(name: str, pictures: list[np.ndarray], holes: list[boxes.Box], cagan: Options) -> list[dict]:
    """Return the figures of every fill; a draw shuffles the holes among the pictures."""
    rows = []
    for fill in FILLS:
        draws = draws_of(fill, pictures, holes, own_options(fill, cagan))
        rows.append(row_of(draws, {"data": name, "size": len(pictures[0]), "fill": fill, "pictures": len(pictures)}))
    return rows


def by_context(name: str, pictures: list[np.ndarray], holes: list[boxes.Box], cagans: list[Options]) -> list[dict]:
    """Return the figures of cagan with each of some contexts, and how far each lies from the first."""
    rows, first = [], []
    for cagan in cagans:
        draws = draws_of("cagan", pictures, holes, cagan)
        first = first or draws
        row = {"data": name, "size": len(pictures[0]), "context": cagan.cagan_context, "pictures": len(pictures)}
        gaps = {key: [draw[key] - before[key] for draw, before in zip(draws, first, strict=True)] for key in draws[0]}
        rows.append(row_of(draws, row | {"gap": {key: [round(gap, 4) for gap in v] for key, v in gaps.items()}}))
    return rows


def draws_of(fill: str, pictures: list[np.ndarray], holes: list[boxes.Box], options: Options | None) -> list[dict]:
    """Return the mean figures of a fill for each draw of the holes."""
    size, draws = len(pictures[0]), []
    for seed in SEEDS:
        order = rng_for(seed, size, "holes").permutation(max(len(holes), len(pictures)))
        found = {"l1": [], "psnr": [], "ssim": []}
        for i, picture in enumerate(pictures):
            scene = Scene(picture, holes[order[i] % len(holes)], 0)
            filled, _ = infill(fill, COUNTERFACTUAL, scene, rng_for(seed, i, fill), Materials(), options)
            for key, value in inside(picture, filled, scene.causal()).items():
                found[key].append(value)
        draws.append({key: float(np.mean(values)) for key, values in found.items()})
    return draws


def row_of(draws: list[dict], about: dict) -> dict:
    """Return mean and standard deviation over draws behind what they are about; print the row."""
    mean = {key: [draw[key] for draw in draws] for key in draws[0]}
    figures = {key: round(statistics.mean(v), 4) for key, v in mean.items()}
    figures |= {f"{key}_sd": round(statistics.stdev(v), 4) for key, v in mean.items()}
    print(about | figures, flush=True)
    return about | figures


def inside(truth: np.ndarray, filled: np.ndarray, hole: np.ndarray) -> dict[str, float]:
    """Return mean l1 in [0, 1], PSNR in dB and mean SSIM over the pixels of a hole."""
    a, b = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (truth, filled))
    difference = (a - b)[0][:, torch.from_numpy(hole)]
    mse = max(float(difference.square().mean()), 1e-6)
    alike = ssim(a, b, WINDOW)[0][:, torch.from_numpy(hole)]
    return {"l1": float(difference.abs().mean()), "psnr": -10 * np.log10(mse), "ssim": float(alike.mean())}


@torch.no_grad()
def features(pictures: list[np.ndarray]) -> np.ndarray:
    """Return EfficientNet-Lite0's features of pictures, float (n, 1280)."""
    network = EfficientNetLite0(1000)
    network.load_state_dict(imagenet_weights())
    network.eval().to(memory_format=torch.channels_last)
    stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return torch.cat([network.features(part.float() / 255) for part in stack.split(50)]).numpy()


def left_of_class_and_place(data: Path, count: int, cagan: Options) -> list[dict]:
    """Return what two linear classifiers see in the originals and in the counterfactuals of every fill."""
    dataset = load_dataset("waterbirds", data / "waterbirds_like")
    train = np.flatnonzero(dataset.samples.split == 0)
    group = dataset.samples.group[train]
    weight = 1 / np.bincount(group)[group]
    known = features([dataset.image(row, 160, "crop") for row in train])
    judges = {}
    for what, label in (("class", group // 2), ("place", group % 2)):
        judges[what] = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=2000))
        judges[what].fit(known, label, logisticregression__sample_weight=weight * len(weight) / weight.sum())
    pictures, found, label, place = birds(data, 160, count)
    rows = []
    for fill in ("none", *FILLS):
        shown, used = pictures, 0
        if fill != "none":
            options = own_options(fill, cagan)
            made = [infill(fill, COUNTERFACTUAL, Scene(picture, box, 0), rng_for(0, i, fill), Materials(), options)
                    for i, (picture, box) in enumerate(zip(pictures, found, strict=True))]  # fmt: skip
            shown, used = [picture for picture, _ in made], sum(name != fill for _, name in made)
        seen = features(shown)
        own = judges["class"].predict_proba(seen)[np.arange(len(label)), label]
        rows.append({
            "fill": fill, "pictures": len(pictures), "mean_p_y": round(float(own.mean()), 3),
            "class_accuracy": round(float((own > 0.5).mean()), 3),
            "place_accuracy": round(float((judges["place"].predict(seen) == place).mean()), 3), "grey_instead": used,
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def speed(cagan: Options, count: int = 20) -> list[dict]:
    """Return pictures a second of cagan by size, on one thread as in a worker, and on two."""
    network = load_inpainter(cagan.cagan_weights, "own")
    rows = []
    for size in (32, 64, 160):
        picture, hole = torch.rand(1, 3, size, size), torch.zeros(1, 1, size, size)
        hole[:, :, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
        row = {"size": size}
        for threads in (1, 2):
            torch.set_num_threads(threads)
            network.fill(picture, hole)
            start = time.perf_counter()
            for _ in range(count):
                network.fill(picture, hole)
            row[f"per_second_{threads}_threads"] = round(count / (time.perf_counter() - start), 1)
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    """Score every fill, print the rows, store them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--cagan-weights", type=Path)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--contexts", help="of cagan, 0 the whole picture: 0,0.5,1")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cagan, data, count = Options(arguments.cagan_weights), arguments.data, arguments.pictures
    pictures, found, _, _ = birds(data, 160, count)
    sets = [
        ("cifar10_jpeg", pictures_of(arguments.held_out / "cifar10_jpeg", 32, count), boxes_of_tiny(data, 32)),
        ("tiny_imagenet100", pictures_of(arguments.held_out / "tiny_imagenet100", 64, count), boxes_of_tiny(data, 64)),
        ("waterbirds_like", pictures, found),
    ]
    if arguments.contexts:
        contexts = [float(context) for context in arguments.contexts.split(",")]
        cagans = [Options(arguments.cagan_weights, cagan_context=context) for context in contexts]
        results = {"by_context": [row for one in sets for row in by_context(*one, cagans)]}
    else:
        results = {
            "under_holes": [row for one in sets for row in under_holes(*one, cagan)],
            "class_and_place": left_of_class_and_place(data, 4 * count, cagan),
            "speed": speed(cagan),
        }
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
