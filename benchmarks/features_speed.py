"""How fast are features of pictures at 224 px, and which batch pays?

    python benchmarks/features_speed.py [--root FOLDER] [--batches 1,4,8,16,32,63,126] [--rounds 3] [--out FILE]

The network is EfficientNet-Lite0 in evaluation mode, as a head on frozen features uses it. Rows are batch sizes,
channels last, and "as the trainer does": the call of clp_train, which chooses its own batch. Each row passes the same
pictures once a round, and the rows take turns. Folded is the same network with its batch norms folded into its
convolutions: an upper bound of what that would bring. All with one thread and with two.

Root: a folder of pictures; without it, noise. The speed does not depend on what the pictures show.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clp_aug.common.memory import keep_freed_memory
from clp_train.evaluating.outputs import most_at_once, outputs
from clp_train.models import build_model

SIDE, COUNT, WANTED = 224, 126, 11_788
NO_STATISTICS = (0.0,) * 3, (1.0,) * 3  # a pretrained network keeps its own


def pictures_of(root: Path | None) -> Tensor:
    """Return COUNT pictures, uint8 (COUNT, 3, SIDE, SIDE)."""
    if root is None:
        return torch.randint(
            0, 256, (COUNT, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})[:COUNT]
    arrays = [np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE))) for path in paths]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def folded(network: nn.Module) -> nn.Module:
    """Return a copy whose batch norms are folded into the convolutions before them."""
    copy = deepcopy(network)
    for parent in copy.modules():
        last: tuple[str, nn.Conv2d] | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and last is not None:
                setattr(parent, last[0], fuse_conv_bn_eval(last[1], child))
                setattr(parent, name, nn.Identity())
            last = (name, child) if isinstance(child, nn.Conv2d) else None
    return copy


@torch.no_grad()
def seconds_of(network: nn.Module, pictures: Tensor, batch: int | None) -> float:
    """Return the seconds of one pass over the pictures, in parts of `batch`, None for the trainer's own choice."""
    start = time.perf_counter()
    if batch is None:
        for _ in outputs(network, [pictures]):  # type: ignore[arg-type]
            pass
    else:
        for part in pictures.split(batch):
            network(part.float() / 255)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--batches", default="1,4,8,16,32,63,126")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()  # as trainings do
    pictures = pictures_of(arguments.root)
    network = build_model("efficientnet-lite0", 2, *NO_STATISTICS, torch.Generator().manual_seed(0)).eval()
    last = deepcopy(network).to(memory_format=torch.channels_last)
    fast = folded(last)
    with torch.no_grad():
        part = pictures[:4].float() / 255
        same = torch.allclose(fast(part).logits, last(part).logits, atol=1e-3)
    rows: dict[str, Callable[[], float]] = {
        "as the trainer does": lambda: seconds_of(last, pictures, None),
        "folded, 16": lambda: seconds_of(fast, pictures, 16),
    }
    for batch in map(int, arguments.batches.split(",")):
        rows[f"channels last, {batch}"] = lambda batch=batch: seconds_of(last, pictures, batch)  # type: ignore[misc]
    result = {
        "torch": torch.__version__,
        "side": SIDE,
        "pictures": len(pictures),
        "folding_is_right": same,
        "batch_of_the_trainer": most_at_once(last, pictures[:1]),
        "threads": {},
    }
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for row in rows.values():
            row()
        found = [{name: row() for name, row in rows.items()} for _ in range(arguments.rounds)]
        middle = {name: statistics.median(one[name] for one in found) for name in rows}
        result["threads"][threads] = {
            name: {
                "pictures_per_second": round(len(pictures) / middle[name], 1),
                "seconds_of_11788_pictures": round(WANTED * middle[name] / len(pictures), 1),
                "lowest_and_highest_over_the_trainer": [
                    round(pick(one["as the trainer does"] / one[name] for one in found), 2) for pick in (min, max)
                ],
            }
            for name in rows
        }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
