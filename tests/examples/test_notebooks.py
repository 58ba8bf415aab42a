"""The notebooks run from the first cell to the last in an empty folder, and are committed without outputs."""

import json
import re
import sys
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="extra [dev] is not there")
import nbformat  # noqa: E402  # it comes with nbclient
from jupyter_client import AsyncKernelManager  # noqa: E402
from jupyter_client.kernelspec import KernelSpecManager  # noqa: E402

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
SECONDS = 300  # of a cell, on a machine with other work
LINK = re.compile(r"\]\(([^)#:]+)[^)]*\)")


def kernel_of_this_python(folder):
    """Return the manager of a kernel that is this Python, whatever kernels are registered on the machine."""
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    specs = KernelSpecManager(kernel_dirs=[str(spec.parent)], ensure_native_kernel=False)
    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)


@pytest.fixture
def executed(request, tmp_path, monkeypatch):
    """A notebook with its outputs. It works in an empty folder, and leaves nothing in the home of the user."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    work = tmp_path / "work"
    work.mkdir()
    book = nbformat.read(NOTEBOOKS / request.param, as_version=4)
    client = nbclient.NotebookClient(
        book, km=kernel_of_this_python(tmp_path), timeout=SECONDS, resources={"metadata": {"path": str(work)}}
    )
    client.execute()
    return book


def shown(book):
    """Return all that the cells of a notebook show, as one text."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    texts = [output.get("text", "") for output in outputs]
    return "\n".join(texts + [data for output in outputs for data in output.get("data", {}).values()])


@pytest.mark.parametrize("executed", ["audit_and_cure.ipynb"], indirect=True)
def test_audit_and_cure_shows_the_shard_the_runs_the_gap_and_pictures(executed):
    page = shown(executed)
    for words in ("meta.h5", "run erm", "run clp", "reliance on backgrounds", "strong", "worst group on test: "):
        assert words in page
    assert page.count("data:image/png;base64,") > 24
    assert len(nbformat.writes(executed)) < 1_000_000


@pytest.mark.parametrize("executed", ["clp_in_your_own_loop.ipynb"], indirect=True)
def test_clp_in_an_own_loop_depends_less_on_the_background(executed):
    page = shown(executed)
    assert "rare backgrounds" in page
    assert "with the meta step" in page


def test_both_notebooks_are_there():
    assert NAMES == ["audit_and_cure.ipynb", "clp_in_your_own_loop.ipynb"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_small_and_without_outputs(name):
    path = NOTEBOOKS / name
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert path.stat().st_size < 300_000
    assert book.metadata.kernelspec.name == "python3"
    assert not [cell for cell in book.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]


@pytest.mark.parametrize("name", NAMES)
def test_the_links_of_a_notebook_lead_to_files(name):
    book = nbformat.read(NOTEBOOKS / name, as_version=4)
    links = [link for cell in book.cells if cell.cell_type == "markdown" for link in LINK.findall(cell.source)]
    assert links
    assert not [link for link in links if not (NOTEBOOKS / link).exists()]
