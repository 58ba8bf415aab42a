"""Load a classifier as an exported program (torch.export) from an archive that is checked and rewritten first.

torch.export.load unpickles marked weights and constants, and the sample inputs of the export; it executes guards and
evaluates sizes. So the archive must hold only files of a plain export, and its program only tensor operators
(plain_program). torch gets a copy without sample inputs and guards, which are not needed here.
"""

from __future__ import annotations

import io
import json
import logging
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clp_aug.contract.errors import InputError
from clp_aug.nets.devices import CPU
from clp_aug.nets.plain_program import check_program
from clp_aug.nets.reading import allowance, check_unpacked, first_line, read_bytes

if TYPE_CHECKING:
    from torch import Tensor

ALLOWED = re.compile(
    r"(data/weights/(weight_\d+|\w+_config\.json)|data/constants/(tensor_\d+|\w+_config\.json)"
    r"|data/sample_inputs/\w+\.pt|models/\w+\.json|extra/\w+\.json|archive_format|archive_version|version|byteorder"
    r"|\.data/\w+)"
)
PAYLOAD = re.compile(r"(weight|tensor)_\d+")
LARGEST = 2**33  # bytes of a file; the largest classifier of torchvision has 2.6 GB
SAID, MOST_SAID = "extra/classifier.json", 2**24  # file of a program's own facts, and its largest size in bytes
REMEDY = "clp-train --export writes one"


class Program(NamedTuple):
    """An exported program. logits: the program, float32 (N, 3, H, W) -> its output; shape: of its input, None for an
    open side; said: its own facts as plain JSON, {} for none.
    """

    logits: Callable[[Tensor], Tensor]
    shape: tuple[int | None, ...]
    said: Mapping[str, Any]


def plain_copy(data: bytes) -> bytes:
    """Return a copy of an archive without sample inputs, guards and extra facts.

    Raises ValueError, with the reason, unless loading the copy runs no code from it and takes about as much memory as
    the file. torch reads this copy, because two readers of one archive can differ.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(copy, "w") as plain:
        members = archive.infolist()
        check_unpacked(members, allowance(len(data)))
        sizes = {member.filename.partition("/")[2]: member.file_size for member in members}
        if len(sizes) != len(members):
            raise ValueError("it holds a file twice")
        for member in members:
            inner = member.filename.partition("/")[2]
            if not ALLOWED.fullmatch(inner):
                raise ValueError(f"it holds {member.filename[:80]}, which a plain export does not hold")
            if inner.startswith("extra/"):
                continue
            content = b"" if inner.startswith("data/sample_inputs/") else archive.read(member)
            plain.writestr(zipfile.ZipInfo(member.filename), checked(inner, content, sizes))
    return copy.getvalue()


def checked(inner: str, content: bytes, sizes: Mapping[str, int]) -> bytes:
    """Return a checked file of the archive for torch. sizes: bytes of each file. Raises ValueError."""
    if inner.endswith("_config.json"):
        for name, payload in json.loads(content)["config"].items():
            check_payload(name, payload, sizes, inner.rpartition("/")[0])
    elif inner.startswith("models/"):
        program = json.loads(content)
        guards = program.pop("guards_code", None)
        check_program(program)
        return json.dumps(program).encode() if guards else content
    return content


def check_payload(name: str, payload: Mapping[str, Any], sizes: Mapping[str, int], folder: str) -> None:
    """Raise ValueError unless a tensor of the archive is a plain one, and no larger than its file."""
    file = payload["path_name"]
    if payload["use_pickle"] or not PAYLOAD.fullmatch(file):
        raise ValueError(f"{file[:80]} is pickled")
    shape = [side["as_int"] for side in payload["tensor_meta"]["sizes"]]
    if math.prod(shape) > sizes[f"{folder}/{file}"]:
        raise ValueError(f"{name[:80]} is {str(shape)[:80]}, more than its file holds")


@contextmanager
def errors_of_torch() -> Iterator[None]:
    """Context that raises the error that torch.export.load only logs before it raises another without a reason."""
    logged: list[BaseException | None] = []

    def keep(record: logging.LogRecord) -> bool:
        logged.append(record.exc_info[1] if record.exc_info else None)
        return False

    logger = logging.getLogger("torch.export")
    logger.addFilter(keep)
    try:
        yield
    except Exception as error:
        raise next(filter(None, logged), error) from None
    finally:
        logger.removeFilter(keep)


def said_in(data: bytes) -> dict[str, Any]:
    """Return an archive's own facts, {} without any. Raises ValueError for text that is no JSON, or too long.

    Source: ours; clp-train --export writes it.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if member.filename.partition("/")[2] == SAID:
                if member.file_size > MOST_SAID:
                    raise ValueError(f"{SAID} has {member.file_size} bytes, expected at most {MOST_SAID}")
                said = json.loads(archive.read(member))
                return said if isinstance(said, dict) else {}
    return {}


def shape_of_input(program: Any) -> tuple[int | None, ...]:
    """Return the shape of a program's first input, None for each open side."""
    first = program.graph_signature.user_inputs[0]
    value = next(node.meta["val"] for node in program.graph.nodes if node.name == first)
    return tuple(side if isinstance(side, int) else None for side in value.shape)


def load_program(path: Path, device: str = CPU) -> Program:
    """Load an exported program onto a device, by name, with its own facts.

    Raises InputError for a file that is missing, foreign or damaged, or that could run code when loaded.
    """
    import torch

    try:
        data = read_bytes(Path(path), LARGEST)
    except ValueError as error:
        raise InputError(f"classifier {path}: {error}; {REMEDY}") from None
    try:
        copy, said = plain_copy(data), said_in(data)
        del data
        with errors_of_torch():
            program = torch.export.load(io.BytesIO(copy))
            if device != CPU:
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)  # including intermediate tensors
            return Program(program.module(), shape_of_input(program), said)
    except Exception as error:  # torch may raise anything for a foreign archive
        raise InputError(f"classifier {path}: not an exported program ({first_line(error)}); {REMEDY}") from None


@lru_cache(maxsize=1)
def load_classifier(path: Path, device: str = CPU) -> Callable[[Tensor], Tensor]:
    """Load a classifier once per process: float32 (N, 3, H, W) in [0, 1] -> logits (N, C), normalising by itself.

    From then on the process computes with one thread. Raises the errors of `load_program`.
    """
    import torch

    torch.set_num_threads(1)  # one thread per worker, and the same sums for any number of workers
    return load_program(path, device).logits
