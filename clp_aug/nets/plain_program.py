"""Check that the text of an exported program names only tensor operators: torch evaluates some of it as Python.

torch.export.load looks up operators by name in torch's modules, evaluates sizes by sympy, executes guards, imports the
types that pack arguments, and writes names into the source of a function. A classifier needs only the few things listed
here.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

TARGET = re.compile(
    r"torch\.ops\.aten\.(?!from_file\.)\w+\.\w+"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|torch\.sym_\w+|math\.[a-z0-9]+"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|getitem)"
)
NAME = re.compile(r"[\w.:+-]*")
SYMBOL = re.compile(r"[a-z]{1,3}\d{1,9}")  # s34, u0, zuf1
FUNCTIONS = {
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Min", "Max", "Eq", "Ne", "Gt", "Ge", "Lt", "Le",
    "And", "Or", "Not", "Equality", "Unequality", "StrictGreaterThan", "GreaterThan", "StrictLessThan", "LessThan",
    "FloorDiv", "CeilDiv", "CleanDiv", "Mod", "PythonMod", "ModularIndexing", "Where", "CeilToInt", "FloorToInt",
    "RoundToInt", "TruncToInt", "ToFloat", "IntTrueDiv", "FloatTrueDiv", "LShift", "RShift", "Identity",
}  # fmt: skip
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.cmpop)
PACKED = (None, "builtins.tuple", "builtins.list", "builtins.dict")
LONGEST, LARGEST, HIGHEST = 2000, 2**63, 8  # characters of a size, a number in it, the power of a symbol
FREE = {
    "stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "from_node", "custom", "as_string", "as_strings",
}  # fmt: skip
"""Keys of texts that torch keeps, or gives to an operator, unchanged."""
REFUSED = {"as_operator", "as_custom_obj"}


def check_program(value: Any, key: str = "") -> None:
    """Raise ValueError for a part of a program, as JSON, that names more than tensor operators. key: its name there."""
    if key in CHECKS:
        CHECKS[key](value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in REFUSED or not NAME.fullmatch(name):
                raise ValueError(f"it has {name[:60]!r}, which a plain export does not have")
            check_program(inner, name)
    elif isinstance(value, list):
        for inner in value:
            check_program(inner, key)
    elif isinstance(value, str) and key not in FREE and not NAME.fullmatch(value):
        raise ValueError(f"{key} is {value[:60]!r}, which is no name")


def check_target(value: Any) -> None:
    """Raise ValueError unless a node's target is an operator of tensors or of sizes."""
    if not (isinstance(value, str) and TARGET.fullmatch(value)):
        raise ValueError(f"it calls {str(value)[:60]!r}, which is no tensor operator")


def check_size(value: Any) -> None:
    """Raise ValueError unless the text of a size is arithmetic of symbols and whole numbers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns about a number directly before a word
            allowed = isinstance(value, str) and len(value) <= LONGEST and is_size(ast.parse(value, mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        allowed = False
    if not allowed:
        raise ValueError(f"it has {str(value)[:60]!r}, which is no size")


def is_size(node: ast.expr) -> bool:
    """Return whether an expression is arithmetic: a symbol, a number, or a function or an operator of these."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float)) and abs(node.value) < LARGEST
    if isinstance(node, ast.Name):
        return bool(SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Call):
        return is_call(node)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, OPERATORS) and is_size(node.left) and is_size(node.right)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, OPERATORS) and is_size(node.operand)
    return isinstance(node, ast.Compare) and all(map(is_size, (node.left, *node.comparators)))


def is_call(node: ast.Call) -> bool:
    """Return whether a call is of a function of sizes: Max(1, s0), Symbol('s0', integer=True), Pow(s0, Integer(2))."""
    if not (isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS):
        return False
    switches = all(one.arg and isinstance(one.value, ast.Constant) and is_size(one.value) for one in node.keywords)
    if node.func.id in ("Symbol", "Float"):
        texts = [one.value for one in node.args if isinstance(one, ast.Constant)]
        return switches and len(texts) == len(node.args) == 1 and bool(NAME.fullmatch(str(texts[0])))
    if node.func.id == "Pow":
        return switches and len(node.args) == 2 and is_symbol(node.args[0]) and is_low(node.args[1])
    return switches and bool(node.args) and all(map(is_size, node.args))


def is_symbol(node: ast.expr) -> bool:
    """Return whether an expression is one symbol."""
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Symbol"
    return is_size(node) and (named or isinstance(node, ast.Name))


def is_low(node: ast.expr) -> bool:
    """Return whether an expression is a small whole number, plain or as Integer(2)."""
    inner = node.args[0] if isinstance(node, ast.Call) and is_size(node) and len(node.args) == 1 else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, int) and abs(inner.value) <= HIGHEST


def check_packing(value: Any) -> None:
    """Raise ValueError unless arguments or results are packed into tuples, lists and dictionaries by name."""
    packing = json.loads(value) if isinstance(value, str) and value else []
    parts = packing[1:] if isinstance(packing, list) else [None]
    while parts:
        part = parts.pop()
        if not isinstance(part, dict) or part.get("type") not in PACKED:
            raise ValueError(f"it packs its arguments into {str(part)[:60]}, not into tuples, lists or dictionaries")
        parts += part.get("children_spec") or []


def check_empty(value: Any) -> None:
    """Raise ValueError for a value that a plain export leaves empty: torch would execute it or look it up."""
    if value:
        raise ValueError(f"it has {str(value)[:60]}, where a plain export has nothing")


CHECKS: dict[str, Callable[[Any], None]] = {
    "target": check_target,
    "expr_str": check_size,
    "in_spec": check_packing,
    "out_spec": check_packing,
    "treespec_namedtuple_fields": check_empty,
}
"""Name in the JSON -> the check of parts that are not only checked by their characters."""
