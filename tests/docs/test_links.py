"""Links of every Markdown file lead to files and headings that there are."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {"site", "build", "dist", "demo", "runs", "shards", "bench", "data", "node_modules"}
"""Folders at the top that git ignores."""


def load(name: str) -> ModuleType:
    """Import a file of docs/site, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_site_{name}", ROOT / "docs" / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


links = load("links")


def markdown_files() -> list[Path]:
    """Return every Markdown file of the repository."""
    tops = [path for path in ROOT.iterdir() if path.name not in NOT_OURS and path.name[0] != "."]
    found = [path for top in tops if top.is_dir() for path in top.rglob("*.md")]
    found += [path for path in tops if path.suffix == ".md"] + sorted((ROOT / ".github").rglob("*.md"))
    return sorted(path for path in found if not path.is_relative_to(ROOT / "tests"))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page, as GitHub makes them of its headings, and those in HTML."""
    text = page.read_text(encoding="utf-8")
    found: dict[str, int] = {}
    for line in links.CODE.sub(lambda code: "" if "\n" in code[0] else code[0], text).splitlines():
        heading = re.match(r"^#{1,6} +(.+?)(?: +#+)? *$", line)
        if heading:
            name = slug(heading[1])
            found[name] = found.get(name, -1) + 1
    numbered = {f"{name}-{number}" for name, count in found.items() for number in range(1, count + 1)}
    return frozenset({*found, *numbered, *re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)})


def slug(heading: str) -> str:
    """Return the anchor of a heading: lower case, without marks, a hyphen for each blank."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    wrong = []
    for address in links.links(page.read_text(encoding="utf-8")):
        found = links.target(page, address)
        if found is None:
            continue
        if not found.path.exists():
            wrong.append(f"{address}: no such file")
        elif not found.path.is_relative_to(ROOT):
            wrong.append(f"{address}: outside of the repository")
        elif found.anchor and found.path.suffix == ".md" and found.anchor not in anchors(found.path):
            wrong.append(f"{address}: no such heading")
    return wrong


@pytest.mark.parametrize("page", markdown_files(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert not broken(page)


def test_the_checker_sees_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(broken.__globals__, "ROOT", tmp_path)
    (tmp_path / "b.md").write_text("# A `title`: of 2\n\n## Same\n\n## Same\n\n```\n# no heading\n```\n")
    (tmp_path / "a.md").write_text(
        "[good](b.md#a-title-of-2) [again](b.md#same-1) `[code](nowhere)` ![picture](gone.png)\n"
        '[web](https://example.org) [no heading](b.md#no-heading) <img src="lost.svg">\n\n[x]: absent.md\n'
        "\n```\n[in code](nowhere.md)\n```\n[outside](../)\n"
    )
    assert [line.partition(":")[0] for line in broken(tmp_path / "a.md")] == [
        "gone.png", "b.md#no-heading", "../", "lost.svg", "absent.md",
    ]  # fmt: skip


def test_links_of_the_site_are_led_to_where_their_files_are() -> None:
    changed = links.rewrite("[a](../x.py#L3) `[b](../x.py)` [c](https://d.e)", lambda address: address.upper())
    assert changed == "[a](../X.PY#L3) `[b](../x.py)` [c](HTTPS://D.E)"
