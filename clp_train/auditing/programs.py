"""Models that are programs in files: an exported program of torch (.pt2) or an ONNX model (.onnx).

Files of clp-train --export name their classes and the size of their pictures. For other files the right preparation of
pictures is unknown: they go in as RGB in [0, 1], and a remark says so. No other code in these files runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import FITS, MAX_SIDE
from clp_aug.nets.devices import AUTO, CPU, find_device
from clp_aug.nets.exported import load_program
from clp_train.auditing.opened import Opened, in_parts, name_list

PT2, ONNX = ".pt2", ".onnx"
LARGEST = 2**31  # bytes of an ONNX model with its weights, the limit of protobuf
MOST = 1024  # largest batch of a program
FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
FOREIGN = "the file does not describe its pictures: they go in as RGB in [0, 1], so it must normalise them itself"
EXPORT = "export it for pictures (n, 3, h, w), channels first, as clp-train --export does"


def open_pt2(path: Path, device: str) -> Opened:
    """Open an exported program of torch. device: by name. Raises InputError for a file that is none or is unsafe."""
    place = find_device(device)
    program = load_program(path, str(place))
    size, count = sides_of(program.shape, str(path))
    said = program.said
    return described("pt2", program.logits, place, said, size, count)


def open_onnx(path: Path, device: str) -> Opened:
    """Open an ONNX model in onnxruntime. device: by name.

    Raises InputError for a file that is not an ONNX model, UsageError without onnxruntime, SettingError for a device
    that onnxruntime does not support; "auto" falls back to the CPU, and a remark says so.
    """
    what = f"model onnx:{path}"
    content = content_of(path, what)
    from clp_aug.nets.onnx_session import package_for, provider_for, session_of

    place, remarks = str(find_device(device)), []
    if device == AUTO and not provider_for(place):
        remarks.append(f"{path.name} runs on the CPU: onnxruntime has no provider for {place}; {package_for(place)}")
        place = CPU
    session = session_of(content, place, what, torch.get_num_threads())
    if len(session.get_inputs()) != 1 or session.get_inputs()[0].type not in FLOATS:
        given = ", ".join(f"{one.name[:40]}: {one.type}" for one in session.get_inputs()[:4])
        raise InputError(f"{path}: its inputs are {given}, expected one of floating-point numbers; {EXPORT}")
    source = session.get_inputs()[0]
    size, count = sides_of([side if isinstance(side, int) else None for side in source.shape], str(path))
    said = properties(session.get_modelmeta().custom_metadata_map)
    return described("onnx", runner(session, source, str(path)), torch.device(CPU), said, size, count, remarks)


def content_of(path: Path, what: str) -> bytes:
    """Return the bytes of an ONNX model with weights from files beside it. Raises UsageError without onnxruntime."""
    try:
        import onnxruntime  # noqa: F401  # a missing package is reported before the file is read
    except ImportError:
        raise UsageError("an ONNX model needs onnxruntime: pip install 'causal-logit-perturbation[onnx]'") from None
    from clp_aug.nets.onnx_weights import read_model

    try:
        return read_model(path, LARGEST)[0]
    except ValueError as error:
        raise InputError(f"{what}: {error}; give the path of an ONNX model, files with its weights beside it") from None


def runner(session: Any, source: Any, path: str) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a session: pictures of its dtype -> its output "logits", or else its first output."""
    names = [one.name for one in session.get_outputs()]
    wanted, kind = ("logits" if "logits" in names else names[0]), FLOATS[source.type]

    def run(images: Tensor) -> Tensor:
        output = session.run([wanted], {source.name: images.numpy().astype(kind)})[0]
        if getattr(getattr(output, "dtype", None), "kind", "") != "f":
            raise InputError(
                f"{path}: its output {wanted[:40]} is not an array of floating-point numbers; export its logits"
            )
        return torch.from_numpy(output)

    return run


def properties(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the properties of an ONNX model; values that are JSON are parsed."""
    return {name: as_json(text) for name, text in metadata.items() if name in ("class_names", "size", "fit")}


def as_json(text: str) -> Any:
    """Return a text parsed as JSON, or the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def sides_of(shape: Sequence[int | None], path: str) -> tuple[int | None, int | None]:
    """Return the side and the batch size of an input, None for each that is free.

    Raises InputError for an input that does not take square pictures (n, 3, side, side).
    """
    fixed = [side for side in shape[2:] if side is not None]
    count = shape[0] if shape else None
    good = len(shape) == 4 and shape[1] in (3, None) and len(set(fixed)) < 2 and all(0 < s <= MAX_SIDE for s in fixed)
    if not good or (count is not None and not 0 < count <= MOST):
        said = ", ".join("?" if side is None else str(side) for side in shape[:8])
        raise InputError(f"{path}: its input is ({said}), expected (n, 3, side, side); {EXPORT}")
    return (fixed[0] if fixed else None), count


def described(
    kind: str,
    run: Callable[[Tensor], Tensor],
    device: torch.device,
    said: Mapping[str, Any],
    size: int | None,
    count: int | None,
    remarks: Sequence[str] = (),
) -> Opened:
    """Return a program with the facts that its file states; the side of its input overrides a stated size."""
    names, side = name_list(said.get("class_names")), said.get("size")
    if size is None and type(side) is int and 0 < side <= MAX_SIDE:
        size = side
    fit = said.get("fit") if said.get("fit") in FITS else None
    foreign = (FOREIGN,) if names is None else ()
    whole = run if count is None else in_parts(run, count)
    return Opened(kind, whole, device, size, fit, None, names, count, remarks=(*remarks, *foreign))
