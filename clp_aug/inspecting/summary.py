"""The text summary of a shard: its content in numbers."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clp_aug.common.text import printable
from clp_aug.contract import boxes, schema
from clp_aug.contract.shards import ShardReader, untold

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
MIB = 1 << 20
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
INDENT = 16  # columns of the labels
SETTING_SHOWN = 20  # shown values of a setting: more than the number of fills
SHOWN = 6  # names per line of the text summary, before "and 94 more"


def group_name(header: schema.Header, group: int) -> str:
    """Return the name of a group index: "unknown" for -1, its number if the shard has no names of groups."""
    if group == schema.UNKNOWN_GROUP:
        return "unknown"
    return header.group_names[group] if header.group_names else f"group {group}"


def unshown(stage: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Show no progress."""
    return nullcontext(untold)


def summarise(reader: ShardReader, verify: bool = False, progress: Progress = unshown) -> dict[str, Any]:
    """Return the summary of a shard as plain JSON; areas are fractions of the picture, in [0, 1].

    verify: read every picture once and add "sha256" of the file; raises InputError for the first damaged picture.
    progress: (stage, pictures, or MiB of the file) -> context whose value is called with the amount done since the last
    call.
    """
    header, tables = reader.header, reader.tables
    height, width = reader.shape[1:3]
    original = tables["meta/kind"] == schema.ORIGINAL
    groups = [group_name(header, int(g)) for g in np.unique(tables["meta/group"])]
    numbered = np.unique(tables["meta/group"], return_inverse=True)[1]
    summary = {
        "name": reader.path.name,
        "file_bytes": reader.path.stat().st_size,
        "schema": header.clp_schema,
        "tool_version": header.tool_version,
        "dataset": header.dataset,
        "fingerprint": header.fingerprint,
        "seed": header.seed,
        "height": height,
        "width": width,
        "pictures": len(reader),
        "kinds": _counts(tables["meta/kind"], schema.KINDS),
        "fills": _counts(tables["meta/fill"][~original], header.fills),
        "classes": _counts(tables["meta/label"][original], header.class_names),
        "groups": _counts(numbered[original], groups),
        "meta_outcomes": _counts(tables["meta/outcome"][original], schema.OUTCOMES),
        "meta_box_sources": _counts(tables["meta/box_source"][original], header.box_sources),
        "meta_fallback_share": fallen_share(tables["meta/box_source"][original]),
        "meta_area_quantiles": _quantiles(tables["meta/box"][original], height * width),
        "train_boxes": len(tables["train/box"]),
        "train_outcomes": _counts(tables["train/outcome"], schema.OUTCOMES),
        "train_box_sources": _counts(tables["train/box_source"], header.box_sources),
        "train_fallback_share": fallen_share(tables["train/box_source"]),
        "train_area_median": _quantiles(tables["train/box"], height * width).get("0.5"),
        "mattes": reader.mattes,
        "matte": header.matte,
        "settings": header.settings,
    }
    if verify:
        with progress("VERIFY pictures", reader.stored) as advance:
            reader.verify(advance)
        with progress("sha256 of the file, MiB", -(-reader.path.stat().st_size // MIB)) as advance:
            summary["sha256"] = _sha256(reader.path, advance)
    return summary


def _sha256(path: Path, advance: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(MIB):
            digest.update(block)
            advance(1)
    return digest.hexdigest()


def _counts(values: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    """Count each index by name. Names without a count are left out; counts of equal names are added."""
    counts: dict[str, int] = {}
    for index, n in zip(*np.unique(values, return_counts=True), strict=True):
        counts[names[index]] = counts.get(names[index], 0) + int(n)
    return counts


def fallen_share(sources: np.ndarray) -> float:
    """Return the share of boxes from another matte than the chosen one (source 0). sources: uint8 (n,)."""
    return round(float(np.mean(sources != 0)), 6) if sources.size else 0.0


def _quantiles(table: np.ndarray, pixels: int) -> dict[str, float]:
    if not len(table):
        return {}
    values = np.quantile(boxes.area(table) / pixels, QUANTILES)
    return {str(q): round(float(v), 6) for q, v in zip(QUANTILES, values, strict=True)}


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print the summary in two aligned columns; plain if the console (default: standard output) is no terminal."""
    from rich.text import Text

    from clp_aug.common.consoles import PlainConsole

    console = console or PlainConsole()
    for label, value in lines(summary):
        first, *more = textwrap.wrap(printable(value), max(20, console.width - INDENT)) or [""]
        console.print(Text.assemble((label.ljust(INDENT), "bold"), first), soft_wrap=True)
        for line in more:
            console.print(Text(" " * INDENT + line), soft_wrap=True)


def lines(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the label and the text of each line of the summary."""
    s = summary
    median = "" if s["train_area_median"] is None else f", median area {_percent(s['train_area_median'])}"
    quantiles = " / ".join(f"{100 * v:.1f}" for v in s["meta_area_quantiles"].values())
    out = [
        ("Shard", f"{s['name']}, {_size(s['file_bytes'])}"),
        ("Data set", f"{s['dataset']}, {s['width']} x {s['height']} pixels, fingerprint {s['fingerprint'][:12]}"),
        ("Meta pictures", _listed(s["kinds"])),
        ("Fills", _listed(s["fills"])),
        ("Classes", _listed(s["classes"])),
        ("Groups", _listed(s["groups"])),
        ("Meta boxes", f"{_listed(s['meta_outcomes'])}; from {_listed(s['meta_box_sources'])}"),
        ("Meta box area", f"{quantiles} % (min, quartiles, max)"),
        ("Train boxes", f"{s['train_boxes']:,}{median}"),
        ("Train outcomes", f"{_listed(s['train_outcomes'])}; from {_listed(s['train_box_sources'])}"),
        ("Fallbacks", f"{_percent(s['meta_fallback_share'])} of meta, {_percent(s['train_fallback_share'])} of train"),
        ("Matte", ", ".join(f"{k} {v}" for k, v in s["matte"].items() if v) or "not named"),
        ("Settings", ", ".join(f"{k} {_value(v)}" for k, v in s["settings"].items() if v not in (None, "")) or "none"),
        ("Made by", f"clp-augment {s['tool_version']}, seed {s['seed']}, schema {s['schema']}"),
    ]
    if "sha256" in s:
        out.append(("Verified", f"all {s['pictures']:,} pictures and {s['mattes']:,} mattes"))
        out.append(("sha256", s["sha256"]))
    return out


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _listed(counts: dict[str, int]) -> str:
    """Return "ring 20, cross 20", or the first few and the range of the rest."""
    if not counts:
        return "none"
    items = [f"{name} {n:,}" for name, n in counts.items()]
    if len(items) <= SHOWN:
        return ", ".join(items)
    rest = list(counts.values())[SHOWN:]
    return f"{', '.join(items[:SHOWN])} and {len(rest)} more of {min(rest):,} to {max(rest):,}"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_value(one)}" for name, one in value.items()) + ")"
    if not isinstance(value, list):
        return str(value)
    more = f" and {len(value) - SETTING_SHOWN} more" if len(value) > SETTING_SHOWN else ""
    return "+".join(map(str, value[:SETTING_SHOWN])) + more


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
