"""The presets that come with the package as a table, for `clp-train --list-presets` and docs/reference/presets.md."""

from __future__ import annotations

import textwrap

from clp_aug.common.text import in_markdown, table_in_markdown
from clp_train.presets import load_preset, names, read_file

COLUMNS = ("preset", "what it is for", "data sets", "length", "device")
FIRST = ("demo", "spurious-background")
"""The presets that most runs begin with: they come first."""
ANY = "any"
"""Of data sets and devices: the preset is for all of them."""
WIDTH, INDENT = 100, "    "
INTRODUCTION = """# Presets

Every name that `clp-train --preset` takes: named settings that come with the package. Without `--preset`, a run takes
the preset that fits its shard and its device, and says which; `--preset none` takes the plain defaults. Options of the
command line count before a preset. The device is the one that the length was chosen for: a preset for a CPU also runs
on a GPU, and the other way round. A preset of your own is a TOML file, given by its path; it may begin with
`extends = "NAME"`. `clp-train --list-presets --markdown` writes this page.
"""


def presets_table(markdown: bool = False) -> str:
    """Return what each preset is for, two lines or three a preset; or the page of the docs."""
    rows = [row(name) for name in in_order()]
    if markdown:
        page = [(f"[`{name}`](../../clp_train/presets/{name}.toml)", *map(in_markdown, rest)) for name, *rest in rows]
        return "\n".join([INTRODUCTION, *table_in_markdown(COLUMNS, page)])
    return "\n".join(line for cells in rows for line in entry(*cells))


def entry(name: str, what: str, data: str, length: str, device: str) -> list[str]:
    """Return the lines of one preset for the terminal."""
    place = "any device" if device == ANY else f"for a {device}"
    lines = (what, f"Data sets: {data}.")
    wrapped = [textwrap.wrap(line, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT) for line in lines]
    return [f"{name}  [{length}; {place}]", *(part for lines in wrapped for part in lines)]


def in_order() -> list[str]:
    """Return the names of all presets, those of FIRST before the others."""
    return [*FIRST, *(name for name in names() if name not in FIRST)]


def row(name: str) -> tuple[str, ...]:
    """Return the cells of one preset as text."""
    preset, content = load_preset(name), read_file(name)[1]
    data = ", ".join(preset.data.get("dataset", [ANY]))
    more = [f"{key} {value}" for key, value in preset.data.items() if key != "dataset"]
    settings = preset.settings
    head = "head on " if settings.get("trainable") == "head" else ""
    length = f"{head}{settings['model']}, {settings['epochs']} epochs"
    return name, str(content["about"]), ", ".join([data, *more]), length, str(content["device"])


def summary(name: str) -> str:
    """Return in one sentence what a preset that comes with the package is for."""
    return str(read_file(name)[1]["about"])
