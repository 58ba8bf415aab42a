"""A run's folder: result.json, page, weights, predictions, programs. Each file appears complete or not at all.

One process at a time works in it, by a lock in the folder. What marks a run as finished, result.json, is written last.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from clp_aug.common.files import TEMPORARY, disk_error, remove_leftovers, written_beside
from clp_aug.common.locks import held_for
from clp_aug.contract.errors import InputError, UsageError
from clp_train.exports import FILES as PROGRAMS
from clp_train.exports import PT2
from clp_train.loading.data import RunData, digest_of_pictures
from clp_train.predicting.card import CARD
from clp_train.predicting.description import DESCRIPTION
from clp_train.ranks.team import ALONE, Ranks
from clp_train.running.checkpoint import CHECKPOINT, END, LAST, SELECTED, Checkpoint
from clp_train.running.loop import Trained

METRICS = "metrics.jsonl"
RESULT, CLASSIFIER = "result.json", PROGRAMS[PT2]
PAGE, LOCK = "page.html", ".lock"
TABLES = ("predictions-", ".csv")
"""How the name of a table with the predictions of a split begins, and ends."""
FILES = (CHECKPOINT, METRICS, END, LAST, SELECTED, DESCRIPTION, CARD, *PROGRAMS.values(), PAGE, RESULT)
UNTIED = ("meta", "audit", "root", "dataset", "out", "cache", "export", "preset", "device", "store", "workers")
"""Settings that say where things are or come from: a run goes on, or is complete, with others too."""


def prepare(folder: Path, resume: bool = False) -> None:
    """Make the run's folder.

    Raises UsageError when it holds a result already, or an unfinished run that is not to be resumed, InputError when
    it cannot be made, or there is nothing to resume.
    """
    if is_finished(folder):
        lacks = "" if (folder / PAGE).exists() else f", but no {PAGE}: give --resume to make it"
        remedy = "" if lacks else "; choose another --out or remove that folder"
        raise UsageError(f"{folder} holds a result already{lacks}{remedy}")
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise UsageError(f"{folder} holds an unfinished run; give --resume to go on, or another --out")
    if resume and not checkpoint.exists():
        raise InputError(f"{checkpoint}: no checkpoint to resume from; run without --resume, or give the run's --out")
    make_folder(folder)


def is_finished(folder: Path) -> bool:
    """Tell whether a folder holds the result of a run."""
    return (folder / RESULT).exists()


def make_folder(folder: Path) -> list[Path]:
    """Make a folder; return it and those above it, as far as they were not there, the innermost first.

    Raises InputError when it cannot be made.
    """
    check_text(folder)
    missing: list[Path] = []
    try:
        missing += [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(missing)
        raise disk_error(folder, error, "make folder") from None
    return missing


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that are empty, one after another; the others stay."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def check_text(folder: Path) -> None:
    """Raise InputError for a folder whose name is no text: libraries that read weights take none of other bytes."""
    try:
        if b"\0" in str(folder).encode():
            raise disk_error(folder, ValueError("it has a null character"), "make folder")
    except UnicodeEncodeError:
        raise disk_error(folder, ValueError("it is not UTF-8"), "make folder") from None


@contextlib.contextmanager
def folder_for(folder: Path, resume: bool = False) -> Iterator[None]:
    """Hold a run's folder, which is made if need be and rid of what killed runs left half written.

    What fails within leaves no empty folder behind that was not there. Raises UsageError while another run works in it,
    and what `prepare` raises, unless a finished run is to be resumed.
    """
    made = make_folder(folder)
    try:
        with held_for(folder if folder.name else folder.absolute(), place=folder / LOCK):
            for name in (*FILES, *tables_in(folder)):
                remove_leftovers(folder / name)
            if not (resume and is_finished(folder)):
                prepare(folder, resume)
            yield
    except BaseException:
        remove_empty(made)
        raise


def predictions_name(split: str) -> str:
    """Return the name of the table with the predictions of a split."""
    return f"{TABLES[0]}{split}{TABLES[1]}"


def tables_in(folder: Path) -> list[str]:
    """Return the names of the tables that a folder holds, or parts of."""
    with contextlib.suppress(OSError):
        names = {name.partition(TEMPORARY)[0] for name in os.listdir(folder)}
        return sorted(name for name in names if name.startswith(TABLES[0]) and name.endswith(TABLES[1]))
    return []


def checkpoint_of(
    folder: Path, settings: Mapping[str, Any], data: RunData, device: str = "cpu", ranks: Ranks = ALONE
) -> Checkpoint:
    """Return where a run's full state goes, tied to its settings and data. settings: `TrainConfig.as_json`; device:
    where it runs; ranks: who runs it, the first of whom writes.
    """
    key = {k: v for k, v in settings.items() if k not in UNTIED}
    key |= {"fingerprint": data.header.fingerprint, "shard": data.digest}
    key |= {"pictures": digest_of_pictures(data)}
    threads = torch.get_num_threads()
    machine = f"{device} with {threads} thread{'s' if threads > 1 else ''}"
    machine += f", {ranks.size} ranks" if ranks.size > 1 else ""
    return Checkpoint(folder / CHECKPOINT, key, machine, is_written=ranks.is_first)


def write_metrics(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write the history so far, a JSON line an epoch; a resumed run writes the same lines again.

    Raises InputError when the disk refuses.
    """
    with written_beside(folder / METRICS) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in history))


def save_networks(folder: Path, outcome: Trained) -> None:
    """Write the weights. Raises InputError when the disk refuses."""
    save_weights(folder / LAST, outcome.last.state)
    if outcome.selected is not None:
        save_weights(folder / SELECTED, outcome.selected.state)


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a network's parameters and buffers. Raises InputError when the disk refuses."""
    with written_beside(path) as temporary:
        temporary.write_bytes(to_bytes({name: value.contiguous() for name, value in state.items()}))


def save_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the result, which marks the run as finished; drop its state. Raises InputError when the disk refuses."""
    with written_beside(folder / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    drop_state(folder)


def reopen(folder: Path) -> None:
    """Take the mark of a finished run away: it goes on. Raises InputError when the disk refuses."""
    try:
        (folder / RESULT).unlink()
    except OSError as error:
        raise disk_error(folder / RESULT, error, "remove") from None


def drop_state(folder: Path) -> None:
    """Remove the full state of a finished run; one that the disk keeps does no harm."""
    with contextlib.suppress(OSError):
        (folder / CHECKPOINT).unlink(missing_ok=True)
