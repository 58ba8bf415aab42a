"""The examples of the documentation run, and the public names are the ones that it speaks of."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
HEAVY = {"torch", "numpy", "h5py", "cv2", "sklearn", "matplotlib"}


@pytest.mark.parametrize("page", ["how-to/library.md", "tutorials/own-loop.md"])
def test_the_examples_of_a_page_run(page):
    tested = doctest.testfile(str(DOCS / page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tested.attempted > 12
    assert tested.failed == 0


@pytest.mark.parametrize("package", ["clp_aug", "clp_train"])
def test_every_public_name_loads_and_an_unknown_one_is_refused(package):
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__) > 10
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_public_names_of_the_trainer():
    import clp_train

    assert clp_train.__all__ == [
        "Bilevel", "Hooks", "MetaLoader", "Method", "Omega", "Terms", "assemble", "gradcam", "hypergradient", "load",
        "load_classifier", "make_config", "meta_losses", "open_run", "saliency", "train", "virtual_pass",
    ]  # fmt: skip
    page = (DOCS / "how-to/library.md").read_text()
    assert not [name for name in clp_train.__all__ if name not in page]


@pytest.mark.parametrize("package", ["clp_aug", "clp_train"])
def test_importing_a_package_loads_nothing_heavy(package):
    code = f"import {package}, sys; print(sorted({HEAVY} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"
