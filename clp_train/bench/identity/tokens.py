"""A definition as tokens without our own names: locals by number, definitions and members to be numbered.

No finished run depends on these, so they are left out: comments, layout, docstrings, imports, annotations outside
classes, texts of errors that are raised, what a setting says of itself for readers, and what notebooks show.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any

from clp_train.bench.identity.definitions import Rules, Scope, Written, parameters, parameters_of, with_module
from clp_train.bench.identity.names import Names, Outside, Own, Place, bindings
from clp_train.bench.identity.words import Words

LINKED = ("functools.partial", "dataclasses.replace", "types.SimpleNamespace", "collections.namedtuple")
"""Foreign functions that pass keywords on to our code."""
SKIPPED = ("ctx", "kind", "type_comment", "type_params")
"""Parts of nodes that carry no information, or that some versions of Python lack."""
FOR_NOTEBOOKS = "_repr_html_"
"""The method of a class that only notebooks call."""


class Writer(Words, ast.NodeVisitor):
    """Write one definition of a tree down. method: the module whose lines of the registry of methods count."""

    def __init__(self, names: Names, rules: Rules, place: Own, method: str = "") -> None:
        super().__init__(names, rules, place)
        self.method, self.raising = method, False

    def write_definition(self) -> Written:
        """Return the definition."""
        for line in self.names.unit(self.place).lines:
            self.visit_all(self.entries(line) or [line])
        return self.definition

    def entries(self, line: ast.stmt) -> list[ast.expr]:
        """Return keys and values of the chosen method's module, if a line is the registry of methods."""
        content = getattr(line, "value", None)
        if f"{self.place.module}:{self.place.name}" != self.rules.registry or not isinstance(content, ast.Dict):
            return []
        entries = [
            (key, *with_module(value, self.place.module))
            for key, value in zip(content.keys, content.values, strict=True)
            if key
        ]
        lines = sorted((ast.unparse(key), key, value) for key, value, module in entries if module == self.method)
        return [ast.Constant("registry"), *(part for _, *line in lines for part in line)]

    def visit_all(self, nodes: Iterable[ast.AST]) -> None:
        """Write nodes down one by one."""
        for node in nodes:
            self.visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        self.say(type(node).__name__, "(")
        for key, value in ast.iter_fields(node):
            if key not in SKIPPED and value is not None and value != []:
                self.say(key)
                for part in value if isinstance(value, list) else [value]:
                    self.visit(part) if isinstance(part, ast.AST) else self.say(repr(part))
        self.say(")")

    def visit_Name(self, node: ast.Name) -> None:
        self.name(node.id, isinstance(node.ctx, ast.Load))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        for place, rest in self.chain(node):
            self.refer(place)
            for name in rest:
                self.say(".")
                self.member(name)
        if not self.chain(node):
            self.visit(node.value)
            self.say(".")
            self.member(node.attr, is_definition=isinstance(node.ctx, ast.Store))

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.text(node.value)
        else:
            self.say(repr(node.value))

    def text(self, text: str) -> None:
        """Write a text down: the definition that it names, if it is ours; for an error only that there is a text."""
        reference = self.names.resolve(text)
        if self.raising:
            self.say("text")
        elif reference is not None:
            self.refer(reference[0])
            self.say(repr(reference[1]))
        else:
            self.say(repr(text))
            if text.isidentifier():
                self.definition.literal.add(text)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.say("text") if self.raising else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.raising = True
        self.generic_visit(node)
        self.raising = False

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def skip(self, node: ast.AST) -> None:
        """Write nothing down."""

    visit_Import = visit_ImportFrom = visit_Pass = skip

    def visit_Global(self, node: ast.Global) -> None:
        if self.scope is not None:
            self.scope.of_module |= set(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        if self.scope is not None:
            self.scope.local -= set(node.names)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self.scope is not None and self.scope.is_class:
            self.generic_visit(node)
        elif node.value is not None:
            self.visit(ast.Assign([node.target], node.value))

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.write_binding(node.name)
        self.say("except")
        self.visit_all([*filter(None, [node.type]), *node.body])

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.say("match as")
        self.write_binding(node.name)
        self.visit_all(filter(None, [node.pattern]))
        self.say("end")

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self.say("match star")
        self.write_binding(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.say("match mapping", str(len(node.keys)))
        self.write_binding(node.rest)
        self.visit_all([*node.keys, *node.patterns])

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        self.say("match class", str(len(node.patterns)))
        self.visit_all([node.cls, *node.patterns])
        for name, pattern in zip(node.kwd_attrs, node.kwd_patterns, strict=True):
            self.member(name)
            self.visit(pattern)
        self.say("end")

    def visit_Call(self, node: ast.Call) -> None:
        self.say("call")
        callee = self.callee(node.func)
        if isinstance(callee, Own):
            self.refer(callee, escapes=False)
        else:
            self.visit(node.func)
        args, keywords = node.args, node.keywords
        if isinstance(callee, Own) and callee == self.setting_function():
            args = [*args[:1], *args[2:]]
            keywords = [keyword for keyword in keywords if keyword.arg not in self.rules.documentation]
        if isinstance(callee, Outside) and callee.path == "functools.partial" and args:
            callee = self.callee(args[0]) or callee
        self.say(str(len(args)))
        self.visit_all(args)
        for keyword in keywords:
            self.keyword(callee, keyword)
        self.say("end")

    def keyword(self, callee: Place | None, node: ast.keyword) -> None:
        """Write a keyword and its value down: as the index of the parameter if the called function is known."""
        parameters = parameters_of(self.names, callee) if isinstance(callee, Own) else None
        self.say("key")
        if node.arg is None:
            self.say("**")
        elif parameters is not None and node.arg in parameters:
            self.say(f"parameter {parameters.index(node.arg)}")
        elif parameters is not None or (isinstance(callee, Outside) and callee.path not in LINKED):
            self.say(f"keyword {node.arg}")
            if parameters is not None:
                self.definition.literal.add(node.arg)
        else:
            self.definition.tokens.append(("keyword", node.arg))
        self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name == FOR_NOTEBOOKS:
            return
        self.say(type(node).__name__)
        self.name(node.name, escapes=False)
        self.visit_all(node.decorator_list)
        self.function(node.args, node.body, at_top=self.scope is None and not node.decorator_list)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.say("lambda")
        self.function(node.args, [node.body])

    def function(self, args: ast.arguments, body: Sequence[ast.AST], at_top: bool = False) -> None:
        """Write parameters, defaults and the body of a function down. at_top: whether it is a definition by itself."""
        self.say("defaults")
        self.visit_all(args.defaults)
        self.say("keyword only")
        for value in args.kw_defaults:
            self.say("none") if value is None else self.visit(value)
        package = self.names.modules[self.place.module].package
        inner = [pair for node in body for pair in bindings(node, package)]
        names = [parameter.arg for parameter in parameters(args)]
        with self.enter_scope(Scope(self.scope, [*((name, None) for name in names), *inner])):
            for kind in ("posonlyargs", "args", "vararg", "kwonlyargs", "kwarg"):
                group = getattr(args, kind)
                self.say(kind)
                for parameter in group if isinstance(group, list) else filter(None, [group]):
                    self.name(parameter.arg)
                    self.definition.tokens.append(("parameter", parameter.arg, not at_top))
            self.say("body")
            self.visit_all(body)
            self.say("end")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.say("class")
        self.name(node.name, escapes=False)
        self.visit_all(node.decorator_list)
        self.say("of")
        self.visit_all([*node.bases, *node.keywords])
        self.say("body")
        package = self.names.modules[self.place.module].package
        before, self.is_literal = self.is_literal, self.is_literal or self.is_known(node)
        with self.enter_scope(
            Scope(self.scope, [pair for line in node.body for pair in bindings(line, package)], True)
        ):
            self.visit_all(node.body)
        self.is_literal = before
        self.say("end")

    def comprehension(self, node: Any) -> None:
        """Write a comprehension down; its first source is outside its scope."""
        first, *others = node.generators
        self.say(type(node).__name__)
        self.visit(first.iter)
        names = [pair for generator in node.generators for pair in bindings(generator.target)]
        with self.enter_scope(Scope(self.scope, names)):
            self.visit_all([first.target, *first.ifs, *others])
            self.visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self.say("end")

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comprehension
