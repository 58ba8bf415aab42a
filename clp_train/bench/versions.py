"""Which code a run depends on: a digest of the modules it can reach and of what its preset says, not of comments.

A change to one method makes the runs of that method new, a change to what all share makes all of them new, and a
change to documentation none.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path

from clp_train import presets
from clp_train.methods import METHODS

ROOT = Path(__file__).parents[2]
PACKAGES = ("clp_aug", "clp_train")
APART = ("bench", "report", "inspecting", "fitting", "making")  # rooms that no run depends on
REGISTRY = "clp_train.methods"
ROOM = REGISTRY + "."
SHARED = ("__init__", "base", "listing", "checks")  # modules of that room that are not methods


def digest_of(what) -> str:
    """Return twelve hexadecimal digits of plain JSON."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def run_version(method: str, arguments: Iterable[str]) -> str:
    """Return a digest of the code that `clp-train` runs for a method, and of its preset if the arguments name one."""
    words = list(arguments)
    named = [value for option, value in itertools.pairwise(words) if option == "--preset"]
    settings = [[presets.read_preset(name), presets.read_method(name, method)] for name in named]
    return digest_of([code_of_run(METHODS[method].module), settings])


@lru_cache(maxsize=1)
def shard_version() -> str:
    """Return a digest of the code that `clp-augment` runs."""
    return digest_of({name: code for name, code in all_code().items() if name.startswith("clp_aug.")})


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return a digest of all the code that any run depends on."""
    return digest_of(all_code())


@cache
def code_of_run(module: str) -> str:
    """Return a digest of what a method's module and everything but the other methods and their lines consist of."""
    code, imports = dict(all_code()), all_imports()
    code[REGISTRY] = with_lines_of(module, code[REGISTRY])
    methods = {name for name in code if name.startswith(ROOM) and name.removeprefix(ROOM) not in SHARED}
    common = reached(code.keys() - reached(methods, imports), imports)
    return digest_of({name: code[name] for name in common | reached({ROOM + module}, imports)})


def with_lines_of(module: str, text: str) -> str:
    """Return the registry's source with the lines of one module alone: other methods come and go."""
    tree = ast.parse(text)
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["METHODS"]:
            lines = zip(node.value.keys, node.value.values, strict=True)
            own = [(key, value) for key, value in lines if value.args[0].value == module]
            node.value.keys, node.value.values = [key for key, _ in own], [value for _, value in own]
    return ast.unparse(tree)


@lru_cache(maxsize=1)
def all_imports() -> dict[str, set[str]]:
    """Return module -> those of the modules that it imports."""
    code = all_code()
    return {name: imports_of(text, code) for name, text in code.items()}


def reached(names: Iterable[str], imports: Mapping[str, set[str]]) -> set[str]:
    """Return the modules that some modules import, directly or through others, and themselves."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imports[name]
    return found


def imports_of(text: str, known: Iterable[str]) -> set[str]:
    """Return those of the known modules that a source imports, anywhere in it, or names in a text, as registries do."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value.partition(":")[0])
    return found & set(known)


@lru_cache(maxsize=1)
def all_code() -> dict[str, str]:
    """Return module -> source without comments and docstrings, of all but the rooms that are apart."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[1] not in APART:
                found[".".join(part for part in parts if part != "__init__")] = bare(path.read_text())
    return found


def bare(text: str) -> str:
    """Return a source as Python understands it: no comments, no texts that stand for themselves, one layout."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            node.body = [line for line in node.body if not is_text(line)] or [ast.Pass()]
    return ast.unparse(tree)


def is_text(line: ast.stmt) -> bool:
    """Whether a statement is a text alone: a docstring, or what is said of the constant above it."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
