"""Hooks of mkdocs: the menu from the folders, and linked files of the repository that are not under docs/."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from links import linked_files, rewrite, target

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OUTSIDE = "repository"
"""Folder of the site that holds the files that are not under docs/."""
SECTIONS = {
    "Tutorials": ("tutorials", ("own-folder", "waterbirds", "long-tail", "noise", "own-loop", "own-method", "cluster")),
    "How-to": ("how-to", ()),
    "Reference": ("reference", ("index",)),
    "Explanation": ("explanation", ("algorithm", "what-makes-clp-work", "choices", "audit")),
    "Samples": ("samples", ("README", "index")),
}
"""Title -> (folder, pages that come first); all other pages of the folder follow in the order of their names."""
SUBSECTIONS = {"commands": "Commands", "api": "Python"}
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".cfg": "ini", ".csv": "text", "": "text"}
COPIED = {".png", ".svg", ".jpg", ".html", ".gif", ".pdf"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the menu: a section for each folder, a page for each file; titles come from the first heading."""
    menu: list[Any] = [{"Home": "index.md"}] if (DOCS / "index.md").exists() else []
    for title, (folder, first) in SECTIONS.items():
        entries: list[Any] = pages_of(folder, first)
        for name, subtitle in SUBSECTIONS.items():
            inner = pages_of(f"{folder}/{name}", ("index",))
            entries += [{subtitle: inner}] if inner else []
        if entries:
            menu.append({title: entries})
    config.nav = menu
    return config


def first_pages(folder: str) -> tuple[str, ...]:
    """Return the pages of a folder that come first."""
    return next((first for name, first in SECTIONS.values() if name == folder), ())


def pages_of(folder: str, first: tuple[str, ...]) -> list[str]:
    """Return the pages of a folder of docs/, as mkdocs names them, some of them first."""
    stems = sorted(path.stem for path in (DOCS / folder).glob("*.md"))
    ordered = [stem for stem in first if stem in stems] + [stem for stem in stems if stem not in first]
    return [f"{folder}/{stem}.md" for stem in ordered]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each file outside docs/ that a page links to: Markdown as it is, code as a page, pictures copied."""
    from mkdocs.structure.files import File, InclusionLevel

    pages = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    for path in linked_files(pages, ROOT):
        if path.is_relative_to(DOCS):
            continue
        name, content = place_of(path), None
        if name.endswith(".md") and path.suffix != ".md":
            content = listing(path) if path.is_dir() else source_page(path)
        if content is None:
            file = File.generated(config, name, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
        else:
            file = File.generated(config, name, content=content, inclusion=InclusionLevel.NOT_IN_NAV)
        files.append(file)
    return files


def place_of(path: Path) -> str:
    """Return where on the site a file or folder outside docs/ is."""
    name = f"{OUTSIDE}/{path.relative_to(ROOT).as_posix()}"
    if path.is_dir():
        return f"{name}/files-of-this-folder.md"
    return name if path.suffix in COPIED or path.suffix == ".md" else f"{name}.md"


def source_page(path: Path) -> str:
    """Return a page that shows a text file."""
    fence = "~~~~~~"
    text = path.read_text(encoding="utf-8").rstrip("\n")
    return f"# {path.relative_to(ROOT).as_posix()}\n\n{fence}{LANGUAGES.get(path.suffix, 'text')}\n{text}\n{fence}\n"


def listing(path: Path) -> str:
    """Return a page that names what is in a folder."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir() if entry.name[0] not in "._")
    return "\n".join([f"# {path.relative_to(ROOT).as_posix()}/", "", *(f"- `{name}`" for name in names), ""])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files outside docs/ to their place on the site, and links of such files back."""
    name = page.file.src_uri
    inside = not name.startswith(f"{OUTSIDE}/")
    source = DOCS / name if inside else ROOT / name.removeprefix(f"{OUTSIDE}/")

    def moved(address: str) -> str:
        found = target(source, address)
        if found is None or not found.path.exists() or not found.path.is_relative_to(ROOT):
            return address
        if inside and found.path.is_relative_to(DOCS) and not found.path.is_dir():
            return address
        if found.path.is_relative_to(DOCS):
            place = found.path.relative_to(DOCS).as_posix()
            place = pages_of(place, first_pages(place))[0] if found.path.is_dir() else place
        else:
            place = place_of(found.path)
        relative = os.path.relpath(place, os.path.dirname(name)).replace(os.sep, "/")
        return relative + (f"#{found.anchor}" if found.anchor else "")

    return rewrite(markdown, moved)
