"""Pages of the documentation as scripts: their blocks of code, and the commands in them. See docs/site/README.md."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    "clp-augment", "clp-inspect", "clp-fit", "clp-data", "clp-train", "clp-predict", "clp-audit", "clp-compare",
    "clp-bench", "make", "pip", "python", "python3", "torchrun",
)  # fmt: skip
MARKER = re.compile(r"^\s*<!-- (not run|setup|file|exit code): (.+?) -->\s*$")
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+)(?P<language>[\w-]*)[^`]*$")
INDENTED = re.compile(r"^ {4,}\S")
ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
COMPLETION = re.compile(r"_CLP_\w+_COMPLETE=")
"""Before a command: click makes it print a script for the shell, and nothing else."""
BEFORE = {"time", "env", "do", "then", "else", "if", "while", "nohup", "srun", "exec", "!", "{", "("}
OPERATORS = {"&&", "||", "|", ";", "&", ";;", "(", ")", "|&"}


@dataclass(frozen=True)
class Block:
    """A block of code. line: of its first line of code, from 1; markers: what was said of it, key -> values."""

    page: Path
    line: int
    language: str
    code: str
    fenced: bool
    markers: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_shell(self) -> bool:
        """Whether it is a script of the page."""
        return self.fenced and self.language == "sh"

    @property
    def not_run(self) -> str:
        """Why it is not run; empty where it is."""
        return self.markers.get("not run", [""])[0]

    @property
    def place(self) -> str:
        """Return page and line, for messages."""
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def documented() -> list[Path]:
    """Return the pages that may show commands: README and docs, without what speaks of the pages themselves."""
    docs = [path for path in (ROOT / "docs").rglob("*.md") if not path.is_relative_to(ROOT / "docs" / "site")]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(docs)]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of code of a page, in order; fenced ones and indented ones."""
    found: list[Block] = []
    markers: dict[str, list[str]] = {}
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        line, opened, marker = lines[at], FENCE.match(lines[at]), MARKER.match(lines[at])
        if marker:
            markers.setdefault(marker[1], []).append(marker[2])
        elif opened:
            end = at + 1
            while end < len(lines) and lines[end].strip() != opened["fence"]:
                end += 1
            code = [text.removeprefix(opened["indent"]) for text in lines[at + 1 : end]]
            found.append(Block(page, at + 2, opened["language"], "\n".join(code) + "\n", True, markers))
            markers, at = {}, end
        elif INDENTED.match(line) and not lines[at - 1].strip() and not is_in_list(lines, at):
            end = at
            while end < len(lines) and (INDENTED.match(lines[end]) or not lines[end].strip()):
                end += 1
            code = [text[4:] for text in lines[at:end]]
            found.append(Block(page, at + 1, "", "\n".join(code).rstrip("\n") + "\n", False, markers))
            markers, at = {}, end - 1
        elif line.strip() and "setup" not in markers:
            markers = {}
        at += 1
    return found


def is_in_list(lines: list[str], at: int) -> bool:
    """Whether an indented line goes on with an entry of a list, and is no code."""
    above = next((line for line in reversed(lines[:at]) if line.strip() and not line.startswith("  ")), "")
    return bool(re.match(r"^ {0,3}([-*+]|\d+\.) ", above))


def commands(code: str) -> list[list[str]]:
    """Return the words of every command of TOOLS in a shell script; redirections and comments are left out.

    Raises ValueError for a quote that does not end.
    """
    found: list[list[str]] = []
    for line in re.sub(r"\\\n\s*", " ", code).splitlines():
        for words in simple_commands(line):
            if any(COMPLETION.match(word) for word in words):
                continue
            while words and (ASSIGNMENT.match(words[0]) or words[0] in BEFORE):
                words = words[1:]
            if words and words[0].rpartition("/")[2] in TOOLS:
                found.append([words[0].rpartition("/")[2], *words[1:]])
    return found


def simple_commands(line: str) -> list[list[str]]:
    """Return a line's commands as words, parted by pipes and the like, without redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    parts: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if skip:
            skip = False
        elif word in OPERATORS:
            parts.append([])
        elif set(word) <= set("<>&"):
            skip = True
            if parts[-1] and parts[-1][-1] in ("1", "2"):
                parts[-1].pop()
        else:
            parts[-1].append(word)
    return parts
