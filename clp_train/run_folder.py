"""A run's folder: result.json, page, weights, predictions, programs. Each file appears complete or not at all.

A lock in the folder lets one process at a time work in it. result.json marks a run as finished and is written last.
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
"""Start and end of the name of a table with the predictions of a split."""
FILES = (CHECKPOINT, METRICS, END, LAST, SELECTED, DESCRIPTION, CARD, *PROGRAMS.values(), PAGE, RESULT)
UNTIED = ("meta", "audit", "root", "dataset", "out", "cache", "export", "preset", "device", "store", "workers")
"""Settings about places: a run can continue, or be complete, although they have changed."""


def prepare(folder: Path, resume: bool = False) -> None:
    """Make the run's folder.

    Raises UsageError if it holds a result already, or an unfinished run that is not to be resumed, InputError if it
    cannot be made, or there is nothing to resume.
    """
    if is_finished(folder):
        lacks = "" if (folder / PAGE).exists() else f", but no {PAGE}: give --resume to make it"
        remedy = "" if lacks else "; choose another --out or remove that folder"
        raise UsageError(f"{folder} holds a result already{lacks}{remedy}")
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise UsageError(f"{folder} holds an unfinished run; give --resume to continue, or another --out")
    if resume and not checkpoint.exists():
        raise InputError(f"{checkpoint}: no checkpoint to resume from; run without --resume, or give the run's --out")
    make_folder(folder)


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds the result of a run."""
    return (folder / RESULT).exists()


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and missing folders above it; return those that were made, the innermost first.

    Raises InputError if it cannot be made.
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
    """Raise InputError for a folder name that is not text: libraries that read weights need text."""
    try:
        if b"\0" in str(folder).encode():
            raise disk_error(folder, ValueError("it has a null character"), "make folder")
    except UnicodeEncodeError:
        raise disk_error(folder, ValueError("it is not UTF-8"), "make folder") from None


@contextlib.contextmanager
def folder_for(folder: Path, resume: bool = False) -> Iterator[None]:
    """Lock a run's folder; make it if necessary, and remove half-written files of killed runs.

    After an error inside this context, new empty folders are removed. Raises UsageError while another run works in the
    folder, and what `prepare` raises, unless a finished run is to be resumed.
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
    """Return the names of the tables that a folder holds, complete or in parts."""
    with contextlib.suppress(OSError):
        names = {name.partition(TEMPORARY)[0] for name in os.listdir(folder)}
        return sorted(name for name in names if name.startswith(TABLES[0]) and name.endswith(TABLES[1]))
    return []


def checkpoint_of(
    folder: Path, settings: Mapping[str, Any], data: RunData, device: str = "cpu", ranks: Ranks = ALONE
) -> Checkpoint:
    """Return the file of a run's full state, tied to its settings and data. settings: `TrainConfig.as_json`; device: of
    the run; ranks: of the run; rank 0 writes.
    """
    key = {k: v for k, v in settings.items() if k not in UNTIED}
    key |= {"fingerprint": data.header.fingerprint, "shard": data.digest}
    key |= {"pictures": digest_of_pictures(data)}
    threads = torch.get_num_threads()
    machine = f"{device} with {threads} thread{'s' if threads > 1 else ''}"
    machine += f", {ranks.size} ranks" if ranks.size > 1 else ""
    return Checkpoint(folder / CHECKPOINT, key, machine, is_written=ranks.is_first)


def write_metrics(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write the history so far, one JSON line per epoch; a resumed run writes the same lines again.

    Raises InputError when the disk refuses.
    """
    with written_beside(folder / METRICS) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in history), encoding="utf-8")


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
    """Write the result, which marks the run as finished; remove its state. Raises InputError when the disk refuses."""
    with written_beside(folder / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    drop_state(folder)


def reopen(folder: Path) -> None:
    """Remove the mark of a finished run, so that it continues. Raises InputError when the disk refuses."""
    try:
        (folder / RESULT).unlink()
    except OSError as error:
        raise disk_error(folder / RESULT, error, "remove") from None


def drop_state(folder: Path) -> None:
    """Remove the full state of a finished run; a failure is ignored, because the file does no harm."""
    with contextlib.suppress(OSError):
        (folder / CHECKPOINT).unlink(missing_ok=True)
