"""A run's folder: result.json, weights, and the exported classifier. Each file appears complete or not at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from clp_aug.common.files import written_beside
from clp_aug.contract.errors import InputError, UsageError
from clp_train.loading.data import RunData
from clp_train.running.checkpoint import CHECKPOINT, Checkpoint
from clp_train.running.export import export_classifier
from clp_train.running.loop import Trained

METRICS = "metrics.jsonl"
RESULT, LAST, SELECTED, CLASSIFIER = "result.json", "last.safetensors", "selected.safetensors", "classifier.pt2"


def prepare(folder: Path, resume: bool = False) -> None:
    """Make the run's folder.

    Raises UsageError when it holds a result already, or an unfinished run that is not to be resumed, InputError when
    it cannot be made.
    """
    if (folder / RESULT).exists():
        raise UsageError(f"{folder} holds a result already; choose another --out or remove that folder")
    if (folder / CHECKPOINT).exists() and not resume:
        raise UsageError(f"{folder} holds an unfinished run; give --resume to go on, or another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder {folder} ({error.strerror}); choose another --out") from None


@contextlib.contextmanager
def folder_for(folder: Path, resume: bool = False) -> Iterator[None]:
    """Make the run's folder, as `prepare` does; what fails within leaves no empty one behind."""
    prepare(folder, resume)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def checkpoint_of(folder: Path, settings: Mapping[str, Any], data: RunData) -> Checkpoint:
    """Return where a run's full state goes, tied to its settings and data. settings: `TrainConfig.as_json`."""
    key = {k: v for k, v in settings.items() if k not in ("meta", "root", "out", "cache", "export", "preset")}
    key |= {"fingerprint": data.header.fingerprint, "shard": data.digest, "threads": torch.get_num_threads()}
    return Checkpoint(folder / CHECKPOINT, key)


def write_metrics(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write the history so far, a JSON line an epoch; a resumed run writes the same lines again.

    Raises InputError when the disk refuses.
    """
    with written_beside(folder / METRICS) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in history))


def board_of(folder: Path) -> Any | None:
    """Return a TensorBoard writer into the run's folder, None without the extra "track"."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))


def show_on(board: Any, line: dict[str, Any]) -> None:
    """Write the numbers of one epoch to TensorBoard."""
    for name, value in line.items():
        if name != "epoch" and value is not None:
            board.add_scalar(name, value, line["epoch"])
    board.flush()


def save(folder: Path, result: dict[str, Any], outcome: Trained, size: int, export: bool) -> None:
    """Write weights, the exported classifier if asked for, and last the result, which marks the run as finished.

    size: the side of the pictures in pixels. Raises InputError when the disk refuses.
    """
    try:
        _save_weights(folder / LAST, outcome.last.state)
        if outcome.selected is not None:
            _save_weights(folder / SELECTED, outcome.selected.state)
        if export:
            export_classifier(outcome.network, size, folder / CLASSIFIER)
        with written_beside(folder / RESULT) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
        (folder / CHECKPOINT).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write into {folder} ({error.strerror or error}); free space or choose --out"
        ) from None


def _save_weights(path: Path, state: dict[str, Tensor]) -> None:
    with written_beside(path) as temporary:
        temporary.write_bytes(to_bytes({name: value.contiguous() for name, value in state.items()}))
