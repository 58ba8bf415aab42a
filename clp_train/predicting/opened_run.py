"""A run as its folder has it, finished or not: settings, history and result, and what a notebook shows of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from clp_aug.common.files import disk_error
from clp_aug.contract.errors import InputError
from clp_aug.nets.devices import CPU
from clp_train.evaluating.notebook import run_html
from clp_train.predicting.description import RESULT
from clp_train.running.checkpoint import CHECKPOINT

if TYPE_CHECKING:
    from clp_train.predicting.trained import TrainedClassifier

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class OpenedRun:
    """What the folder of a run says. Nothing of it changes when the run continues: open it again.

    config: the run's settings, as result.json has them, empty where an unfinished run has not stored them yet; history:
    a line an epoch; result: as result.json has it, None for an unfinished run.
    """

    folder: Path
    config: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, Any] | None

    @property
    def is_finished(self) -> bool:
        """Whether the run has its result."""
        return self.result is not None

    def classifier(self, device: str = CPU) -> TrainedClassifier:
        """Return the trained classifier, as `load_classifier` does, and raise what it raises."""
        from clp_train.predicting.trained import load_classifier

        return load_classifier(self.folder, device)

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield what the run is, in words, as (name, text)."""
        config, result = self.config, self.result or {}
        for name in ("method", "preset", "model", "seed"):
            if config.get(name) is not None:
                yield name, str(config[name])
        if result.get("dataset") is not None:
            yield "data set", str(result["dataset"])
        of_all = f" of {config['epochs']}" if "epochs" in config else ""
        yield "state", "finished" if self.is_finished else f"unfinished: {len(self.history)}{of_all} epochs are done"

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the run."""
        result = self.result or {}
        selected = result.get("selected")
        snapshot = selected or result.get("last") or {"metrics": {}}
        epoch = selected["epoch"] if selected else None
        return run_html(f"run {self.folder.name}", self.facts(), snapshot["metrics"], self.history, epoch)


def open_run(folder: Path | str) -> OpenedRun:
    """Return a run that clp-train began in a folder, finished or not.

    Raises InputError for a folder without a run, and for files that are not those of a run.
    """
    place = Path(folder)
    if (place / RESULT).exists():
        result = read_json(place / RESULT)
        try:
            return checked(OpenedRun(place, result["config"], result["history"], result))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{place / RESULT}: not a result of clp-train ({reason}); train again") from None
    if not (place / METRICS).exists() and not (place / CHECKPOINT).exists():
        kind = f"no {RESULT} and no {METRICS}" if place.is_dir() else "no such folder"
        raise InputError(f"{place}: {kind}, so no run; give the folder that clp-train wrote")
    try:
        return checked(OpenedRun(place, settings_in(place / CHECKPOINT), lines_in(place / METRICS), None))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{place}: its files are not those of a run ({error}); train again") from None


def checked(run: OpenedRun) -> OpenedRun:
    """Return a run that can be shown. Raises LookupError, TypeError, AttributeError or ValueError for any other."""
    if not isinstance(run.config, Mapping) or not all(isinstance(line, Mapping) for line in run.history):
        raise TypeError("expected settings and a history of objects")
    run._repr_html_()
    return run


def read_json(path: Path) -> Any:
    """Return what a JSON file holds. Raises InputError for a file that cannot be read."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise disk_error(path, error, "read") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); train again") from None


def lines_in(path: Path) -> list[Any]:
    """Return the lines of the history so far, empty before the first epoch has ended."""
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk_error(path, error, "read") from None


def settings_in(path: Path) -> dict[str, Any]:
    """Return the settings that a checkpoint was written with, empty where there is none or it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            stored = json.loads((file.metadata() or {}).get("key", "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}
