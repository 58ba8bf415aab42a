"""Prove that a refactoring changes no byte: shards and trainings of two versions of the code, compared by digest.

    python tests/campaigns/same_bytes.py record --tree BEFORE --work DIR1 --out before.json
    python tests/campaigns/same_bytes.py record --tree AFTER --work DIR2 --out after.json
    python tests/campaigns/same_bytes.py compare before.json after.json

BEFORE and AFTER are checkouts of the two versions. `record` runs the cases of the tables below with the code of one of
them, through its command lines alone, one process of one thread at a time, and writes the sha256 of all that they
leave. Killed, it goes on: a case whose digests are in --out is not run again, and digests of other code are refused;
`--only NAME...` runs some cases and the shards that they need. A case that fails is told and left out, and run again
the next time. `compare` prints a line for each artefact, "same" or "DIFFERENT", and exits with 1 unless all of both are
the same.

A case is a folder under --work, where everything that it wrote stays to be looked at. Of a training count the weights,
metrics.jsonl, and result.json without what may differ between two runs (MAY_DIFFER, PATHS). A training that keeps its
state after every step (KEEPS) is made a second time, killed with signal 9 and resumed, and must end the same.

Digests compare on one machine with one set of installed packages. Networks that come with the package are those of the
installed one, whichever tree is recorded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
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

MAY_DIFFER = ("versions", "seconds", "cpu_seconds", "command", "config")
PATHS = ("meta", "root", "out", "cache")
"""Of result.json what says where and when it was made; config is an artefact of its own, without its paths."""
STATES = 5  # that a run has kept before it is killed


def main() -> int:
    """Read the command line and do what it says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("record", help="run the cases with the code of a tree and write their digests")
    make.add_argument("--tree", type=Path, required=True, help="checkout whose code is run")
    make.add_argument("--work", type=Path, required=True, help="folder for what the cases write; one for each tree")
    make.add_argument("--out", type=Path, required=True, help="JSON of digests, which is gone on with")
    make.add_argument("--only", nargs="+", metavar="NAME", choices=[*SHARDS, *TRAININGS], help="some cases alone")
    look = commands.add_parser("compare", help="compare two files of digests")
    look.add_argument("before", type=Path)
    look.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "compare":
        return compare(read(given.before), read(given.after))
    return record(given.tree.resolve(), given.work.resolve(), given.out, given.only or [*SHARDS, *TRAININGS])


def record(tree: Path, work: Path, out: Path, names: list[str]) -> int:
    """Run the named cases that have no digests yet, and what they need; return 1 if one failed, else 0."""
    make_pictures(work / "pictures")
    check_tree(tree, work)
    code, failed = digest_of_code(tree), []
    digests = gone_on_with(out, code)
    for name in in_order(names):
        if name in digests and (work / name).is_dir():
            continue
        started = time.monotonic()
        try:
            digests[name] = run_case(name, tree, work)
        except CaseFailedError as error:
            failed.append(name)
            print(f"{name}: FAILED: {error}", flush=True)
            continue
        write(out, code, digests)
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
    return 1 if failed else 0


def in_order(names: list[str]) -> list[str]:
    """Return the named cases, each behind those that it reads."""
    found: dict[str, None] = {}
    for name in names:
        found |= dict.fromkeys([*in_order(needs(name)), name])
    return list(found)


def needs(name: str) -> list[str]:
    """Return the cases that one reads: its shard, the classifier that it attacks."""
    if name in TRAININGS:
        return [TRAININGS[name][0]]
    return ["erm"] if "../erm/" in SHARDS[name] else []


def compare(before: dict, after: dict) -> int:
    """Print a line for each artefact of either; return 1 unless all of them are the same, else 0."""
    different = 0
    for case in before | after:
        old, new = before.get(case, {}), after.get(case, {})
        for artefact in old | new:
            same = old.get(artefact) == new.get(artefact)
            print(f"{case}: {artefact}: {'same' if same else 'DIFFERENT'}{lacking(artefact, old, new)}")
            different += not same
    print(f"{different} different" if different else "all the same")
    return 1 if different or not before else 0


def lacking(artefact: str, before: dict, after: dict) -> str:
    """Say where an artefact is missing, nothing if it is in both."""
    places = [name for name, found in (("before", before), ("after", after)) if artefact not in found]
    return f", missing {places[0]}" if places else ""


class CaseFailedError(Exception):
    """A case whose commands did not do what they should; the message says what happened."""


def run_case(name: str, tree: Path, work: Path) -> dict[str, str]:
    """Make one case anew in its folder; return the digest of each artefact. Raises CaseFailedError."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if name in SHARDS:
        finish(augment_process(tree, folder, SHARDS[name]))
        return shard_digests(folder / "shard.h5", SHARDS[name])
    shard, arguments = TRAININGS[name]
    given = f"--meta ../{shard}/shard.h5 {root_of(shard)} {QUICK} {arguments}"
    finish(train_process(tree, folder, f"{given} --out run"))
    digests = run_digests(folder / "run")
    if KEEPS in arguments:
        kill_once_it_has_kept(train_process(tree, folder, f"{given} --out killed"), folder / "killed")
        finish(train_process(tree, folder, f"{given} --out killed --resume"))
        resumed = run_digests(folder / "killed")
        if resumed != digests:
            raise CaseFailedError(f"killed and resumed it ends differently: {', '.join(unequal(digests, resumed))}")
        digests |= {f"resumed {artefact}": digest for artefact, digest in resumed.items()}
    return digests


def unequal(one: dict, other: dict) -> list[str]:
    """Return the keys whose values are not the same."""
    return [key for key in one | other if one.get(key) != other.get(key)]


def root_of(shard: str) -> str:
    """Return the option that says where a shard's data set lies, nothing for the built-in one."""
    return "--root ../pictures" if "--root" in SHARDS[shard] else ""


