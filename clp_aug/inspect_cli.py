"""clp-inspect: parse, call, print. Heavy imports wait until it runs."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Any

import click

from clp_aug import __version__
from clp_aug.common.command import Tool
from clp_aug.common.options import CONTEXT, PATH
from clp_aug.common.plugins import is_code
from clp_aug.common.terminal import bar_for, one_line_errors, progress_bars, quote, say
from clp_aug.contract.schema import AUDIT, KINDS, ORIGINAL
from clp_aug.datasets import registered


@click.command(cls=Tool, context_settings=CONTEXT)
@click.argument("shard", type=PATH)
@click.option("--html", type=PATH, help="Write one self-contained page of pictures to look at.")
@click.option(
    "--rows", type=click.IntRange(1), default=200, help="Number of originals on the page, a sample over all classes."
)
@click.option("--verify", is_flag=True, help="Read every picture and compare every checksum.")
@click.option("--json", is_flag=True, help="Print the summary as JSON.")
@click.version_option(__version__)
@one_line_errors("the shard is untouched")
def inspect(shard: Path, html: Path | None, rows: int, verify: bool, json: bool) -> None:
    """Show what a shard holds, after checks that make an untrusted file safe to read."""
    from clp_aug.contract.shards import ShardReader
    from clp_aug.inspecting.sheet import write_sheet
    from clp_aug.inspecting.summary import print_summary, summarise

    reader = ShardReader(shard)
    with progress_bars(quiet=not verify) as bars:
        summary = summarise(reader, verify, lambda stage, total: bar_for(bars, stage, total))
    shown = 0 if html is None else write_sheet(reader, html, rows)
    if json:
        click.echo(json_module.dumps(summary))
        return
    print_summary(summary)
    path = quote(shard)
    training, originals = next_of(path, summary), summary["kinds"].get(KINDS[ORIGINAL], 0)
    if html is not None:
        of = f" ({shown:,} of {originals:,} originals)" if shown < originals else ""
        say(f"{html}{of}; open it in a browser; next: {training}")
    else:
        say(f"next: clp-inspect {path} --html sheet.html, or {training}")


def next_of(path: str, summary: dict[str, Any]) -> str:
    """Return the command that a shard is made for."""
    if AUDIT in summary["settings"]:
        return f"clp-audit MODEL --meta {path}"
    name = summary["dataset"]
    if is_code(name, "data set"):
        return f"clp-train --meta {path} --dataset {quote(name)}"
    return f"clp-train --meta {path}" + (" --root DIR" if registered(name) in ("folder", "table", "wds") else "")
