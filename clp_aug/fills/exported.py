"""Load a classifier as an exported program (torch.export), after a look at its archive: nothing in it may be pickled.

torch.export.load unpickles weights and constants that are marked so, and falls back to full unpickling for sample
inputs; so the archive must hold only what a plain export writes, and its sample inputs must be plain tensors.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from clp_aug.contract.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

ALLOWED = re.compile(
    r"(data/weights/(weight_\d+|\w+_config\.json)|data/constants/(tensor_\d+|\w+_config\.json)"
    r"|data/sample_inputs/\w+\.pt|models/\w+\.json|archive_format|archive_version|version|byteorder|\.data/\w+)"
)
PAYLOAD = re.compile(r"(weight|tensor)_\d+")
REMEDY = "clp-train --export writes one"


def check_archive(data: bytes) -> None:
    """Raise ValueError, saying why, unless loading the archive runs no code of its own."""
    import torch

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise ValueError("it holds a file twice")
        for name in names:
            inner = name.partition("/")[2]
            if not ALLOWED.fullmatch(inner):
                raise ValueError(f"it holds {name}, which a plain export does not")
            if inner.endswith("_config.json"):
                for payload in json.loads(archive.read(name))["config"].values():
                    if payload["use_pickle"] or not PAYLOAD.fullmatch(payload["path_name"]):
                        raise ValueError(f"{payload['path_name']} is pickled")
            if inner.startswith("data/sample_inputs/"):
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)


@lru_cache(maxsize=1)
def load_classifier(path: Path) -> Callable[[Tensor], Tensor]:
    """Load a classifier once a process: float32 (N, 3, H, W) in [0, 1] -> logits (N, C), normalising by itself.

    Raises InputError for a file that is missing, foreign or damaged, or that could run code when loaded.
    """
    import torch

    try:
        data = Path(path).read_bytes()
        check_archive(data)
        torch.set_num_threads(1)  # one thread a worker, and the same sums for any worker count
        return torch.export.load(io.BytesIO(data)).module()
    except OSError as error:
        raise InputError(f"classifier {path}: {error.strerror}; {REMEDY}") from None
    except Exception as error:  # a foreign archive fails in torch in any way it likes
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"classifier {path}: not an exported program ({reason[0]}); {REMEDY}") from None