def augment_process(tree: Path, folder: Path, arguments: str) -> subprocess.Popen:
    """Start clp-augment in a folder."""
    script = "from clp_aug.cli import augment; augment()"
    return process(tree, folder, script, f"{arguments} --workers 1 --out shard.h5")


def train_process(tree: Path, folder: Path, arguments: str) -> subprocess.Popen:
    """Start clp-train in a folder."""
    script = "from clp_train.cli import train; train()"
    return process(tree, folder, script, arguments)


def process(tree: Path, folder: Path, script: str, arguments: str) -> subprocess.Popen:
    """Start a script with the code of a tree, in one thread."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *shlex.split(arguments), "--quiet"],
        cwd=folder, env=environment(tree), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def environment(tree: Path) -> dict[str, str]:
    """Return the environment in which Python takes the code of a tree, and one thread."""
    return {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}


def check_tree(tree: Path, work: Path) -> None:
    """Exit unless the packages that are run are those of the tree; Python looks into the working folder first."""
    script = "import clp_aug, clp_train; print(clp_aug.__file__, clp_train.__file__, sep='\\n')"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=work, env=environment(tree), capture_output=True, text=True)
    expected = [str(tree / package / "__init__.py") for package in ("clp_aug", "clp_train")]
    if done.stdout.split("\n")[:2] != expected:
        sys.exit(f"{tree}: not the code that Python finds, which is {done.stdout.split() or done.stderr}")


def finish(running: subprocess.Popen) -> None:
    """Wait for a command. Raises CaseFailedError with its last words unless it exits with 0."""
    _, errors = running.communicate()
    if running.returncode != 0:
        raise CaseFailedError(f"exit code {running.returncode}, {last_words(errors)}")


def last_words(errors: str) -> str:
    """Return the last line of what a command wrote to stderr."""
    return (errors.strip().splitlines() or ["no word of why"])[-1]


def kill_once_it_has_kept(running: subprocess.Popen, folder: Path) -> None:
    """Kill a training as soon as it has kept its state so many times. Raises CaseFailedError if it ends before."""
    file, seen, last = folder / "checkpoint.safetensors", 0, None
    while seen < STATES and running.poll() is None:
        now = stamp(file)
        seen, last = seen + (now not in (None, last)), now
        time.sleep(0.001)
    ended = running.poll() is not None
    running.kill()
    _, errors = running.communicate()
    if ended:
        raise CaseFailedError(f"it ended before it could be killed, {last_words(errors)}")


def stamp(file: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced, None while there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def shard_digests(path: Path, arguments: str) -> dict[str, str]:
    """Return the digest of a shard.

    The header of a shard with attacked pictures holds the digest of the classifier, an exported program, in which torch
    notes where the code lies: of that shard the data sets count alone.
    """
    if "--classifier" not in arguments:
        return {"shard.h5": sha256(path.read_bytes())}
    with h5py.File(path) as file:
        return {f"shard.h5 {name}": sha256(values.tobytes()) for name, values in data_sets(file)}


def data_sets(file: h5py.File) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and values of each data set of a shard."""
    names: list[str] = []
    file.visit(names.append)
    for name in names:
        if isinstance(file[name], h5py.Dataset):
            yield name, file[name][...]


def run_digests(folder: Path) -> dict[str, str]:
    """Return the digest of each artefact of a training; of an exported classifier just that it is there."""
    result = json.loads((folder / "result.json").read_text())
    config = {key: value for key, value in result["config"].items() if key not in PATHS}
    rest = {key: value for key, value in result.items() if key not in MAY_DIFFER}
    files = ("last.safetensors", "selected.safetensors", "metrics.jsonl")
    digests = {name: sha256((folder / name).read_bytes()) for name in files if (folder / name).exists()}
    digests |= {"result.json": json_sha256(rest), "result.json config": json_sha256(config)}
    return digests | ({"classifier.pt2": "there"} if (folder / "classifier.pt2").exists() else {})


def sha256(data: bytes) -> str:
    """Return the digest of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def json_sha256(value: object) -> str:
    """Return the digest of a JSON value, keys in the order in which they were written."""
    return sha256(json.dumps(value).encode())


def gone_on_with(path: Path, code: str) -> dict:
    """Return the digests that there are already. Exits if they are of other code."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    if found["code"] != code:
        sys.exit(f"{path}: of other code than that of --tree now; choose another --out, or remove it")
    return found["cases"]


def digest_of_code(tree: Path) -> str:
    """Return the digest of all that the two packages of a tree hold but what Python compiled."""
    parts = [path for package in ("clp_aug", "clp_train") for path in sorted((tree / package).rglob("*"))]
    files = [path for path in parts if path.is_file() and "__pycache__" not in path.parts]
    return json_sha256([(path.relative_to(tree).as_posix(), sha256(path.read_bytes())) for path in files])


def read(path: Path) -> dict:
    """Return the digests of a file: case -> artefact -> digest."""
    return json.loads(path.read_text())["cases"]


def write(path: Path, code: str, digests: dict) -> None:
    """Write the digests of all cases and of the code, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(json.dumps({"code": code, "cases": digests}, indent=1) + "\n")
    beside.replace(path)


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


if __name__ == "__main__":
    sys.exit(main())
