"""Fills that are plug-ins: a plain function, or a `Fill` for full control. Their results are checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clp_aug.common.plugins import Plugin, annotated, parameters, summary_of
from clp_aug.contract.boxes import Box
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.fills import Fill
from clp_aug.fills.options import FillOptions
from clp_aug.fills.scene import Materials, NoBackground, Scene

ARGUMENTS = ("scene", "window", "rng", "materials")


def fill_of_plugin(plugin: Plugin) -> Fill:
    """Return the fill of a plug-in. Raises UsageError for an object that is no fill."""
    if isinstance(plugin.value, Fill):
        return guarded(plugin, plugin.value)
    if not callable(plugin.value) or isinstance(plugin.value, type):
        raise plugin.refuse("expected a function (scene, window, rng, materials), or a Fill")
    names = list(parameters(plugin.value))
    if len(names) not in (len(ARGUMENTS), len(ARGUMENTS) + 1):
        raise plugin.refuse(f"it takes {len(names)} arguments; expected {', '.join(ARGUMENTS)} and optionally options")
    options: type[FillOptions] | str = ""
    if len(names) > len(ARGUMENTS):
        options = options_class(plugin, annotated(plugin.value, names[-1]), names[-1])
    return guarded(plugin, Fill(plugin.value, (COUNTERFACTUAL, FACTUAL), summary_of(plugin.value), options=options))


def options_class(plugin: Plugin, kind: object, parameter: str) -> type[FillOptions]:
    """Return the class of a plug-in's settings. Raises UsageError for any other annotation."""
    if isinstance(kind, type) and issubclass(kind, FillOptions) and dataclasses.is_dataclass(kind):
        return kind
    raise plugin.refuse(f"annotate its parameter {parameter} with a frozen dataclass, a subclass of FillOptions")


def guarded(plugin: Plugin, fill: Fill) -> Fill:
    """Return a fill with functions that report errors in one line, and check every infilling."""
    one, many = fill.load(), fill.load_many()

    def fill_one(scene: Scene, window: Box, *others: Any) -> np.ndarray:
        infilling = call(plugin, one, scene, window, *others)
        return checked(plugin, infilling, scene, whole(scene) if fill.everywhere else window)

    def fill_many(
        scenes: Sequence[Scene], windows: Sequence[Box], rngs: Any, materials: Materials, options: FillOptions
    ) -> list[np.ndarray | None]:
        infillings = call(plugin, many, scenes, windows, rngs, materials, options)
        return [
            None if infilling is None else checked(plugin, infilling, scene, window)
            for infilling, scene, window in zip(infillings, scenes, windows, strict=True)
        ]

    return dataclasses.replace(fill, function=fill_one, many=fill_many if many else "")


def call(plugin: Plugin, function: Callable[..., Any] | None, *arguments: Any) -> Any:
    """Call a function of a plug-in. It may raise NoBackground; other errors become one line."""
    assert function is not None

    def quiet(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except NoBackground:
            return NoBackground

    result = plugin.call(quiet, *arguments)
    if result is NoBackground:
        raise NoBackground
    return result


def whole(scene: Scene) -> Box:
    """Return the box of a whole picture."""
    height, width = scene.image.shape[:2]
    return 0, 0, width, height


def checked(plugin: Plugin, infilling: object, scene: Scene, window: Box) -> np.ndarray:
    """Return an infilling. Raises UsageError unless it is uint8 of the window's size."""
    expected = (window[3] - window[1], window[2] - window[0], 3)
    if not isinstance(infilling, np.ndarray) or infilling.dtype != np.uint8 or infilling.shape != expected:
        shape = (
            f"{infilling.dtype} {infilling.shape}" if isinstance(infilling, np.ndarray) else type(infilling).__name__
        )
        raise plugin.refuse(f"it returned {shape}; expected uint8 {expected}, the size of its window")
    return infilling
