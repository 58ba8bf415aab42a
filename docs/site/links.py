"""Links of a Markdown page: found outside code, and resolved to a file of the repository."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

INLINE = re.compile(
    r"(!?\[(?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*\]\(\s*<?)([^)\s>]+)(>?(?:\s+\"[^\"]*\"|\s+'[^']*')?\s*\))"
)
HTML = re.compile(r"(<(?:a|img|source|iframe)\b[^>]*?\b(?:href|src)=\")([^\"]+)(\")")
DEFINITION = re.compile(r"^( {0,3}\[[^\]]+\]:\s*<?)([^\s>]+)(>?.*)$", re.M)
FORMS = (INLINE, HTML, DEFINITION)
CODE = re.compile(
    r"^(?P<fence> *(?:```+|~~~+))[^\n]*\n.*?^(?P=fence)[ \t]*$|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.S | re.M
)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.I)


class Target(NamedTuple):
    """Where a link leads. path: file or folder, absolute; anchor: the part after #, empty without one."""

    path: Path
    anchor: str


def rewrite(text: str, change: Callable[[str], str]) -> str:
    """Return Markdown with the address of every link changed; code is left alone."""
    kept: list[str] = []

    def hide(code: re.Match[str]) -> str:
        kept.append(code[0])
        return f"\0{len(kept) - 1}\0"

    text = CODE.sub(hide, text)
    for form in FORMS:
        text = form.sub(lambda found: found[1] + change(found[2]) + found[3], text)
    while "\0" in text:
        text = re.sub("\0(\\d+)\0", lambda found: kept[int(found[1])], text)
    return text


def links(text: str) -> list[str]:
    """Return the address of every link of a Markdown text, in the order of their forms."""
    found: list[str] = []

    def note(address: str) -> str:
        found.append(address)
        return address

    rewrite(text, note)
    return found


def target(page: Path, address: str) -> Target | None:
    """Return where an address on a page leads, None for one that leaves the repository's files (a web address)."""
    if ELSEWHERE.match(address):
        return None
    path, _, anchor = address.partition("#")
    place = os.path.normpath(page.parent / unquote(path)) if path else page
    return Target(Path(place), unquote(anchor))


def linked_files(pages: list[Path], root: Path) -> Iterator[Path]:
    """Yield every file and folder under root that pages link to, also by way of other Markdown files, once each.

    Folders are yielded as they are; what does not exist is left out.
    """
    seen, waiting = set(pages), list(pages)
    while waiting:
        page = waiting.pop()
        for address in links(page.read_text(encoding="utf-8")):
            found = target(page, address)
            if found is None or found.path in seen or not found.path.exists() or not found.path.is_relative_to(root):
                continue
            seen.add(found.path)
            yield found.path
            if found.path.suffix == ".md":
                waiting.append(found.path)
