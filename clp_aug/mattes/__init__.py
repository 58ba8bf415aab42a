"""MATTE: the registry of back ends. One file a back end; a new one is one file, one line here, one test row.

A back end is an object with `about` (name, sha256 of its weights, licence) and `find(view)` that returns a matte,
float (h, w) in [0, 1] of any resolution, or a box in read pixels, or None when it has nothing to say. A matte is
never stretched to the full range: a picture without an object must be able to come out empty.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from clp_aug.contract.errors import UsageError, pick

MATTES = {
    "given": ("clp_aug.mattes.given:Given", "masks or boxes that come with the pictures"),
    "grabcut": ("clp_aug.mattes.grabcut:GrabCut", "GrabCut started from a centred guess; needs no weights"),
    "hatt": ("clp_aug.mattes.hatt:HattMatte", "hatt:FILE, our matting network with weights of clp-fit matte"),
    "onnx": ("clp_aug.mattes.onnx:OnnxMatte", "onnx:FILE, any U2Net-like network"),
    "centre": ("clp_aug.mattes.centre:Centre", "a centred box of 60 % of each side"),
}
WITH_FILE = ("hatt", "onnx")
FALLBACKS = ("grabcut", "centre")


@dataclass(frozen=True)
class About:
    """What a shard records of the chosen back end; sha256 and licence are empty without weights."""

    name: str
    sha256: str = ""
    licence: str = ""


def check_matte(name: str) -> None:
    """Raise UsageError unless the name is a registered back end, with a file where it needs one."""
    kind, _, file = name.partition(":")
    pick(MATTES, kind, "matte")
    if (kind in WITH_FILE) != bool(file):
        raise UsageError(f"matte {name!r}: expected {kind}{':FILE' if kind in WITH_FILE else ''}")


def make_matte(name: str):
    """Return the back end of that name, with its weights loaded."""
    kind, _, file = name.partition(":")
    module, cls = pick(MATTES, kind, "matte")[0].split(":")
    back_end = getattr(importlib.import_module(module), cls)
    return back_end(file) if file else back_end()


def make_chain(name: str) -> list:
    """Return the chosen back end and, behind it, those that step in when it finds no usable box."""
    return [make_matte(name), *(make_matte(other) for other in FALLBACKS if other != name)]
