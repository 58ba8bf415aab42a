"""Names of models as users write them: NAME, or NAME@WEIGHTS. No torch here."""

from __future__ import annotations

from pathlib import Path

from clp_aug.contract.errors import InputError, UsageError

SAFE = ".safetensors"
SUFFIXES = (SAFE, ".pth", ".pt", ".bin", ".ckpt")
"""Suffixes of files of weights; all but the first are torch.save's, and only tensors are read from them."""
OF_A_RUN = ("selected.safetensors", "last.safetensors")
"""Weights that a run's folder may hold, the preferred file first."""
PYTHON_FILE = ".py:"


def split(text: str) -> tuple[str, str | None]:
    """Return name and weights of NAME or NAME@WEIGHTS. An @ before the colon of FILE.py:NAME is part of its path."""
    path, ending, rest = text.partition(PYTHON_FILE)
    name, at, weights = (rest if ending else text).partition("@")
    return (path + ending if ending else "") + name, weights if at else None


def weights_file(text: str, weights: str) -> Path:
    """Return the file of weights of NAME@WEIGHTS, `text`: WEIGHTS is a file, or the folder of a run.

    Raises UsageError for another suffix, InputError if there is no such file.
    """
    path = Path(weights)
    if weights and path.is_dir():
        found = next((path / name for name in OF_A_RUN if (path / name).is_file()), None)
        if found is None:
            raise InputError(
                f"model {text}: no {' and no '.join(OF_A_RUN)} in {path}; give the folder of a finished run, or a file"
            )
        return found
    if not weights:
        raise UsageError(f"model {text}: expected weights after the @: a file or the folder of a run")
    if not path.exists() and path.suffix not in SUFFIXES:
        raise InputError(f"model {text}: no such file or folder; give the path of weights, nothing is downloaded")
    if path.suffix not in SUFFIXES:
        raise UsageError(f"model {text}: expected weights in a file {', '.join(SUFFIXES)}, or the folder of a run")
    if not path.is_file():
        raise InputError(f"model {text}: no such file; give the path of the weights, nothing is downloaded")
    return path
