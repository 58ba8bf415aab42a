"""Export a classifier as a program for other tools: torch's own form, or ONNX. The program describes itself."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clp_aug.common.files import written_beside
from clp_train.evaluating.predictions import Judged
from clp_train.exports import FILES, ONNX, PT2
from clp_train.models.parts import Classifier

SAID = "classifier.json"
"""Name of the file in an exported program that describes it."""
TOLERANCE = 1e-4
"""Allowed difference of a program's logits from the network's, as a share of the largest, or of 1."""
TRIED = (1, 7)  # batch sizes that a program is tested with

About = Mapping[str, Any]


class Differs(ValueError):
    """A program returns other logits than its network."""


def export_classifier(network: nn.Module, size: int, path: Path, about: About | None = None) -> None:
    """Write a classifier in evaluation mode as a program for any batch of size x size pictures.

    It takes float32 (N, 3, size, size) in [0, 1] and returns the logits of `Judged`, (N, C). The suffix of the path
    decides the form; about: its description of itself, as plain JSON. It is tested on random pictures before it is
    written. Raises Differs if its logits are not the network's, and InputError when the disk refuses.
    """
    judged = Judged(network) if isinstance(network, Classifier) else network
    judged.eval().cpu()  # other tools run it there
    content, program = FORMS[path.suffix](judged, size, about or {})
    check_same_logits(judged, program, size, path)
    with written_beside(path) as temporary:
        temporary.write_bytes(content)


def check_same_logits(judged: nn.Module, program: Callable[[Tensor], Tensor], size: int, path: Path) -> None:
    """Raise Differs unless a program returns the network's logits for random pictures."""
    draw = torch.Generator().manual_seed(0)
    for n in TRIED:
        pictures = torch.rand(n, 3, size, size, generator=draw)
        with torch.no_grad():
            expected, found = judged(pictures), program(pictures)
        difference, most = float((found - expected).abs().max()), max(1.0, float(expected.abs().max()))
        if not difference <= TOLERANCE * most:
            raise Differs(f"{path.name}: its logits differ by {difference:.1e} from the network's; it is not kept")


def as_pt2(judged: nn.Module, size: int, about: About) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    """Return a classifier as a program exported by torch: its bytes, and the program read from them."""
    content = io.BytesIO()  # torch would end the process if a file refuses
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found in the group")  # torch's, of its own file
        torch.export.save(exported(judged, size), content, extra_files={SAID: json.dumps(about)})
    content.seek(0)
    return content.getvalue(), torch.export.load(content).module()


def exported(judged: nn.Module, size: int) -> torch.export.ExportedProgram:
    """Return a classifier exported by torch, for any number of pictures."""
    example, dynamic_shapes = torch.zeros(2, 3, size, size), {"images": {0: torch.export.Dim("batch")}}
    return torch.export.export(judged, (example,), dynamic_shapes=dynamic_shapes)


def as_onnx(judged: nn.Module, size: int, about: About) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    """Return a classifier as an ONNX model: its bytes, and a function that runs them. Texts of `about` become its
    properties unchanged, other values become JSON.
    """
    import onnx
    import onnxruntime

    with silent():
        model = torch.onnx.export(
            exported(judged, size), input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
        )
    assert model is not None
    proto = model.model_proto
    onnx.helper.set_model_props(proto, {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()})
    content: bytes = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


@contextmanager
def silent() -> Iterator[None]:
    """Silence warnings and logs of torch's exporter inside this context."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


FORMS: dict[str, Callable[[nn.Module, int, About], tuple[bytes, Callable[[Tensor], Tensor]]]] = {
    Path(FILES[PT2]).suffix: as_pt2,
    Path(FILES[ONNX]).suffix: as_onnx,
}
