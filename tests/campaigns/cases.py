"""The cases of `same_bytes`: shards, trainings, and the pictures that some shards are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = "--dataset folder --root ../pictures --size 32 --max-fallback 1"
SHARDS = {
    "demo": "--dataset demo --cf tile,random --f random,mix-rand --size 32",
    "demo-tail": "--dataset demo --cf grey --f shuffle --size 24 --imbalance 8 --img-max 240",
    "demo-noise": "--dataset demo --cf telea --f random --size 24 --noise uniform:0.4 --limit 400 --meta-from val",
    "folder-grabcut": f"{FOLDER} --meta 6/class --matte grabcut --cf tile --f mix-rand",
    "folder-noisy-tail": f"{FOLDER} --meta 6/class --imbalance 4 --noise flip:0.3 --matte hatt --cf grey --f mix-rand",
    "folder-fills": f"{FOLDER} --meta 2/cluster --matte centre --pad 1 --ratio 8 --fit stretch"
    " --cf cagan,shuffle,grey,telea,keep-colour --f recolour,shuffle,random",
    "demo-fgsm": "--dataset demo --f fgsm --epsilon 0.1 --size 32 --limit 100 --classifier ../erm/run/classifier.pt2",
}
"""Shard -> arguments of clp-augment."""

QUICK = "--epochs 3 --batch-size 40 --limit 200"
PLAIN, HEAD = "--saliency-lambda 0", "--set trainable=head"
KEEPS = "checkpoint_interval=1"
TRAININGS = {
    # the meta step
    "clp": ("demo", "--method clp --meta-batch-size 60"),
    "clp-class-batches": ("demo-tail", "--method clp --set batches=class"),
    "clp-wrong-labels": ("demo-noise", f"--method clp {PLAIN} --set omega_schedule=network"),
    "clp-no-groups": ("folder-noisy-tail", "--method clp --set omega_form=true-class --batch-size 20"),
    "clp-lagged": ("demo", f"--method clp {PLAIN} --set meta_step=lagged --set {KEEPS}"),
    "clp-forward": ("demo", f"--method clp {PLAIN} --set hypergradient=forward"),
    "clp-reference": ("demo", "--method clp --set hypergradient=reference --epochs 2"),
    "clp-last-block": ("demo", f"--method clp {PLAIN} --set meta_scope=last-block --set meta_interval=2"),
    "clp-lagged-last-block": ("demo", "--method clp --set meta_step=lagged --set meta_scope=last-block --epochs 2"),
    "clp-running": ("demo", f"--method clp {PLAIN} --set meta_batch_norm=running --set virtual_momentum=true"),
    "clp-meta-delta": ("demo", f"--method clp {PLAIN} --meta-delta paper --set omega_form=bounded --omega-lr 0.01"),
    "meta-lp": ("demo-tail", "--method meta-lp --set omega_start=log-prior --set leave_out=3"),
    # saliency
    "saliency-subset": ("demo", "--method clp --saliency-target log-probability --set saliency_subset=0.5"),
    "saliency-relative": ("demo", "--method clp --saliency-target logit --set saliency_relative=true"),
    "saliency-interval": ("demo", "--method clp --saliency-target logit-gap --saliency-interval 3"),
    "saliency-train": ("demo", "--method clp --set saliency_scale=sum --set saliency_on=train --saliency-lambda 1"),
    "saliency-meta": ("demo", "--method clp --set saliency_on=meta --set meta_interval=2"),
    # online infills
    "online-mix-rand": ("demo", f"--method clp {PLAIN} --set online=mix-rand"),
    "online-fgsm": ("demo", f"--method clp {PLAIN} --set online=fgsm --set online_epsilon=0.1"),
    # backgrounds, and a head alone
    "backgrounds": ("demo", f"--method clp --set omega_start=background --omega-lr 1e-4 {PLAIN} --set {KEEPS}"),
    "backgrounds-head": (
        "demo",
        f"--method meta-lp {HEAD} --set omega_start=background --omega-lr 0.01"
        " --set background_share=0.5 --set background_step=0.03",
    ),
    "background-adjust": ("demo", "--method background-adjust --set tau=0.5"),
    "head": ("demo", f"--method clp {PLAIN} {HEAD} --cache cache --set {KEEPS} --lr 0.5"),
    "head-erm": ("folder-grabcut", f"--method erm {HEAD} --cache cache --model efficientnet-lite0-scratch"),
    "preset": ("demo", "--method clp --preset spurious-background --cache cache"),
    "preset-folder": ("folder-grabcut", "--method erm --preset spurious-background"),
    # other meta steps
    "mwn": ("demo-noise", "--method mwn --omega-lr 0.01 --set normaliser=sum_w"),
    "l2rw": ("demo-noise", "--method l2rw --meta-batch-size 20"),
    "metasaug": ("demo-tail", "--method metasaug --set start=0.3"),
    "mfrw-mes": ("demo-noise", "--method mfrw-mes --set meta_interval=2 --set virtual_momentum=true"),
    # plain cross entropy, models, pictures
    "erm": ("demo", "--method erm --set watch_test=true --schedule cosine --export --cache cache"),
    "erm-resnet20": ("demo", "--method erm --model resnet20 --set transform=resize-crop-flip --set head_lr=0.05"),
    "erm-torchvision": (
        "folder-grabcut",
        "--method erm --model torchvision:resnet18 --lr 0.01 --set transform=half-crop-flip"
        " --set freeze_batch_norm=true --set momentum=0.8 --weight-decay 0.01",
    ),
    "rand-aug": ("demo", "--method rand-aug --set transform=wide-crop-flip"),
    "train-infills": ("demo", "--method train-infills --set transform=none --schedule constant"),
    # long tails
    "cb-ce": ("demo-tail", "--method cb-ce"),
    "focal": ("demo-tail", "--method focal --set form=sigmoid"),
    "ldam-drw": ("demo-tail", "--method ldam-drw --set start=0.5"),
    "logit-adjust": ("demo-tail", "--method logit-adjust --set first_drop=0.3 --set second_drop=0.9"),
    "la-posthoc": ("demo-tail", "--method la-posthoc --set tau=1.5"),
    "lpl": ("folder-noisy-tail", "--method lpl --batch-size 20"),
    "isda": ("demo-tail", "--method isda"),
    "risda": ("demo-tail", "--method risda --set start=0.3"),
    "tde": ("demo-tail", "--method tde"),
    "crt": ("demo-tail", f"--method crt --set share=0.34 --set {KEEPS}"),
    "ifl": ("demo-tail", "--method ifl --set first=0.3 --set second=0.6"),
    "csa": ("demo-tail", "--method csa --set start=0.3"),
    # wrong labels
    "co-teaching": ("demo-noise", f"--method co-teaching --set ramp=2 --set {KEEPS}"),
    "jocor": ("folder-noisy-tail", "--method jocor --set ramp=2 --batch-size 20"),
    "mentornet": ("demo-noise", "--method mentornet"),
    "glc": ("folder-noisy-tail", "--method glc --batch-size 20"),
    "apl": ("demo-noise", "--method apl"),
    "l-dmi": ("demo-noise", "--method l-dmi"),
    # groups and shortcuts
    "group-dro": ("demo", "--method group-dro --set adjustment=1"),
    "uw-sample": ("demo", "--method uw-sample"),
    "irm": ("demo", "--method irm"),
    "coral": ("demo", "--method coral"),
    "lisa": ("demo", "--method lisa"),
    "cnc": ("demo", f"--method cnc --set first=0.34 --set size=5 --set {KEEPS}"),
    "pde": ("demo", "--method pde --schedule constant --set interval=1"),
    "ace": ("demo", "--method ace"),
    "dfr": ("demo", "--method dfr"),
}
"""Training -> its shard, and arguments of clp-train; they stand behind QUICK, and the later one of an option counts."""


CLASSES, COUNTS = ("disc", "cross", "square"), {"train": 40, "test": 8}


def make_pictures(root: Path) -> None:
    """Write class folders of small pictures from a seed, unless they are there."""
    if root.exists():
        return
    beside = root.with_name(f"{root.name}.part")
    for s, (split, count) in enumerate(COUNTS.items()):
        for y, name in enumerate(CLASSES):
            folder = beside / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                picture = make_picture(y, np.random.default_rng((s, y, i)))
                Image.fromarray(picture).save(folder / f"{i:02d}.png")
    beside.replace(root)


def make_picture(label: int, rng: np.random.Generator) -> np.ndarray:
    """Return one picture, uint8 (H, W, 3): a bright shape of its class, mostly before noise in its class's tint."""
    height, width = rng.integers(40, 57, 2)
    y, x = np.mgrid[:height, :width]
    dy, dx = abs(y - height / 2 - rng.uniform(-4, 4)), abs(x - width / 2 - rng.uniform(-4, 4))
    radius = rng.uniform(9, 14)
    inside = (
        dy**2 + dx**2 < radius**2,
        (np.minimum(dy, dx) < radius / 3) & (np.maximum(dy, dx) < radius),
        np.maximum(dy, dx) < 0.8 * radius,
    )[label]
    tint = label if rng.random() < 0.8 else int(rng.integers(3))
    picture = rng.normal(60, 20, (height, width, 3)) + 70 * (np.arange(3) == tint)
    picture[inside] = rng.normal(rng.uniform(170, 230, 3), 15, (inside.sum(), 3))
    return picture.clip(0, 255).round().astype(np.uint8)
