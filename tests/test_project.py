"""The house rules that a program can check: direction of imports, lint, quick help, no pickle, no machine's paths."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "clp-augment": "clp_aug.cli",
    "clp-inspect": "clp_aug.inspect_cli",
    "clp-fit": "clp_aug.fit_cli",
    "clp-data": "clp_aug.data_cli",
    "clp-train": "clp_train.cli",
    "clp-predict": "clp_train.predict_cli",
    "clp-audit": "clp_train.audit_cli",
    "clp-compare": "clp_train.compare_cli",
    "clp-bench": "clp_train.bench.cli",
}
HEAVY = {
    "torch", "torchvision", "sklearn", "scipy", "cv2", "kornia", "matplotlib", "onnxruntime", "numpy", "h5py", "PIL",
    "rich", "jinja2", "safetensors", "filelock", "multiprocessing", "concurrent", "email", "importlib.metadata",
    "tomllib", "hashlib", "secrets", "zipfile", "csv", "socket", "subprocess", "pickle", "logging",
}  # fmt: skip
"""What no command needs for its help: together they take several times as long as the rest of it."""


def tool(name):
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it comes with the extra [dev]")
    return found


def test_imports_run_one_way():
    done = subprocess.run([tool("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_ruff(arguments):
    done = subprocess.run([tool("ruff"), *arguments, "--no-cache", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("command", "module"), COMMANDS.items())
def test_help_loads_nothing_heavy(command, module):
    name = command.removeprefix("clp-")
    script = (
        f"import sys; from {module} import {name} as command\n"
        "try: command(['--help'])\nexcept SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    text, _, loaded = done.stdout.rpartition("LOADED")
    assert text.startswith("Usage: ")
    assert not HEAVY & set(loaded.split()), "an import at the top of a command's module slows every --help"


def test_entry_points_are_those_commands():
    text = (ROOT / "setup.cfg").read_text()
    assert set(re.findall(r"^ {4}(clp-\w+) =", text, re.M)) == set(COMMANDS)


def test_no_pickle_is_ever_loaded():
    loads = re.compile(
        r"pickle\.loads?\(|Unpickler|torch\.load\((?!.*weights_only=True)|allow_pickle=True|joblib\.load"
    )
    own = ("clp_aug/engines/ray_worker.py", "clp_train/loading/crew.py", "clp_train/loading/crew_member.py")
    from_a_run = {
        ROOT / name for name in own
    }  # a worker's task comes out of the run's own memory, its answers go there
    for path in {*ROOT.glob("clp_aug/**/*.py"), *ROOT.glob("clp_train/**/*.py")} - from_a_run:
        assert not loads.search(path.read_text()), path


@pytest.mark.parametrize("package", ["clp_aug.inspecting", "clp_train.report"])
def test_the_package_data_is_listed(package):
    assert list((ROOT / package.replace(".", "/")).glob("*.html"))
    assert f"{package} = *.html" in (ROOT / "setup.cfg").read_text()


def test_every_package_is_installed():
    listed = (ROOT / "setup.cfg").read_text().partition("\npackages =\n")[2].partition("\npackage_dir")[0].split()
    found = {str(p.parent.relative_to(ROOT)).replace("/", ".") for t in ("clp_aug", "clp_train") for p in
             (ROOT / t).rglob("__init__.py")}  # fmt: skip
    assert set(listed) == found | {"clp_assets"}
