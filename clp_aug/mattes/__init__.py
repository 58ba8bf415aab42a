"""MATTE: the registry of back ends. One file per back end; a new one needs one file, one line here, one test row.

A back end is an object with `about` (name, sha256 of its weights, licence) and `find(picture)` that returns a matte,
float (h, w) in [0, 1] of any resolution, or a box in pixels of the read picture, or None if it finds nothing. A matte
is never stretched to the full range: a picture without an object must be able to come out empty. A network also takes a
device and has `find_all(pictures)`, which returns the result of `find` for each, in batches. A back end that is not
registered here is a plug-in (`mattes.own`): module:name, file.py:name, or a name that an installed package has added.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clp_aug.common.plugins import Plugin, find
from clp_aug.contract.errors import UsageError, pick
from clp_aug.nets.devices import CPU

if TYPE_CHECKING:
    import numpy as np

    from clp_aug.contract.boxes import Box

MATTES = {
    "given": ("clp_aug.mattes.given:Given", "masks or boxes that come with the pictures"),
    "grabcut": ("clp_aug.mattes.grabcut:GrabCut", "GrabCut started from a centred guess; needs no weights"),
    "hatt": ("clp_aug.mattes.hatt:HattMatte", "our matting network; hatt:FILE, with weights of clp-fit matte"),
    "onnx": ("clp_aug.mattes.onnx:OnnxMatte", "onnx:FILE, any U2Net-like network"),
    "centre": ("clp_aug.mattes.centre:Centre", "a centred box of 60 % of each side"),
}
MAY_HAVE_FILE, NEEDS_FILE = ("hatt", "onnx"), ("onnx",)
NETWORKS = ("hatt", "onnx")
"""Back ends that run on the chosen device."""
FALLBACKS = ("hatt", "grabcut", "centre")


@dataclass(frozen=True)
class About:
    """The facts about the chosen back end in a shard; sha256 and licence are empty without weights."""

    name: str
    sha256: str = ""
    licence: str = ""


class PictureLike(Protocol):
    """The input of a back end. image: uint8 (size, size, 3) RGB; alpha, box: its mask and box, if any."""

    @property
    def image(self) -> np.ndarray: ...
    @property
    def sample_id(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def alpha(self) -> np.ndarray | None: ...
    @property
    def box(self) -> Box | None: ...


class Matte(Protocol):
    """A back end. `find` returns alpha, float32 (h, w) in [0, 1], or a box in pixels of the picture, or None."""

    @property
    def about(self) -> About: ...
    def find(self, picture: PictureLike) -> np.ndarray | Box | None: ...


def plugin_of(name: str) -> Plugin | None:
    """Return the plug-in of a name, None for a registered name. Raises UsageError for an unknown name."""
    return None if name.partition(":")[0] in MATTES else find(MATTES, name, "matte")


def is_network(name: str) -> bool:
    """Return whether the back end of that name runs on the chosen device."""
    plugin = plugin_of(name)
    if plugin is None:
        return name.partition(":")[0] in NETWORKS
    from clp_aug.mattes.own import runs_on_a_device

    return runs_on_a_device(plugin)


def check_matte(name: str) -> None:
    """Raise UsageError unless the name is a back end, registered or a plug-in, with a file if it needs one."""
    if plugin_of(name) is not None:
        return
    kind, _, file = name.partition(":")
    pick(MATTES, kind, "matte")
    if (kind in NEEDS_FILE and not file) or (file and kind not in MAY_HAVE_FILE):
        raise UsageError(f"matte {name!r}: expected {spelling(kind)}")


def check_refine() -> None:
    """Raise UsageError unless PyMatting is installed. Its first import compiles, which takes a minute."""
    from importlib.util import find_spec

    if find_spec("pymatting") is None:
        raise UsageError("--refine needs PyMatting: pip install 'causal-logit-perturbation[matting]'")


def spelling(kind: str) -> str:
    """Return the spelling of a back end: with a file, with an optional file, or without."""
    return f"{kind}:FILE" if kind in NEEDS_FILE else f"{kind}[:FILE]" if kind in MAY_HAVE_FILE else kind


def name_with_file(kind: str, path: Path) -> str:
    """Return the name in shards of a back end with a file: the file's stem; bytes that are no text are replaced."""
    return f"{kind}:{os.fsencode(path.stem).decode('utf-8', 'replace')}"


def make_matte(name: str, device: str = CPU) -> Matte:
    """Return the back end of that name, with its weights loaded. device: for a network."""
    plugin = plugin_of(name)
    if plugin is not None:
        from clp_aug.mattes.own import matte_of_plugin

        return matte_of_plugin(plugin, device)
    kind, _, file = name.partition(":")
    module, cls = pick(MATTES, kind, "matte")[0].split(":")
    back_end: Callable[..., Matte] = getattr(importlib.import_module(module), cls)
    where = {"device": device} if kind in NETWORKS else {}
    return back_end(file, **where) if file else back_end(**where)


def make_chain(name: str, device: str = CPU) -> list[Matte]:
    """Return the chosen back end, followed by the fallbacks that are tried if it finds no usable box."""
    kind = name.partition(":")[0]
    return [make_matte(name, device), *(make_matte(other, device) for other in FALLBACKS if other != kind)]
