"""INFILL: the registry of fills. One file per fill; a new one needs one file, one line here and one row in its test.

A fill is a pure function (scene, window, rng, materials) -> infilling, uint8 (h, w, 3), for the window that holds the
hole: the box of a counterfactual, the whole picture of a factual. `scene.compose` keeps all other pixels. A fill with
its own settings declares them in its file, as the fields of `Options`, and takes them as a fifth argument. A fill with
a network has a second function, which fills many scenes at once on an accelerator: (scenes, windows, rngs, materials,
options) -> the results of the first function, None in place of NoBackground. A fill that is not registered here is a
plug-in (`fills.own`): module:name, file.py:name, or a name that an installed package has added.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from clp_aug.common.plugins import Plugin, find
from clp_aug.common.settings import fields_of, from_text
from clp_aug.contract.errors import SettingError, UsageError, listed, suggestion
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.fills.options import FillOptions
from clp_aug.fills.scene import Materials, NoBackground, Scene, compose
from clp_aug.nets.devices import CPU

if TYPE_CHECKING:
    import numpy as np

CF, F = COUNTERFACTUAL, FACTUAL
KIND_OPTIONS = {CF: "--cf", F: "--f"}


@dataclass(frozen=True)
class Fill:
    """One fill. function: the place of its function, "module:name"; kinds: those that it serves; summary: what it is;
    partner: it takes pixels from a picture of another class; everywhere: it changes the whole picture; options: the
    place of its own settings, if it has some (that module imports nothing heavy at its top: every --help imports it);
    many: for a network, the place of the function that fills many scenes at once.

    A plug-in may have functions and classes in place of places.
    """

    function: str | Callable[..., np.ndarray]
    kinds: tuple[int, ...]
    summary: str
    partner: bool = False
    everywhere: bool = False
    options: str | type[FillOptions] = ""
    many: str | Callable[..., Any] = ""

    def load(self) -> Callable[..., np.ndarray]:
        """Import and return the fill's function."""
        function: Callable[..., np.ndarray] = load_place(self.function)
        return function

    def options_class(self) -> type[FillOptions]:
        """Import and return the class of its settings, an empty class for a fill without settings."""
        kind: type[FillOptions] = load_place(self.options) if self.options else FillOptions
        return kind

    def load_many(self) -> Callable[..., Any] | None:
        """Import and return the function that fills many scenes at once, None for a fill without one."""
        function: Callable[..., Any] | None = load_place(self.many) if self.many else None
        return function


def load_place(place: str | Any) -> Any:
    """Import and return the object of "module:name"; any other object is returned as it is."""
    if not isinstance(place, str):
        return place
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


FILLS = {
    "grey": Fill("clp_aug.fills.grey:grey", (CF,), "0.5 in [0, 1], stored as 128"),
    "random": Fill("clp_aug.fills.random:random", (CF, F), "one random colour plus Gaussian noise, sigma 0.2"),
    "shuffle": Fill("clp_aug.fills.shuffle:shuffle", (CF, F), "the region's own pixels in random order"),
    "tile": Fill("clp_aug.fills.tile:tile", (CF,), "the largest background rectangle, repeated"),
    "mix-rand": Fill("clp_aug.fills.mix_rand:mix_rand", (F,), "tiled background of another class", partner=True),
    "fgsm": Fill("clp_aug.fills.fgsm:fgsm", (F,), "one l_inf gradient-sign step on the background",
        options="clp_aug.fills.fgsm:Options", many="clp_aug.fills.fgsm:fgsm_all"),
    "recolour": Fill("clp_aug.fills.recolour:recolour", (F,), "random hue and saturation", everywhere=True),
    "keep-colour": Fill("clp_aug.fills.keep_colour:keep_colour", (CF,), "another class's object", partner=True),
    "cagan": Fill("clp_aug.fills.cagan:cagan", (CF,), "contextual-attention inpainting",
        options="clp_aug.fills.cagan:Options", many="clp_aug.fills.cagan:cagan_all"),
    "telea": Fill("clp_aug.fills.telea:telea", (CF,), "OpenCV's inpainting by fast marching"),
    "lama": Fill("clp_aug.fills.lama:lama", (CF,), "LaMa's inpainting, with its network in a file",
        options="clp_aug.fills.lama:Options", many="clp_aug.fills.lama:lama_all"),
}  # fmt: skip


def plugin_of(name: str) -> Plugin | None:
    """Return the plug-in of a name, None for a registered name. Raises UsageError for an unknown name."""
    return find(FILLS, name, "fill")


def fill_of(name: str) -> Fill:
    """Return the fill of that name, registered or a plug-in. Raises UsageError if it cannot be loaded."""
    plugin = plugin_of(name)
    if plugin is None:
        return FILLS[name]
    from clp_aug.fills.own import fill_of_plugin

    return fill_of_plugin(plugin)


