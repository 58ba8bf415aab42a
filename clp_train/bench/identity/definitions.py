"""Facts about definitions besides their tokens: the rules of our code, scopes, parameters of calls."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from clp_train.bench.identity.names import FUNCTIONS, Names, Own, Target


@dataclass(frozen=True)
class Rules:
    """How our code looks things up, as far as its syntax does not show it.

    packages: our own packages; doors: names that are read from a module that is loaded by its name; registry:
    "module:name" of the dictionary of methods, relative names in which are below its module; documented: the function
    that declares a setting, whose second argument and `documentation` are for readers; written: classes with members
    whose names are written into files.
    """

    packages: tuple[str, ...]
    doors: tuple[str, ...]
    registry: str
    documented: str
    documentation: tuple[str, ...]
    written: tuple[str, ...]


@dataclass
class Written:
    """One definition. tokens: (text,); ("ref", place); ("member", name) and ("keyword", name), whose names are to be
    numbered if they are ours; ("parameter", name, inner), which a keyword may mean: if inner always, else if the
    definition escapes.

    members: names of those that it defines; literal: names that are known elsewhere, or stand in it as texts, so that
    they are never numbered; escapes: definitions that it does more with than call them.
    """

    tokens: list[tuple[Any, ...]] = field(default_factory=list)
    members: set[str] = field(default_factory=set)
    literal: set[str] = field(default_factory=set)
    escapes: set[Own] = field(default_factory=set)


class Scope:
    """The names of a function, a class or a comprehension. imports: name -> what it may be; local: all others."""

    def __init__(self, above: Scope | None, names: Iterable[tuple[str, Target | None]], is_class: bool = False) -> None:
        self.above, self.is_class = above, is_class
        self.local: set[str] = set()
        self.imports: dict[str, list[Target]] = {}
        self.of_module: set[str] = set()
        for name, target in names:
            if target is None:
                self.local.add(name)
            else:
                self.imports.setdefault(name, []).append(target)


def parameters(args: ast.arguments) -> list[ast.arg]:
    """Return all parameters of a function in order."""
    return [
        parameter
        for parameter in (*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg)
        if parameter
    ]


def parameters_of(names: Names, place: Own) -> list[str] | None:
    """Return the parameters of a function or of the constructor of a class, by name, None if unknown."""
    match names.unit(place).lines:
        case [ast.FunctionDef(args=args)]:
            return [parameter.arg for parameter in parameters(args)]
        case [ast.ClassDef() as kind]:
            return constructor_of(names, place.module, kind)
    return None


def constructor_of(names: Names, module: str, kind: ast.ClassDef) -> list[str] | None:
    """Return the parameters of a class's __init__, its own or that of its bases, else the names of its fields."""
    for line in kind.body:
        if isinstance(line, FUNCTIONS) and line.name == "__init__":
            return [parameter.arg for parameter in parameters(line.args)]
    targets = [line.target for line in kind.body if isinstance(line, ast.AnnAssign)]
    fields = [target.id for target in targets if isinstance(target, ast.Name)]
    inherited: list[str] = []
    for base in kind.bases:
        places = names.lookup(module, base.id) if isinstance(base, ast.Name) else []
        parameter_lists = [parameters_of(names, place) or [] for place in places if isinstance(place, Own)]
        inherited += [name for parameter_list in parameter_lists for name in parameter_list]
    return list(dict.fromkeys([*inherited, *fields])) or None


def with_module(entry: ast.expr, room: str) -> tuple[ast.expr, str]:
    """Return a line of the registry of methods with its module's whole name, and that name."""
    if not isinstance(entry, ast.Call):
        return entry, ""
    module = [*entry.args[:1], *(keyword.value for keyword in entry.keywords if keyword.arg == "module")][0]
    name = whole_name(ast.literal_eval(module), room)
    args = [ast.Constant(name) if value is module else value for value in entry.args]
    keywords = [
        ast.keyword(keyword.arg, ast.Constant(name)) if keyword.value is module else keyword
        for keyword in entry.keywords
    ]
    return ast.Call(entry.func, args, keywords), name


def whole_name(module: str, room: str) -> str:
    """Return the whole name of a method's module, which may be given relative to the room of methods."""
    return module if module.partition(".")[0] == room.partition(".")[0] else f"{room}.{module}"
