"""Published weights of the inpainting network from a local file: of the PyTorch port or of the authors' code.

PyTorch: `coarse_generator.conv1.conv.weight`, `fine_generator.pmconv5.conv.bias`, after any `netG.` and `module.`. The
authors', TensorFlow, version 1: `inpaint_net/conv1/kernel` (height, width, planes in, planes out), `.../bias`, and
`inpaint_net/conv13_upsample/conv13_upsample_conv/kernel` for the four layers that double the side.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from clp_aug.contract.errors import InputError, pick
from clp_aug.nets.contextual_attention import FULL_RATES, FULL_WIDTH, ContextualAttentionNet, is_published, put
from clp_aug.nets.layouts import LAYOUTS
from clp_aug.nets.reading import check_unpacked, first_line, read_bytes
from clp_aug.nets.stored import check_values, differences, shapes

LICENCE = "CC BY-NC 4.0, not for commercial use: weights published by Yu et al., and those converted from them"
LARGEST = 64 * 2**20  # bytes; the 84 tensors are 14.4 MB in single precision
PREFIX = re.compile(r"^(?:netG\.|module\.)+")
DOUBLED = ("conv13", "conv15")
REMEDY = "expected the 84 tensors of the published generator"


def load_published(path: Path, layout: str = "own") -> tuple[ContextualAttentionNet, str]:
    """Return the full network with published weights, in evaluation mode, and the file's SHA-256.

    path: .pt, .pth or .p (a state dict; only tensors are unpickled), .npz or .safetensors, names as above. layout: "tf"
    for the PyTorch port's file that was converted from TensorFlow, "own" for its own training; the file does not say
    which. TensorFlow's names always mean "tf". Terms: LICENCE. Raises UsageError for an unknown layout, InputError
    unless the file has every tensor of the generator once, with its shape and finite values, and no other tensor.
    """
    pick(LAYOUTS, layout, "layout")
    what = f"published inpainting weights {path}"
    content = read(path, what)
    try:
        tensors = READERS[path.suffix.lower()](content)
    except Exception as error:  # a parser may raise anything for hostile bytes
        raise InputError(f"{what}: cannot be used ({first_line(error)}); {REMEDY}") from None
    if not is_published(tensors):
        raise InputError(f"{what}: {foreign(tensors)}; {REMEDY}")
    tf = any(name.startswith("inpaint_net/") for name in tensors)
    with torch.device("meta"):
        network = ContextualAttentionNet(FULL_WIDTH, FULL_RATES, "tf" if tf else layout)
    state = rename_published(tensors, network.state_dict(), tf, what)
    check_values(tensors, what, REMEDY)
    put(network, state)
    return network, hashlib.sha256(content).hexdigest()


def read(path: Path, what: str) -> bytes:
    """Return the bytes of a file. Raises InputError for an unknown ending or a file that is too large."""
    if path.suffix.lower() not in READERS:
        raise InputError(f"{what}: unknown ending {path.suffix!r}, expected one of {', '.join(READERS)}")
    try:
        return read_bytes(path, LARGEST)
    except ValueError as error:
        raise InputError(f"{what}: {error}; {REMEDY}") from None


def check_archive(content: bytes) -> None:
    """Raise ValueError for a zip archive (a recent .pt, or an .npz) that unpacks to too many bytes."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_unpacked(archive.infolist(), LARGEST)


def from_pickle(content: bytes) -> dict[str, Tensor]:
    """Return a state dict of torch.save, in the present or an old format. Raises ValueError for other content."""
    check_archive(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about old and damaged files; these get one line
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # its message explains how to load the file anyway
        raise ValueError("no checkpoint of torch, or one with more than tensors in it") from None
    if not (isinstance(state, dict) and all(isinstance(name, str) for name in state)):
        raise ValueError(f"a {type(state).__name__}, not tensors by name")
    for name, value in state.items():
        if type(value) not in (Tensor, nn.Parameter) or value.layout != torch.strided or value.device.type != "cpu":
            raise ValueError(f"{name[:80]!r} is no plain tensor")
    return {name: value.detach() for name, value in state.items()}


def from_npz(content: bytes) -> dict[str, Tensor]:
    """Return the arrays of an .npz; `:0` behind a name of TensorFlow's is dropped."""
    check_archive(content)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns about odd headers
        return {name.removesuffix(":0"): torch.from_numpy(archive[name]) for name in archive.files}


def from_safetensors(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file; `:0` after a name of TensorFlow's is dropped."""
    return {name.removesuffix(":0"): value for name, value in load_safetensors(content).items()}


READERS = {
    ".pt": from_pickle,
    ".pth": from_pickle,
    ".p": from_pickle,
    ".npz": from_npz,
    ".safetensors": from_safetensors,
}


def foreign(tensors: dict[str, Tensor]) -> str:
    """Return a description of a file without published names."""
    if any(name.startswith("hallucination.") for name in tensors):
        return "weights of clp-fit inpainter, not published ones"
    return f"a tensor named {min(tensors)[:80]!r}" if tensors else "no tensor in it"


def rename_published(tensors: dict[str, Tensor], ours: dict[str, Tensor], tf: bool, what: str) -> dict[str, Tensor]:
    """Return a file's tensors under our names, and with our order of axes.

    Raises InputError with the missing and extra tensors, and those of another shape, by the names of the file.
    """
    names = {(tf_name if tf else port_name)(name): name for name in ours}
    expected = {
        name: in_tf_order(ours[ours_name]) if tf else tuple(ours[ours_name].shape) for name, ours_name in names.items()
    }
    by_name = {}
    for name in sorted(tensors, key=len):  # a second one with a longer prefix is one too many
        bare = PREFIX.sub("", name)
        by_name[bare if bare in expected and bare not in by_name else name] = tensors[name]
    wrong = differences(expected, shapes(by_name))
    if wrong:
        raise InputError(f"{what}: {wrong}; {REMEDY}")
    turned = {name: value.permute(3, 2, 0, 1) if tf and value.ndim == 4 else value for name, value in by_name.items()}
    return {ours_name: turned[name] for name, ours_name in names.items()}


def port_name(name: str) -> str:
    """Return the PyTorch port's name of our tensor."""
    part, layer, kind = name.split(".")
    return f"{'coarse' if part == 'coarse' else 'fine'}_generator.{layer}.conv.{kind}"


def tf_name(name: str) -> str:
    """Return TensorFlow's name of our tensor."""
    part, layer, kind = name.split(".")
    layer = f"x{layer}" if part == "hallucination" else layer
    if layer.endswith(DOUBLED):
        layer = f"{layer}_upsample/{layer}_upsample_conv"
    return f"inpaint_net/{layer}/{'kernel' if kind == 'weight' else kind}"


def in_tf_order(ours: Tensor) -> tuple[int, ...]:
    """Return TensorFlow's shape of our tensor: height, width, planes in, planes out."""
    return tuple(ours.permute(2, 3, 1, 0).shape) if ours.ndim == 4 else tuple(ours.shape)
