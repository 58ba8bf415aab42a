"""Fuzzed readers of what our own tools left: results, finished tables, unfinished shards; and names where they show."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from clp_aug.common.text import printable
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import folder
from tests.campaigns.inputs import picture, save
from tests.campaigns.mutations import STRINGS, Draw, bytes_changed, json_changed
from tests.campaigns.readers import Reader, is_plain
from tests.campaigns.scenarios import AUGMENTATIONS, TRAININGS, Scenario
from tests.clp_aug.builders import make_parts
from tests.forked import code_in_a_fork

HTML = "<script>alert(1)</script>"


class SpoiltError(Exception):
    """A name does not show as it should: it is eaten, cut, or does something to the terminal or the page."""


def in_a_child(scenario: Scenario, inputs: Path, out: Path, stop_at: str = "") -> None:
    """Run a command in a child, which ends at once when it is about to rename a file to a name that ends so."""
    from tests.campaigns.forks import load_commands

    replace = os.replace

    def watched(source: Any, target: Any) -> None:
        if stop_at and str(target).endswith(stop_at):
            os._exit(0)
        replace(source, target)

    def work() -> int:
        os.replace = watched  # type: ignore[assignment]
        name, *words = scenario.words(inputs, out)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        load_commands()[name].main(words, prog_name=name)
        return 1  # a command ends by leaving

    code = code_in_a_fork(work)
    if code:
        raise RuntimeError(f"{scenario.command}: ended with {code}")


def make_results(place: Path, inputs: Path) -> list[bytes]:
    """Train twice, and return the results."""
    for name in ("train-erm", "train-clp"):
        in_a_child(TRAININGS[name], inputs, place / name)
    return [(place / name / "run" / "result.json").read_bytes() for name in ("train-erm", "train-clp")]


def read_result_page(path: Path) -> object:
    """Make the page and the table of a result."""
    from clp_train.report.page import read_result, write_page
    from clp_train.report.table import accuracy_table

    result = read_result(path.parent)
    Console(file=io.StringIO(), width=120).print(accuracy_table(result))
    write_page(path.parent, path.parent / "page.html")
    return None


def read_result_for_a_table(path: Path) -> object:
    """Read a result as a row of a table, and write the table."""
    from clp_train.bench.scores import collect

    runs = small_runs(path.parent)
    results = collect([dataclasses.replace(run, folder=path.parent) for run in runs])
    return write_small_table(results, path.parent)


@functools.cache
def small_table() -> Any:
    """Return a table of two rows."""
    from clp_train.bench.spec import Column, Row, Scale, Table

    rows = {"ce": Row("CE", "erm"), "clp": Row("CLP", "clp")}
    return Table("t", "T", {"a": Column("A", "worst", cpu=Scale(("--dataset", "demo"), ()))}, rows)


@functools.cache
def small_runs(place: Path) -> Any:
    """Return the runs of that table."""
    from clp_train.bench.jobs import plan

    return plan(small_table(), "cpu", [0], place)


def write_small_table(results: list[Any], place: Path) -> object:
    """Write the table of some results, as clp-bench does, but for the figure."""
    from clp_train.bench.known import check_one_data, check_one_length
    from clp_train.bench.scores import check_splits
    from clp_train.bench.write import write_table

    check_one_data(results)
    check_one_length(results)
    check_splits(small_table(), results)
    return len(write_table(small_table(), "cpu", results, place / "written"))


def draw_result(path: Path) -> object:
    """Draw the figure of a result, which of them its bytes decide, beside that of a good result."""
    from clp_train.bench.cli import write_table_and_figure
    from clp_train.bench.figures import DRAWINGS
    from clp_train.bench.scores import collect

    folder = path.parent / "drawn"
    shutil.rmtree(folder, ignore_errors=True)
    draw = sorted(DRAWINGS)[path.stat().st_size % len(DRAWINGS)]
    table = dataclasses.replace(small_table(), draw=draw)
    places = (path.parent / "train-erm" / "run", path.parent)
    runs = [dataclasses.replace(run, folder=place) for run, place in zip(small_runs(path.parent), places, strict=True)]
    write_table_and_figure(table, "cpu", collect(runs), folder)
    return None


def make_finished_tables(place: Path, inputs: Path) -> list[bytes]:
    """Return a finished table of two runs."""
    from clp_train.bench.scores import summarise

    results = [json.loads(data) for data in make_results(place, inputs)]
    rows = [summarise(run, result) for run, result in zip(small_runs(place), results, strict=True)]
    return [json.dumps({"table": "t", "scale": "cpu", "code": "x", "runs": rows}).encode()]


def read_finished_table(path: Path) -> object:
    """Read a finished table as --extend does, and write it again."""
    from clp_train.bench.known import known_results

    return write_small_table(known_results(small_table(), "cpu", path), path.parent)


def make_unfinished(place: Path, inputs: Path) -> list[bytes]:
    """Leave a run of clp-augment unfinished, and return the files of its folder, each behind its number."""
    place.joinpath("inputs").symlink_to(inputs)
    scenario = AUGMENTATIONS["augment"]
    in_a_child(scenario, inputs, place / "whole")
    in_a_child(scenario, inputs, place / "parts", stop_at="/x.h5")
    return [bytes([number]) + path.read_bytes() for number, path in enumerate(files_of(place))]


def files_of(place: Path) -> list[Path]:
    """Return the files of the unfinished run."""
    return sorted(path for path in (place / "parts" / "x.h5.parts").iterdir() if path.is_file())


def behind_the_number(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change all but the first byte."""
    return good[:1] + bytes_changed(good[1:], [seed[1:] for seed in seeds], draw)


