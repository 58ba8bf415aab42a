"""README is short, its sample pages are small and stand alone, and the examples of the algorithm's page run."""

import doctest
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "docs" / "samples"
PAGES = sorted(SAMPLES.glob("*.html"))


def test_readme_has_at_most_120_lines_and_shows_every_sample():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    assert {page.name for page in PAGES} == {"contact-sheet.html", "run.html", "audit.html"}
    for page in PAGES:
        for door in (text, (ROOT / "docs" / "index.md").read_text("utf-8")):
            assert f"samples/{page.name})" in door


def test_the_pictures_of_readme_are_small_and_can_be_opened():
    names = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert len(names) == 4
    for name in names:
        path = ROOT / name
        assert path.stat().st_size < 200_000
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert max(picture.size) <= 1240


def test_samples_are_small():
    sizes = {page.name: page.stat().st_size for page in PAGES}
    assert max(sizes.values()) < 400_000
    assert sum(sizes.values()) < 1_200_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_sample_needs_no_other_file_and_names_no_folder_of_a_machine(page):
    text = page.read_text("utf-8")
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text)
    assert not re.search(r"/(?:home|tmp|work|root|Users)/", text)


def test_the_examples_of_the_algorithm_run():
    page = ROOT / "docs" / "explanation" / "algorithm.md"
    tested = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tested.attempted > 30
    assert tested.failed == 0


def test_the_files_that_the_algorithm_names_are_there():
    text = (ROOT / "docs" / "explanation" / "algorithm.md").read_text("utf-8")
    named = set(re.findall(r"`(clp_(?:aug|train)/[\w/]+(?:\.py)?/?)`", text))
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]
