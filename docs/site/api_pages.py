"""Pages of the reference about the Python packages: a plain table of names, then their docstrings by mkdocstrings."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

from clp_aug.common.text import in_markdown

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "clp_aug": "Data sets, boxes, fills, shards. Import the names from `clp_aug`; heavy modules load at first use.",
    "clp_train": "Train, load and explain. Import the names from `clp_train`; heavy modules load at first use.",
}
INNER = {
    "plugins": (
        "Names for plug-ins",
        "What [plug-ins](../../how-to/plugins.md) build on. Import each name from the module in front of it.",
        (
            "clp_aug.common.settings.setting", "clp_aug.common.settings.Settings", "clp_aug.fills.Fill",
            "clp_aug.fills.CF", "clp_aug.fills.F", "clp_aug.fills.options.FillOptions", "clp_aug.mattes.About",
            "clp_aug.datasets.base.Dataset", "clp_aug.datasets.base.Samples", "clp_train.algorithm.method.Method",
            "clp_train.algorithm.objective.Terms", "clp_train.methods.META", "clp_aug.common.own_code.expect_files",
            "clp_aug.common.own_code.loaded_files", "clp_aug.testing.check_fill", "clp_aug.testing.check_matte",
            "clp_aug.testing.check_dataset", "clp_train.testing.check_method", "clp_train.testing.check_model",
            "clp_train.testing.check_transform",
        ),
    ),
    "inner": (
        "More names",
        "Names that the pages about [the library](../../how-to/library.md) and [finished"
        " runs](../../how-to/predict-and-export.md) mention and that belong to no `__all__`.",
        (
            "clp_train.algorithm.virtual_step.moves_of", "clp_train.algorithm.bilevel.Bilevel.loss",
            "clp_train.algorithm.bilevel.Bilevel.step", "clp_train.predicting.trained.TrainedClassifier",
        ),
    ),
}  # fmt: skip

CONSTANTS = {
    "clp_aug.contract.boxes.Box": "A box in pixels: (x0, y0, x1, y1), half open.",
    "clp_aug.fills.FILLS": "The registry of fills: name -> Fill.",
    "clp_aug.fills.CF": "The kind of counterfactuals.",
    "clp_aug.fills.F": "The kind of factuals.",
    "clp_train.methods.META": "The parts of a method that has a meta step.",
}
"""Place -> what it is, of constants without a text of their own."""


def api_pages() -> dict[str, str]:
    """Return file name -> text of the pages about Python."""
    pages = {}
    for package, introduction in PACKAGES.items():
        module = importlib.import_module(package)
        names = {name: f"{package}.{module.PLACES[name]}.{name}" for name in module.__all__}
        pages[f"api/{package}.md"] = page(package, introduction, names)
    for stem, (title, introduction, places) in INNER.items():
        pages[f"api/{stem}.md"] = page(title, introduction, {place: place for place in places})
    return pages


def page(title: str, introduction: str, places: dict[str, str]) -> str:
    """Return a page. places: name as shown -> dotted place of the object."""
    lines = [f"# {title}", "", introduction, "", "| name | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {in_markdown(first_line(place))} |" for name, place in places.items()]
    lines += ["", "The table and what follows are made from the docstrings; `make docs` writes this page.", ""]
    for place in places.values():
        if has_name_alone(find(place)[0]):  # mkdocstrings does not know `A, B = 1, 2`
            lines += [f"::: {place}", ""]
    return "\n".join(lines)


def first_line(place: str) -> str:
    """Return the first sentence of an object's docstring, read from the source. Raises SystemExit without one."""
    node, body = find(place)
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        text = ast.get_docstring(node)
    else:  # the text below a constant
        after = body[body.index(node) + 1 :]
        is_text = after and isinstance(after[0], ast.Expr) and isinstance(after[0].value, ast.Constant)
        text = str(after[0].value.value) if is_text else CONSTANTS.get(place)
    if not text:
        raise SystemExit(f"{place}: expected a docstring, for its page of the reference")
    return " ".join(text.split("\n\n")[0].split())


def find(place: str) -> tuple[ast.stmt, list[ast.stmt]]:
    """Return the statement that defines a dotted name, and the statements around it. Raises SystemExit if none does."""
    parts = place.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        path = ROOT.joinpath(*parts[:cut])
        source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        if not source.exists():
            continue
        body = parsed(source)
        for depth, name in enumerate(parts[cut:], cut + 1):
            node = next((node for node in body if name in defined(node)), None)
            if node is None:
                break
            if depth == len(parts):
                return node, body
            body = getattr(node, "body", [])
    raise SystemExit(f"{place}: no such name; correct docs/site/api_pages.py or PLACES of the package")


def has_name_alone(node: ast.stmt) -> bool:
    """Whether a statement defines one name."""
    return not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple))


def defined(node: ast.stmt) -> set[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    parts = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return {part.id for part in parts if isinstance(part, ast.Name)}


@cache
def parsed(source: Path) -> list[ast.stmt]:
    """Return the statements of a file."""
    return ast.parse(source.read_text(encoding="utf-8")).body
