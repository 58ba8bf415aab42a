"""No misspelt words in pages, docstrings and messages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CITATION.cff", "docs", "clp_aug", "clp_train",
    "assets", "examples", "experiments", "mkdocs.yml", "Makefile",
)  # fmt: skip


def codespell(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run codespell with the settings of pyproject.toml."""
    tool = shutil.which("codespell", path=str(Path(sys.executable).parent)) or shutil.which("codespell")
    if tool is None:
        pytest.skip("codespell is not installed; it comes with the extra [dev]")
    return subprocess.run(
        [tool, "--toml", str(ROOT / "pyproject.toml"), *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_words_are_spelt_right() -> None:
    places = [place for place in PLACES if (ROOT / place).exists()]
    results = [str(path) for path in sorted((ROOT / "results").glob("*/*.md"))]
    done = codespell("--skip", "*.svg,*.png,*.html,*.json,*.safetensors,*.ipynb,__pycache__", *places, *results)
    assert done.returncode == 0, f"{done.stdout}\nfor a word that is right: ignore-words-list in pyproject.toml"


def test_a_misspelt_word_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("This is definately wrong, but LaMa is a name.\n")
    done = codespell(str(tmp_path))
    assert done.returncode != 0
    assert "definately" in done.stdout
    assert "LaMa" not in done.stdout
