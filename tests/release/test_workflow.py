"""The workflow of the repository's host calls the targets of the Makefile, on three systems."""

import re
import shutil
import subprocess

import pytest

from tests.release.declared import ROOT, declared

PATH = ROOT / ".github" / "workflows" / "ci.yml"


def workflow():
    yaml = pytest.importorskip("yaml", reason="the extra [dev] is not installed")
    return yaml.safe_load(PATH.read_text("utf-8"))["jobs"]["test"]


def test_three_systems_and_the_oldest_python():
    matrix = workflow()["strategy"]["matrix"]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert declared()["options"]["python_requires"] == f">={matrix['python'][0]}"


def test_its_commands_are_targets_of_make():
    commands = [step["run"] for step in workflow()["steps"] if "run" in step]
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert commands == ["make lint", "make test"]
    assert {command.split()[1] for command in commands} <= targets
    assert workflow()["defaults"]["run"]["shell"] == "bash", "the Makefile needs a POSIX shell, on Windows too"


def test_it_stays_short():
    assert len(PATH.read_text("utf-8").splitlines()) <= 15


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("system", "folder"), [("Windows_NT", "Scripts"), ("", "bin")])
def test_make_finds_the_environment_of_each_system(tmp_path, system, folder):
    command = ["make", "--dry-run", "lint", f"OS={system}", f"VENV={tmp_path / 'v'}"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"{tmp_path / 'v'}/{folder}/ruff check ." in printed