def resume_unfinished(path: Path) -> object:
    """Go on with a run one of whose files is damaged; return the pictures that are published."""
    from clp_aug.cli import augment

    place, data = path.parent, path.read_bytes()
    out = place / "resumed"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(place / "parts", out)
    file = files_of(place)[data[0]]
    (out / "x.h5.parts" / file.name).write_bytes(data[1:])
    words = AUGMENTATIONS["augment"].words((place / "inputs").resolve(), out)
    augment.main([*words[1:], "--resume"], standalone_mode=False)
    if (out / "x.h5").read_bytes() != (place / "whole" / "x.h5").read_bytes():
        raise SpoiltError("a damaged unfinished run was gone on with to another shard")
    return None


def make_names(place: Path, inputs: Path) -> list[bytes]:
    """Return lists of names of classes."""
    lists = (["cat", "dog"], ["[red]cat", "cup [/mug]", ":smile:"], [HTML, "a|b"], ["日本", "e\u0301"])
    return [json.dumps(names).encode() for names in lists]


def names_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change names, or take strange ones."""
    if draw.random() < 0.5:
        return json_changed(good, seeds, draw)
    return json.dumps(draw.choices(STRINGS, k=draw.choice((2, 3)))).encode()


def names_of(data: bytes) -> list[str]:
    """Return the texts of a list, none where the input is no list."""
    try:
        names = json.loads(data)
    except (ValueError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def show_names(path: Path) -> object:
    """Let names of classes go through folders, a shard, its summary and its page."""
    names = names_of(path.read_bytes())
    root = path.parent / "root"
    shutil.rmtree(root, ignore_errors=True)
    for name in names:
        if name.strip(". ") and "/" not in name and "\0" not in name:
            try:
                place = root / "train" / os.fsdecode(name.encode("utf-8", "surrogateescape"))
                save(place / "0.png", picture(0, 0, side=6))
            except (OSError, UnicodeError):
                continue
    found = folder.load(root).class_names
    parts = make_parts(0, originals=2, height=6, width=6)
    parts.header = dataclasses.replace(parts.header, class_names=tuple(found), group_names=())
    parts.tables["meta/label"][:] = len(found) - 1
    parts.tables["train/label"][:] = 0
    parts.tables["meta/group"][:] = -1
    reader = ShardReader(parts.write(path.parent / "names.h5"))
    if reader.header.class_names != tuple(found):
        raise SpoiltError(f"{found} became {reader.header.class_names}")
    show_shard(reader, path.parent / "sheet.html", found)
    return None


def show_shard(reader: ShardReader, page: Path, names: Sequence[str]) -> None:
    """Print the summary of a shard in ASCII and UTF-8, and write its page. Raises SpoiltError."""
    from clp_aug.common.terminal import never_refuse
    from clp_aug.inspecting.sheet import write_sheet
    from clp_aug.inspecting.summary import print_summary, summarise

    summary = summarise(reader)
    for encoding in ("ascii", "utf-8"):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding)
        never_refuse(stream)
        print_summary(summary, Console(file=stream, width=1000))
        stream.flush()
        text = raw.getvalue().decode(encoding)
        if not all(is_plain(line) for line in text.split("\n")):
            raise SpoiltError(f"the summary is not plain: {text!r}")
        if encoding == "utf-8" and not all(printable(name) in text for name in names[-1:] if 0 < len(name) < 50):
            raise SpoiltError(f"{names[-1]!r} is not in the summary: {text!r}")
    write_sheet(reader, page)
    if HTML in page.read_text("utf-8"):
        raise SpoiltError("the page of the shard has a name as HTML")


READERS = {
    "result-page": Reader(make_results, "result.json", json_changed, read_result_page, cost=8),
    "result-in-table": Reader(make_results, "result.json", json_changed, read_result_for_a_table, cost=5),
    "result-in-figure": Reader(make_results, "result.json", json_changed, draw_result, cost=250),
    "finished-table": Reader(make_finished_tables, "table.json", json_changed, read_finished_table, cost=4),
    "unfinished-shard": Reader(make_unfinished, "x", behind_the_number, resume_unfinished, cost=43),
    "names": Reader(make_names, "x.json", names_changed, show_names, cost=40),
}
