"""The wheel, installed into an empty environment, has all it needs: the tools, their pages, presets and weights.

The environment is new and holds the wheel alone. Its libraries are those of the environment that runs the tests: a line
in a .pth file lets Python find them, after the wheel, and without the editable installation.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile

import numpy as np
import pytest
from PIL import Image

import clp_aug
from tests.release.declared import ROOT, declared

TREES = ("clp_aug", "clp_train", "assets")
FILES = ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff")
DATA = {".html", ".toml", ".safetensors", ".json", ".typed", ".pyi"}
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
SHARD = "--dataset demo --size 16 --cf tile --f mix-rand --out demo.h5 --quiet"
RUN = "--meta demo.h5 --preset none --method erm --set epochs=2 --out run --quiet"
AUDIT = "--audit --dataset demo --size 16 --remove tile --limit 60 --out audit.h5 --quiet"
TOOLS = ("augment", "inspect", "fit", "data", "train", "predict", "audit", "compare", "bench")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the source distribution, and the wheel that is made from it."""
    for module in ("build", "setuptools"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed; it comes with the extra [dev]")
    source = tmp_path_factory.mktemp("source")
    for tree in TREES:
        shutil.copytree(ROOT / tree, source / tree, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", source / "dist", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(built):
    """The wheel."""
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The folder of a new environment with the wheel; its libraries are ours."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / SCRIPTS / ("python.exe" if os.name == "nt" else "python")
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    ours = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    with open(os.path.join(site, "libraries.pth"), "w", encoding="utf-8") as file:
        file.write("".join(f"{path}\n" for path in ours))
    return folder


@pytest.fixture(scope="module")
def desk(environment, tmp_path_factory):
    """What runs a command of the environment in a fresh folder, and returns what it printed on stdout."""
    place = tmp_path_factory.mktemp("desk")
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}

    def run(command, *arguments):
        words = [environment / SCRIPTS / command, *arguments]
        done = subprocess.run(words, cwd=place, env=variables, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.place = place
    return run


def test_the_source_distribution_has_what_the_wheel_is_made_of(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set(FILES) <= names
    assert data_files() <= names


def test_the_wheel_has_every_module_and_data_file_and_nothing_else(wheel):
    assert wheel.name == f"causal_logit_perturbation-{clp_aug.__version__}-py3-none-any.whl"
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for tree in TREES for path in (ROOT / tree).rglob("*.py")}
    cards = {path.relative_to(ROOT).as_posix() for path in (ROOT / "assets").glob("*.md")}
    expected = {name.replace("assets/", "clp_assets/", 1) for name in modules | data_files() | cards}
    assert names == expected


def data_files():
    """Return the files of data below the packages, by their paths."""
    paths = (path for tree in TREES for path in (ROOT / tree).rglob("*"))
    return {path.relative_to(ROOT).as_posix() for path in paths if path.suffix in DATA}


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (place,) = (name.partition("/")[0] for name in archive.namelist() if name.endswith("/METADATA"))
        said = archive.read(f"{place}/METADATA").decode()
        points = archive.read(f"{place}/entry_points.txt").decode()
        licence = archive.read(f"{place}/licenses/LICENSE").decode()
    head, _, body = said.partition("\n\n")
    for line in (
        "License: MIT",
        "Requires-Python: >=3.10",
        "Description-Content-Type: text/markdown",
        "Classifier: Typing :: Typed",
    ):
        assert line in head.splitlines()
    assert body.strip() == (ROOT / "README.md").read_text("utf-8").strip()
    assert licence == (ROOT / "LICENSE").read_text("utf-8")
    scripts = declared()["options.entry_points"]["console_scripts"]
    assert sorted(points.splitlines()[1:]) == sorted(filter(None, scripts.splitlines()))


def test_the_packages_come_from_the_wheel_alone(desk, environment):
    code = (
        "import clp_aug, clp_train, clp_assets, sys; print(clp_aug.__file__, clp_train.__file__, clp_assets.__file__)"
    )
    places = desk("python", "-c", code).split()
    assert len(places) == 3
    assert all(place.startswith(str(environment)) for place in places)
    code = "import sys; print(*sys.path, sep='\\n')"
    assert str(ROOT) not in desk("python", "-c", code).splitlines()


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_has_its_help(desk, tool):
    assert desk(f"clp-{tool}", "--help").startswith(f"Usage: clp-{tool} ")
    if tool not in ("fit", "data"):
        assert desk(f"clp-{tool}", "--version").split()[-1] == clp_aug.__version__


def test_from_a_data_set_to_an_audit(desk):
    place = desk.place
    desk("clp-augment", *SHARD.split())
    desk("clp-inspect", "demo.h5", "--html", "sheet.html")
    desk("clp-train", *RUN.split())
    (place / "new").mkdir()
    Image.fromarray(np.full((20, 20, 3), 128, np.uint8)).save(place / "new" / "a.png")
    desk("clp-predict", "run", "new", "--out", "predictions.csv", "--quiet")
    desk("clp-augment", *AUDIT.split())
    desk("clp-audit", "run", "--meta", "audit.h5", "--html", "audit.html", "--quiet")
    for page in ("sheet.html", "run/page.html", "audit.html"):
        assert (place / page).read_text("utf-8").lower().startswith("<!doctype html>"), page
    assert (place / "predictions.csv").read_text("utf-8").splitlines()[1].startswith("a.png,")


def test_presets_tables_and_weights_are_there(desk):
    code = (
        "from importlib import resources\n"
        "from clp_train.bench.spec import names\n"
        "from clp_train.presets import read_preset\n"
        "from clp_aug.nets.shipped import SHIPPED, shipped_path\n"
        "read_preset('demo'); print(*names()); print(*map(shipped_path, SHIPPED))\n"
        "print((resources.files('clp_assets') / 'licences.json').is_file())"
    )
    tables, weights, listed = desk("python", "-c", code).splitlines()
    assert "table2" in tables.split()
    assert len(weights.split()) == 2
    assert listed == "True"
