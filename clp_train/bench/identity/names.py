"""The meaning of names in a tree of our code: its modules, split into definitions, and the targets of their imports.

Code is parsed, not imported, so a copy of the tree or an older tree can be read too. A definition is the meaning of one
name of a module: a function, a class, or all the lines that give a constant its value.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
EFFECTS = ""  # name of the effects of a module besides its definitions


class Target(NamedTuple):
    """The target of an import: a module, and a name in it, empty for the module itself."""

    module: str
    name: str = ""


class Outside(NamedTuple):
    """Something that is not ours, by its whole name; or a name that one of our modules does not define."""

    path: str


class Whole(NamedTuple):
    """One of our modules."""

    module: str


class Own(NamedTuple):
    """One of our definitions: its module, its first name there, and the index of the meant name."""

    module: str
    name: str
    place: int = 0


Place = Outside | Whole | Own


@dataclass
class Unit:
    """One definition: its names in the order of its lines; the lines bind or fill these names."""

    names: list[str]
    lines: list[ast.stmt] = field(default_factory=list)


@dataclass
class Module:
    """One module. package: what its relative imports start from; units: name -> its definition; imports: name -> where
    it may come from.
    """

    package: str = ""
    units: dict[str, Unit] = field(default_factory=dict)
    imports: dict[str, list[Target]] = field(default_factory=dict)


class Names:
    """The modules of some packages below a folder, and the meaning of their names."""

    def __init__(self, root: Path, packages: Sequence[str]) -> None:
        self.packages, self.modules = tuple(packages), {}
        for path in (path for package in packages for path in sorted((root / package).rglob("*.py"))):
            parts = path.relative_to(root).with_suffix("").parts
            name, is_package = ".".join(part for part in parts if part != "__init__"), parts[-1] == "__init__"
            self.modules[name] = module_of(path.read_text("utf-8"), name if is_package else name.rpartition(".")[0])
        self.folders = {name.rsplit(".", n)[0] for name in self.modules for n in range(1, name.count(".") + 1)}

    def unit(self, place: Own) -> Unit:
        """Return the lines of a definition."""
        return self.modules[place.module].units[place.name]

    def is_ours(self, module: str) -> bool:
        """Return whether a dotted name is a module or a package of the tree."""
        return module in self.modules or module in self.folders

    def lookup(self, module: str, name: str, trail: frozenset[tuple[str, str]] = frozenset()) -> list[Place]:
        """Return the meaning of a name in one of our modules; empty for an unknown name."""
        entry = self.modules.get(module, Module())
        places: list[Place] = []
        if name in entry.units:
            unit = entry.units[name]
            places.append(Own(module, unit.names[0], unit.names.index(name)))
        if (module, name) not in trail:
            for target in entry.imports.get(name, ()):
                places += self.places(target, trail | {(module, name)})
        submodule = f"{module}.{name}"
        return list(dict.fromkeys(places)) or ([Whole(submodule)] if self.is_ours(submodule) else [])

    def places(self, target: Target, trail: frozenset[tuple[str, str]] = frozenset()) -> list[Place]:
        """Return the places that an import leads to, through modules that import it in turn."""
        if target.module.partition(".")[0] not in self.packages:
            return [Outside(".".join(filter(None, target)))]
        if not target.name:
            return [Whole(target.module)]
        return self.lookup(target.module, target.name, trail) or [Outside(target.name)]

    def chain(self, places: Iterable[Place], attributes: list[str]) -> list[tuple[Place, list[str]]]:
        """Follow attributes from module to module; return each place with the attributes that are left."""
        ends: list[tuple[Place, list[str]]] = []
        for place in places:
            if isinstance(place, Outside):
                ends.append((Outside(".".join([place.path, *attributes])), []))
            elif isinstance(place, Whole) and attributes:
                onward = self.lookup(place.module, attributes[0]) or [Outside(attributes[0])]
                ends += self.chain(onward, attributes[1:])
            else:
                ends.append((place, attributes))
        return ends

    def resolve(self, text: str) -> tuple[Place, str] | None:
        """Return what a text "our.module" or "our.module:rest" names, and the rest that is no name of the module."""
        module, _, rest = text.partition(":")
        if "." not in module or not self.is_ours(module):
            return None
        places = self.lookup(module, rest) if rest else []
        return (places[0], "") if places else (Whole(module), rest)

    def definition(self, text: str) -> Own:
        """Return the definition "module:name". Raises LookupError if there is none."""
        reference = self.resolve(text)
        if reference is None or not isinstance(reference[0], Own):
            raise LookupError(f"no definition {text}; mend the constant that names it")
        return reference[0]


@lru_cache(maxsize=4096)
def module_of(text: str, package: str) -> Module:
    """Parse a module and sort its lines by the names they define; package as in `Module`."""
    module, effects = Module(package), Unit([EFFECTS])
    for line in (part for whole in ast.parse(text).body for part in split(whole)):
        names = []
        for name, target in bindings(line, package):
            if target is not None:
                module.imports.setdefault(name, []).append(target)
            elif name not in names:
                names.append(name)
        names += [name for name in changed_names(line) if name in module.units and name not in names]
        if names:
            join(module, names).lines.append(line)
        elif does_something(line):
            effects.lines.append(line)
    if effects.lines:
        module.units[EFFECTS] = effects
    return module


def join(module: Module, names: list[str]) -> Unit:
    """Return one definition of some names, merged from the definitions that they were part of."""
    units = list({id(module.units[name]): module.units[name] for name in names if name in module.units}.values())
    unit = units[0] if units else Unit([])
    for other in units[1:]:
        unit.names += other.names
        unit.lines += other.lines
    unit.names += [name for name in names if name not in unit.names]
    module.units |= dict.fromkeys(unit.names, unit)
    return unit


def split(line: ast.stmt) -> list[ast.stmt]:
    """Return `A, B = 1, 2` as two lines, any other line as it is."""
    match line:
        case ast.Assign([ast.Tuple(names)], ast.Tuple(values)) if len(names) == len(values):
            if not any(isinstance(part, ast.Starred) for part in (*names, *values)):
                return [ast.Assign([name], value) for name, value in zip(names, values, strict=True)]
    return [line]


def does_something(line: ast.stmt) -> bool:
    """Return whether a line that binds no name may still have an effect when its module is imported."""
    match line:
        case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Expr(ast.Constant()):
            return False
        case ast.If(test) if {"TYPE_CHECKING", "__name__"} & {getattr(n, "id", "") for n in ast.walk(test)}:
            return False
        case ast.If() | ast.Try():
            return any(map(does_something, [*line.body, *line.orelse]))
    return True


def changed_names(line: ast.stmt) -> Iterator[str]:
    """Yield the names of objects that a line changes: X of `X[1] = 2` and of `X.y = 2`."""
    for node in ast.walk(line):
        if isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(node.ctx, ast.Load):
            base = node.value
            while isinstance(base, (ast.Subscript, ast.Attribute)):
                base = base.value
            if isinstance(base, ast.Name):
                yield base.id


def bindings(node: ast.AST, package: str = "") -> Iterator[tuple[str, Target | None]]:
    """Yield the names that a node binds in its own scope, imported names with their targets."""
    match node:
        case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
            yield name, None
        case ast.Import(names):
            for alias in names:
                yield (
                    alias.asname or alias.name.partition(".")[0],
                    Target(alias.name if alias.asname else alias.name.split(".")[0]),
                )
        case ast.ImportFrom(module, names, level):
            start = package.rsplit(".", level - 1)[0] if level else ""
            for alias in names:
                yield alias.asname or alias.name, Target(".".join(filter(None, (start, module))), alias.name)
        case ast.Lambda():
            return
        case _ if isinstance(node, COMPREHENSIONS):
            for part in ast.walk(node):
                if isinstance(part, ast.NamedExpr):
                    yield part.target.id, None
        case _:
            yield from ((name, None) for name in own_names(node))
            for child in ast.iter_child_nodes(node):
                yield from bindings(child, package)


def own_names(node: ast.AST) -> list[str]:
    """Return the names that a node itself binds, without its children."""
    match node:
        case ast.Name(name, ast.Store() | ast.Del()):
            return [name]
        case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name) if name:
            return [name]
        case ast.MatchMapping(rest=name) if name:
            return [name]
    return []
