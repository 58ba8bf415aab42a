"""The site builds without a warning and needs no network; generated pages are current; shown imports exist."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, documented


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the built site, and what mkdocs said beside its progress. (With --quiet it would not count warnings.)"""
    pytest.importorskip("mkdocs", reason="comes with the extra [docs]")
    pytest.importorskip("mkdocstrings_handlers", reason="comes with the extra [docs]")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    said = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO"))
    assert done.returncode == 0, said
    return folder, said


def test_it_builds_without_a_warning(site: tuple[Path, str]) -> None:
    assert not site[1].strip()


def test_every_page_is_on_the_site(site: tuple[Path, str]) -> None:
    docs = ROOT / "docs"
    pages = [path.relative_to(docs) for path in docs.rglob("*.md") if not path.is_relative_to(docs / "site")]
    assert len(pages) > 20
    for page in pages:
        name = page.with_suffix(".html") if page.name != "README.md" else page.with_name("index.html")
        assert (site[0] / name).exists(), page


def test_linked_files_outside_the_docs_are_on_the_site(site: tuple[Path, str]) -> None:
    assert (site[0] / "repository/assets/hatt.html").exists()
    assert 'href="../repository/assets/hatt.html"' in (site[0] / "reference/mattes.html").read_text()


def test_no_page_takes_anything_from_the_network(site: tuple[Path, str]) -> None:
    taken = re.compile(
        r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//|<link\b[^>]*\bhref=\"?(?:https?:)?//"
    )
    for page in site[0].rglob("*.html"):
        found = [tag for tag in taken.findall(page.read_text(encoding="utf-8")) if 'rel="canonical"' not in tag]
        assert not found, page
    assert (site[0] / "search" / "search_index.json").exists()


def test_docstrings_are_on_the_pages_of_the_packages(site: tuple[Path, str]) -> None:
    assert "clp_train.algorithm.hypergradient.hypergradient" in (site[0] / "reference/api/clp_train.html").read_text()
    assert "find_boxes" in (site[0] / "reference/api/clp_aug.html").read_text()


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "docs/site/make_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_tool_has_a_page() -> None:
    from tests.test_project import COMMANDS

    assert {path.stem for path in (ROOT / "docs/reference/commands").glob("*.md")} == set(COMMANDS)


def imports() -> list[tuple[str, str, str]]:
    """Return (place, module, name) of each import from our packages in the Python code of pages."""
    found = []
    for block in (block for page in documented() for block in blocks(page)):
        for module, names in re.findall(r"^(?:>>> |\s*)from (clp_\w+(?:\.\w+)*) import ([\w, ]+)", block.code, re.M):
            found += [(block.place, module, name.split(" as ")[0].strip()) for name in names.split(",")]
    return found


def test_names_that_pages_import_exist() -> None:
    assert imports()
    for place, module, name in imports():
        path = ROOT.joinpath(*module.split("."))
        source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        assert source.exists(), f"{place}: no module {module}"
        text = source.read_text(encoding="utf-8")
        aliases = [alias for node in ast.walk(ast.parse(text)) for alias in getattr(node, "names", [])]
        known = {alias.asname or alias.name for alias in aliases if isinstance(alias, ast.alias)}
        pattern = rf"^(?:def|class) {name}\b|^{name}\b.*=|^(?:\w+, )+{name}\b.*=|\"{name}\":"
        assert name in known or re.search(pattern, text, re.M), f"{place}: {module} has no {name}"
