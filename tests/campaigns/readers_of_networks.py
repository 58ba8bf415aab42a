"""Fuzzed readers of networks that a user brings: weights of ours and published ones, exported programs, ONNX."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.campaigns.mutations import Draw, bytes_changed, json_changed, text_changed
from tests.campaigns.readers import Reader


def make_inpainters(place: Path, inputs: Path) -> list[bytes]:
    """Return small weights of clp-fit inpainter."""
    from safetensors.torch import save

    from clp_aug.nets.contextual_attention import ContextualAttentionNet

    network = ContextualAttentionNet(4, (2,), smooth=True)
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    return [save(state, {"settings": json.dumps({"width": 4, "dilations": [2], "smooth": True})})]


def read_inpainter(path: Path) -> object:
    """Read weights for --cagan-weights."""
    from clp_aug.nets.contextual_attention import load

    return load(path)[1]


def make_mattes(place: Path, inputs: Path) -> list[bytes]:
    """Return the weights of the matting network that comes with the package."""
    from clp_aug.nets.shipped import shipped_path

    return [shipped_path("hatt").read_bytes()]


def read_matte(path: Path) -> object:
    """Read weights for --matte hatt:FILE."""
    from clp_aug.mattes.hatt import HattMatte

    return HattMatte(str(path)).about


def header_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change the header of a safetensors file: the numbers behind it are large."""
    size = 8 + int.from_bytes(good[:8], "little")
    changed = bytes_changed(good[:size], [good[:size]], draw)
    if draw.random() < 0.5:
        changed = max(0, len(changed) - 8).to_bytes(8, "little") + changed[8:]
    return changed + good[size:]


def archive_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change the bytes of a zip archive, or, with a table that is right again, those of one file in it."""
    if draw.random() < 0.25 or not good.startswith(b"PK"):
        return bytes_changed(good, seeds, draw)
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as archive, zipfile.ZipFile(changed, "w") as other:
        names = archive.namelist()
        texts = [name for name in names if name.endswith((".json", ".py", ".pkl", ".debug_pkl"))]
        chosen = draw.choice(texts if texts and draw.random() < 0.8 else names)
        for name in names:
            content = archive.read(name)
            if name == chosen:
                as_json = json_changed if draw.random() < 0.7 else text_changed
                change = as_json if name.endswith(".json") else text_changed if name.endswith(".py") else bytes_changed
                content = change(content, [content], draw)
            other.writestr(zipfile.ZipInfo(name), content)
    return changed.getvalue()


def make_programs(place: Path, inputs: Path) -> list[bytes]:
    """Return a small classifier as clp-train --export writes it."""
    from clp_train.models.resnet_cifar import ResNet
    from clp_train.running.export import export_classifier

    export_classifier(ResNet(1, 2, [0.5] * 3, [0.25] * 3), 8, place / "good.pt2")
    return [(place / "good.pt2").read_bytes()]


def read_program(path: Path) -> object:
    """Read a classifier for --f fgsm."""
    from clp_aug.nets.exported import load_classifier

    load_classifier.cache_clear()
    return load_classifier(path)


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """Return a message of protocol buffers: (number of the field, whole number or bytes)."""
    data = b""
    for number, value in fields:
        if isinstance(value, int):
            data += varint(number << 3) + varint(value)
        else:
            data += varint(number << 3 | 2) + varint(len(value)) + value
    return data


def varint(value: int) -> bytes:
    """Return a whole number of protocol buffers."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def make_torchvision(place: Path, inputs: Path) -> list[bytes]:
    """Return weights of a small network of torchvision's kind."""
    from safetensors.torch import save

    state = {name: value.clone() for name, value in small_body().state_dict().items()}
    return [save(state), save({name: value for name, value in state.items() if "tracked" not in name})]


def make_torch_saves(place: Path, inputs: Path) -> list[bytes]:
    """Return the same weights as torch.save writes them, bare and in wrappers."""
    import io

    import torch

    files = []
    for content in (small_body().state_dict(), {"state_dict": small_body().state_dict(), "epoch": 3}):
        file = io.BytesIO()
        torch.save(content, file)
        files.append(file.getvalue())
    return files


def small_body() -> Any:
    """Return a network whose last layer is linear."""
    from torch import nn

    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    return nn.Sequential(*layers)


