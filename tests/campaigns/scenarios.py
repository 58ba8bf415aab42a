"""The runs that campaigns disturb: a command each, small, whose files are the same each time."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clp_train.methods import METHODS

AUGMENT = "clp-augment --quiet --size 16 --max-fallback 1 --out {out}/x.h5"
FOLDER = f"{AUGMENT} --dataset folder --root {{data}}/folder --meta 3/class --matte centre"
TRAIN = (
    "clp-train --quiet --meta {data}/birds.h5 --root {data}/birds --epochs 2 --batch-size 12 --model resnet8"
    " --set checkpoint_interval=1 --out {out}/run"
)
BIRDS = f"{AUGMENT} --dataset waterbirds --root {{data}}/birds --meta 3/group --matte centre"
SHARDS = {
    "folder.h5": f"{FOLDER} --workers 1 --cf tile --f random --out {{data}}/folder.h5",
    "birds.h5": f"{BIRDS} --workers 1 --cf tile --f random --out {{data}}/birds.h5",
}
"""Shard, beside the inputs -> the command that makes it."""


@dataclass(frozen=True)
class Scenario:
    """One run. command: as on a command line; {data} is the folder of inputs, {out} an empty one.

    cost: roughly, in that of a short run, by which the share of a campaign's cases is divided; resumes: whether the
    command has --resume; queue: whether it starts others of our commands, and tells of each what failed; setting:
    called in the process before the command; once: called in the process that all forks come from.
    """

    command: str
    cost: float = 1
    resumes: bool = False
    queue: bool = False
    setting: Callable[[], None] | None = None
    once: Callable[[], object] | None = None

    def words(self, data: Path, out: Path) -> list[str]:
        """Return the command with its paths."""
        return [word.format(data=data, out=out) for word in shlex.split(self.command)]


def keep_often() -> None:
    """Let fits keep their state at every step and measure at every second: the command line has no option for that."""
    from clp_aug.fitting.config import InpainterFit, MatteFit

    for kind in (MatteFit, InpainterFit):
        kind.__init__ = functools.partialmethod(kind.__init__, checkpoint_interval=1, validate_interval=2)  # type: ignore[method-assign,assignment]


def read_the_code() -> None:
    """Compute what a queue knows of the code it runs, which takes seconds and is the same for all cases."""
    from clp_train.bench import versions

    versions.code_version()


def training(arguments: str, cost: float = 1) -> Scenario:
    """Return a training on the small birds."""
    return Scenario(f"{TRAIN} {arguments}", cost, resumes=True)


def methods_of_families() -> list[str]:
    """Return the first method of each family, and those that keep more state than others."""
    first = {entry.family: name for name, entry in reversed(METHODS.items())}
    more = ("clp", "mwn", "l2rw", "cnc", "pde", "dfr", "ace", "crt", "jocor", "background-adjust", "mentornet", "glc")
    return list(dict.fromkeys([*first.values(), *more]))


MORE = {
    "co-teaching": " --set noise_rate=0.2",
    "jocor": " --set noise_rate=0.2",
    "mwn": " --omega-lr 0.01",
    "crt": " --set share=0.5",
    "ace": " --epochs 3",
    "cnc": " --set first=0.5 --set size=2",
}
"""Method -> what it needs on such a small run."""

AUGMENTATIONS = {
    "augment": Scenario(f"{FOLDER} --workers 1 --cf tile --f random", resumes=True),
    "augment-two-workers": Scenario(f"{FOLDER} --workers 2 --cf tile --f random", 8, resumes=True),
    "augment-fills": Scenario(
        f"{FOLDER} --workers 1 --cf grey,tile,telea,keep-colour --f shuffle,mix-rand,recolour --ratio 6", resumes=True
    ),
    "augment-grabcut": Scenario(
        f"{AUGMENT} --dataset waterbirds --root {{data}}/birds --meta 2/group --matte grabcut --workers 1 --cf tile"
        " --f mix-rand", resumes=True,
    ),
    "augment-networks": Scenario(
        f"{AUGMENT} --dataset folder --root {{data}}/folder --meta 2/class --limit 9 --size 32 --workers 1"
        " --matte hatt --cf cagan --f mix-rand", 3, resumes=True,
    ),
}  # fmt: skip
TRAININGS = {
    **{f"train-{name}": training(f"--method {name}{MORE.get(name, '')}") for name in methods_of_families()},
    "train-export": training("--method erm --export", 2),
    "train-cache": training("--method erm --cache {out}/cache"),
    "train-head-cache": training("--method erm --set trainable=head --cache {out}/cache"),
    "train-backgrounds": training("--method clp --set omega_start=background --omega-lr 1e-4", 2),
}
FITS = {
    "fit-inpainter": Scenario(
        "clp-fit inpainter --quiet --data {data}/pictures --out {out}/inpainter.safetensors --steps 3 --batch-size 1"
        " --width 4 --sizes 32", 2, resumes=True, setting=keep_often,
    ),
    "fit-matte": Scenario(
        "clp-fit matte --quiet --data {data}/matte --out {out}/matte.safetensors --steps 3 --batch-size 2 --sizes 32"
        " --start nothing", 8, resumes=True, setting=keep_often,
    ),
}  # fmt: skip
SETS = {
    "data-waterbirds": Scenario(
        "clp-data waterbirds --quiet --birds {data}/cutouts/birds --classes {data}/cutouts/classes.csv"
        " --land {data}/cutouts/land --water {data}/cutouts/water --out {out}/birds --workers 1 --confounding 0.75"
        " --shares 2,1,1"
    ),
    "data-glt": Scenario(
        "clp-data glt --quiet --from {data}/many --out {out}/glt --features thumbnail --per-attribute 1 --imbalance 2"
    ),
}
PAGES = {"inspect": Scenario("clp-inspect {data}/folder.h5 --html {out}/sheet.html")}
TABLES = {
    "bench": Scenario(
        "clp-bench {data}/table.toml --quiet --seeds 1 --workers 1 --work {out}/work --out {out}/results", 6,
        queue=True, once=read_the_code,
    ),
}  # fmt: skip
SCENARIOS = AUGMENTATIONS | TRAININGS | FITS | SETS | PAGES | TABLES