def check_fill(name: str, kind: int) -> None:
    """Raise UsageError unless the fill exists and serves the kind, before any picture is read."""
    option, fill = KIND_OPTIONS[kind], fill_of(name)
    if kind not in fill.kinds:
        fitting = ", ".join(sorted(n for n, other in FILLS.items() if kind in other.kinds))
        raise UsageError(f"fill {name!r} does not serve {option}: choose one of {fitting}")


@cache
def option_classes() -> dict[str, type[FillOptions]]:
    """Return the classes of the fills' own settings by fill, for registered fills with settings."""
    return {name: fill.options_class() for name, fill in FILLS.items() if fill.options}


def classes_in_use(used: Collection[str]) -> dict[str, type[FillOptions]]:
    """Return `option_classes` with those of the plug-ins in `used`. Raises UsageError if two share a name of a
    setting.
    """
    classes = dict(option_classes())
    for name in used:
        plugin = plugin_of(name)
        kind = fill_of(name).options_class()
        if plugin is None or not fields_of(kind):
            continue
        for other, theirs in classes.items():
            both = fields_of(kind).keys() & fields_of(theirs)
            if both and kind is not theirs:
                raise plugin.refuse(f"its setting {min(both)} has the same name as one of fill {other}; rename it")
        classes[name] = kind
    return classes


def read_options(given: Mapping[str, object], used: Collection[str]) -> dict[str, FillOptions]:
    """Return the settings of every fill that has some, by fill.

    given: values by the settings' names, which are unique among fills; used: the fills of the run. Raises UsageError
    for an unknown name, an invalid value, a value for a fill that is not used, and a fill without a file that it needs.
    """
    classes = classes_in_use(used)
    owners = {name: fill for fill, kind in classes.items() for name in fields_of(kind)}
    check_settings(given, owners)
    options = {
        fill: kind(**{name: value for name, value in given.items() if classes[owners[name]] is kind})
        for fill, kind in classes.items()
    }
    for name, value in given.items():
        fill = owners[name]
        if fill not in used and value != fields_of(classes[fill])[name].default:
            raise SettingError(name, value, f"only fill {fill} has this setting; add that fill, or leave the value out")
    for fill in used:
        if fill in options:
            options[fill].check_files(fill)
    return options


def check_settings(names: Collection[str], known: Collection[str]) -> None:
    """Raise UsageError for a name of a setting that no fill has."""
    for name in names:
        if name not in known:
            hint = suggestion(known, name)
            raise UsageError(f"unknown setting of a fill {name!r}: {hint}choose one of {listed(known)}")


def options_of_texts(texts: Sequence[str], used: Collection[str]) -> dict[str, object]:
    """Return settings of fills from texts "name=value", by name. used: the fills of the run.

    Raises UsageError for a name that none of them has, SettingError for text that is no value.
    """
    owners = {name: kind for kind in classes_in_use(used).values() for name in fields_of(kind)}
    pairs = {name: text for name, _, text in (pair.partition("=") for pair in texts)}
    check_settings(pairs, owners)
    return {name: from_text(owners[name], name, text) for name, text in pairs.items()}


def infill(
    name: str,
    kind: int,
    scene: Scene,
    rng: np.random.Generator,
    materials: Materials,
    options: FillOptions | None = None,
) -> tuple[np.ndarray, str]:
    """Return a copy of the scene's picture with its hole filled, uint8 (H, W, 3), and the fill that was used.

    options: the fill's own settings, by default those of its `Options`. If the box leaves no background to take pixels
    from, the hole is grey and the returned name is "grey". Raises UsageError for an unknown fill.
    """
    fill, window = fill_of(name), scene.window(kind)
    own_options = (options or fill.options_class()(),) if fill.options else ()
    try:
        infilling = fill.load()(scene, window, rng, materials, *own_options)
    except NoBackground:
        name, fill = "grey", FILLS["grey"]
        infilling = fill.load()(scene, window, rng, materials)
    return infilling if fill.everywhere else compose(scene, kind, infilling), name


def infill_all(
    name: str,
    kind: int,
    scenes: Sequence[Scene],
    rngs: Sequence[np.random.Generator],
    materials: Materials,
    options: FillOptions | None = None,
) -> list[tuple[np.ndarray, str]]:
    """Return the result of `infill` for each of some scenes of one size; a network fills them together on an
    accelerator.

    rngs: one generator per scene; materials: they say on which device networks run.
    """
    fill = fill_of(name)
    many = fill.load_many()
    if many is None or materials.device == CPU:
        return [infill(name, kind, *one, materials, options) for one in zip(scenes, rngs, strict=True)]
    windows = [scene.window(kind) for scene in scenes]
    infillings = many(scenes, windows, rngs, materials, options or fill.options_class()())
    return [
        infill("grey", kind, scene, rng, materials) if infilling is None else (compose(scene, kind, infilling), name)
        for scene, rng, infilling in zip(scenes, rngs, infillings, strict=True)
    ]
