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
from cases import KEEPS, QUICK, SHARDS, TRAININGS, make_pictures

MAY_DIFFER = ("versions", "seconds", "cpu_seconds", "command", "config")
PATHS = ("meta", "root", "out", "cache")
"""Of result.json what says where and when it was made; config is an artefact of its own, without its paths, in
the order of names."""
NEWER = {"device": "auto", "precision": "float32", "store": "auto", "workers": None}
"""Settings that a newer version has beside the same ones, with the values at which runs are what they were."""
SAID = ("preset", "select")
"""Settings that are given on purpose, so that trees that choose otherwise do the same run."""
MEASURES = ("worst_class", "balanced", "group_mean", "macro_f1", "auroc", "ece", "selected_by", "selection_knew")
"""Ends of the keys that newer versions add to the metrics of a split, to a line of the history and to a result."""
ADDED = ("attribute clp_schema", "meta/digest", "look/digest", "seal")
"""Of a shard what a newer schema adds to the same content."""
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
    if (tree / "clp_train" / "presets" / "choosing.py").exists():  # newer trees choose, where nobody says
        arguments += "" if "--preset" in arguments else " --preset none"
        arguments += " --select worst-group" if "../demo" in arguments else ""  # the others have no val to select on
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
    """Return the digest of each data set and attribute of a shard, but of those that newer schemas add (ADDED).

    The header of a shard with attacked pictures holds the digest of the classifier, an exported program, in which torch
    notes where the code lies: of that shard the data sets count alone.
    """
    with h5py.File(path) as file:
        values = dict(data_sets(file))
        if "--classifier" not in arguments:
            values |= {f"attribute {name}": np.asarray(value) for name, value in file.attrs.items()}
    return {f"shard.h5 {name}": sha256(value.tobytes()) for name, value in values.items() if name not in ADDED}


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
    settings = NEWER | result["config"]
    config = {key: settings[key] for key in sorted(settings) if key not in (*PATHS, *SAID)}
    rest = {key: value for key, value in result.items() if key not in MAY_DIFFER}
    files = ("last.safetensors", "selected.safetensors")
    digests = {name: sha256((folder / name).read_bytes()) for name in files if (folder / name).exists()}
    digests |= {"result.json": json_sha256(without_added(rest)), "result.json config": json_sha256(config)}
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    digests["metrics.jsonl"] = json_sha256([without_added(json.loads(line)) for line in lines])
    return digests | ({"classifier.pt2": "there"} if (folder / "classifier.pt2").exists() else {})


def without_added(value: object) -> object:
    """Return JSON without the measures that newer versions add (MEASURES), whatever split they are of."""
    if isinstance(value, dict):
        return {key: without_added(part) for key, part in value.items() if not key.endswith(MEASURES)}
    return [without_added(part) for part in value] if isinstance(value, list) else value


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


if __name__ == "__main__":
    sys.exit(main())