def read_torchvision(path: Path) -> object:
    """Read weights for --model torchvision:NAME@FILE."""
    from clp_train.models.from_torchvision import load
    from clp_train.models.weights import Weights

    body = small_body()
    load(body, "small", Weights(path))
    return body


def make_onnx(place: Path, inputs: Path) -> list[bytes]:
    """Return a network that gives one plane: a convolution of 1 x 1 and a sigmoid."""

    def value(name: bytes, *sides: int) -> bytes:
        shape = message(*((1, message((1, side))) for side in sides))
        return message((1, name), (2, message((1, message((1, 1), (2, shape))))))

    weights = message(*((1, side) for side in (1, 3, 1, 1)), (2, 1), (8, b"w"), (9, struct.pack("<3f", 1, 0, -1)))
    convolution = message((1, b"x"), (1, b"w"), (2, b"z"), (4, b"Conv"))
    sigmoid = message((1, b"z"), (2, b"y"), (4, b"Sigmoid"))
    given, result = value(b"x", 1, 3, 8, 8), value(b"y", 1, 1, 8, 8)
    graph = message((1, convolution), (1, sigmoid), (2, b"g"), (5, weights), (11, given), (12, result))
    return [message((1, 8), (7, graph), (8, message((1, b""), (2, 13))))]


@dataclass(frozen=True)
class Grey:
    """A picture for a matte."""

    image: np.ndarray = field(default_factory=lambda: np.full((16, 16, 3), 128, np.uint8))
    sample_id: int = 0
    size: int = 16
    alpha: np.ndarray | None = None
    box: tuple[int, int, int, int] | None = None


def read_onnx(path: Path) -> object:
    """Read a network for --matte onnx:FILE, and ask it for a matte."""
    from clp_aug.mattes.onnx import OnnxMatte

    return OnnxMatte(str(path)).find(Grey()).shape


def make_published(place: Path, inputs: Path) -> list[bytes]:
    """Return small states with names of the published inpainting network, as torch.save writes them."""
    import torch

    weights = {"netG.coarse_generator.conv1.conv.weight": torch.ones(2, 3), "fine_generator.x": torch.zeros(3).half()}
    found = []
    for state in (weights, {"fine_generator.x": torch.zeros(0)}):
        for archive in (True, False):
            buffer = io.BytesIO()
            torch.save(state, buffer, _use_new_zipfile_serialization=archive)
            found.append(buffer.getvalue())
    return found


def make_published_arrays(place: Path, inputs: Path) -> list[bytes]:
    """Return a small .npz with names of the published inpainting network."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"inpaint_net/conv1/kernel:0": np.ones((3, 3), np.float32), "x": np.zeros(2)}
    np.savez(buffer, **arrays)
    return [buffer.getvalue()]


def read_published(path: Path) -> object:
    """Read published weights for --cagan-weights."""
    from clp_aug.nets.published_cagan import load_published

    return load_published(path)[1]


def make_scripts(place: Path, inputs: Path) -> list[bytes]:
    """Return a network as TorchScript."""
    import torch

    network = torch.jit.trace(torch.nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 8, 8), check_trace=False)
    network.save(str(place / "good.pt"))
    return [(place / "good.pt").read_bytes()]


def read_script(path: Path) -> object:
    """Read a network for --lama-weights."""
    from clp_aug.fills.lama import load_lama

    load_lama.cache_clear()
    return load_lama(path)


READERS = {
    "inpainter-weights": Reader(make_inpainters, "x.safetensors", header_changed, read_inpainter, cost=1.4),
    "matte-weights": Reader(make_mattes, "x.safetensors", header_changed, read_matte, cost=14),
    "torchvision-weights": Reader(make_torchvision, "x.safetensors", header_changed, read_torchvision, cost=1),
    "torch-weights": Reader(make_torch_saves, "x.pth", archive_changed, read_torchvision, cost=1),
    "published-weights": Reader(make_published, "x.pt", archive_changed, read_published, complete=False),
    "published-arrays": Reader(make_published_arrays, "x.npz", archive_changed, read_published, complete=False),
    "exported": Reader(make_programs, "x.pt2", archive_changed, read_program, cost=67),
    "torchscript": Reader(make_scripts, "x.pt", archive_changed, read_script, cost=10),
    "onnx": Reader(make_onnx, "x.onnx", bytes_changed, read_onnx, cost=0.7),
}
