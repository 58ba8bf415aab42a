"""The words of a definition: each name means another definition, a local, a member, or something foreign."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager

from clp_train.bench.identity.definitions import Rules, Scope, Written
from clp_train.bench.identity.names import Names, Outside, Own, Place

HARMLESS = ("builtins.object", "typing.NamedTuple", "typing.Generic", "typing.Protocol", "abc.ABC")
ERRORS = ("Error", "Exception", "Interrupt")
"""Bases, and ends of names of bases, that do not look for our names."""


class Words:
    """The text of one definition so far, and the meaning of names at the present place."""

    def __init__(self, names: Names, rules: Rules, place: Own) -> None:
        self.names, self.rules, self.place = names, rules, place
        self.scope: Scope | None = None
        self.numbers: dict[tuple[Scope, str], int] = {}
        self.is_literal = False  # others know the names of members, so they are not numbered
        self.definition = Written()

    def say(self, *texts: str) -> None:
        """Write texts down."""
        self.definition.tokens += [(text,) for text in texts]

    def member(self, name: str, is_definition: bool = False) -> None:
        """Write the name of a member down. is_definition: it is defined here, so it is ours unless others know it."""
        self.definition.tokens.append(("member", name))
        if is_definition:
            (self.definition.literal if self.is_literal else self.definition.members).add(name)

    def refer(self, place: Place, escapes: bool = True) -> None:
        """Write down something that is not local. escapes: whether it is used in other ways than a call."""
        if isinstance(place, Outside):
            self.say(f"outside {place.path}")
        elif isinstance(place, Own):
            self.definition.tokens.append(("ref", place))
            if escapes and place[:2] != self.place[:2]:
                self.definition.escapes.add(place._replace(place=0))
        else:
            self.say("module")
            for door in self.rules.doors:
                for target in self.names.lookup(place.module, door):
                    self.say(f"door {door}")
                    self.refer(target)

    def places(self, name: str) -> list[Place] | Scope:
        """Return the meaning of a name here: places, or the scope that it is local to."""
        scope = self.scope
        while scope is not None and name not in scope.of_module:
            if not scope.is_class or scope is self.scope:
                if name in scope.imports:
                    return [place for target in scope.imports[name] for place in self.names.places(target)]
                if name in scope.local:
                    return scope
            scope = scope.above
        return self.names.lookup(self.place.module, name) or [Outside(f"builtins.{name}")]

    def chain(self, node: ast.AST) -> list[tuple[Place, list[str]]]:
        """Return the places that `a.b.c` leads to, each with the remaining attributes; empty if unknown."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        places = self.places(node.id) if isinstance(node, ast.Name) else []
        return [] if isinstance(places, Scope) else self.names.chain(places, attributes)

    def callee(self, node: ast.AST) -> Place | None:
        """Return the place of a called expression, None if unknown."""
        ends = self.chain(node)
        return ends[0][0] if len(ends) == 1 and not ends[0][1] else None

    def name(self, name: str, escapes: bool = True) -> None:
        """Write a plain name down."""
        meaning = self.places(name)
        if not isinstance(meaning, Scope):
            for place in meaning:
                self.refer(place, escapes)
        elif meaning.is_class:
            self.member(name, is_definition=True)
            for place in self.names.lookup(self.place.module, name):  # `step = step` in a class reads the module's
                self.refer(place, escapes)
        else:
            self.say(f"local {self.numbers.setdefault((meaning, name), len(self.numbers))}")

    def write_binding(self, name: str | None) -> None:
        """Write down a name that a node binds, None for none."""
        self.say("as") if name is None else self.name(name, escapes=False)

    @contextmanager
    def enter_scope(self, scope: Scope) -> Iterator[None]:
        """Go into a scope for a while."""
        before, self.scope = self.scope, scope
        yield
        self.scope = before

    def is_known(self, node: ast.ClassDef) -> bool:
        """Return whether others know a class's members by name: it has a foreign base, or is written into files."""
        if self.scope is None and f"{self.place.module}:{node.name}" in self.rules.written:
            return True
        return any(map(self.is_foreign, node.bases))

    def is_foreign(self, base: ast.expr) -> bool:
        """Return whether a class's base looks for names that the class defines."""
        while isinstance(base, ast.Subscript):  # Generic[T]
            base = base.value
        place = self.callee(base)
        if isinstance(place, Own):
            words, lines = Words(self.names, self.rules, place), self.names.unit(place).lines
            return any(isinstance(line, ast.ClassDef) and words.is_known(line) for line in lines)
        return not (isinstance(place, Outside) and (place.path in HARMLESS or place.path.endswith(ERRORS)))

    def setting_function(self) -> Own | None:
        """Return the function that declares a setting, None if the tree has none."""
        reference = self.names.resolve(self.rules.documented)
        return reference[0] if reference is not None and isinstance(reference[0], Own) else None
