"""All tools work where Windows' limits hold: no fcntl, no handles on folders, no pread, no replaced open file.

This is an emulation on Linux; it shows that our code asks for none of these, not that all of Windows is covered.
"""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.portability.emulation import ROOT, call, variables

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks at open files through /proc")

TOOLS = {
    "augment": "clp_aug.cli",
    "inspect": "clp_aug.inspect_cli",
    "fit": "clp_aug.fit_cli",
    "data": "clp_aug.data_cli",
    "train": "clp_train.cli",
    "predict": "clp_train.predict_cli",
    "audit": "clp_train.audit_cli",
    "compare": "clp_train.compare_cli",
    "bench": "clp_train.bench.cli",
}
SHARD = ["--dataset", "demo", "--size", "16", "--cf", "tile", "--f", "mix-rand", "--quiet"]


TABLE = """
title = "small"

[columns.demo]
title = "Demo"

[columns.demo.cpu]
augment = ["--dataset", "demo", "--size", "16"]
train = ["--set", "epochs=1"]

[rows.erm]
title = "CE"
method = "erm"
cf = "tile"
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The variables of processes with Windows' limits."""
    return variables(tmp_path_factory.mktemp("limits"))


def test_the_limits_hold(environment, tmp_path):
    """Else the tests below would show nothing."""
    code = """
import os, tempfile
def refused(call, *arguments):
    try:
        call(*arguments)
    except (ImportError, AttributeError, PermissionError, EncodingWarning) as error:
        print(type(error).__name__)
refused(__import__, "fcntl")
refused(lambda: os.pwrite)
refused(os.open, ".", os.O_RDONLY)
with open("a", "wb"), open("b", "wb"):
    pass
with open("a", "rb"):
    refused(os.replace, "b", "a")
    refused(os.unlink, "a")
os.replace("b", "a")
os.unlink("a")
refused(exec, "open('a', 'w')", {"__name__": "clp_any"})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = ["ModuleNotFoundError", "AttributeError", *["PermissionError"] * 3, "EncodingWarning"]
    assert done.stdout.split() == expected


@pytest.mark.parametrize(("command", "module"), TOOLS.items())
def test_every_tool_shows_its_help(environment, tmp_path, command, module):
    assert call(module, command, ["--help"], tmp_path, environment).startswith("Usage: ")


@pytest.fixture(scope="module")
def desk(environment, tmp_path_factory):
    """A folder with a shard and a run, made with Windows' limits."""
    folder = tmp_path_factory.mktemp("desk")
    call("clp_aug.cli", "augment", [*SHARD, "--workers", "2", "--out", "demo.h5"], folder, environment)
    run = ["--meta", "demo.h5", "--preset", "none", "--method", "erm", "--set", "epochs=2", "--out", "run", "--quiet"]
    call("clp_train.cli", "train", run, folder, environment)
    return folder


def test_a_shard_has_the_same_bytes(desk, tmp_path):
    usual = os.environ | {"PYTHONPATH": str(ROOT)}
    call("clp_aug.cli", "augment", [*SHARD, "--out", "demo.h5"], tmp_path, usual)
    digests = [hashlib.sha256((folder / "demo.h5").read_bytes()).hexdigest() for folder in (desk, tmp_path)]
    assert digests[0] == digests[1]
    assert not [name for name in os.listdir(desk) if "staging" in name or "tmp-" in name]


def test_a_run_is_whole(desk):
    assert {"result.json", "page.html", "last.safetensors"} <= set(os.listdir(desk / "run"))
    assert not [name for name in os.listdir(desk / "run") if "tmp-" in name]


def test_what_follows_a_run_works(desk, environment):
    call("clp_aug.inspect_cli", "inspect", ["demo.h5", "--html", "sheet.html"], desk, environment)
    (desk / "new").mkdir()
    Image.fromarray(np.full((20, 20, 3), 128, np.uint8)).save(desk / "new" / "a.png")
    call("clp_train.predict_cli", "predict", ["run", "new", "--out", "new.csv", "--quiet"], desk, environment)
    audit = "--audit --dataset demo --size 16 --remove tile --limit 60 --out audit.h5 --quiet"
    call("clp_aug.cli", "augment", audit.split(), desk, environment)
    asked = ["run", "--meta", "audit.h5", "--html", "audit.html", "--quiet"]
    call("clp_train.audit_cli", "audit", asked, desk, environment)
    assert {"sheet.html", "new.csv", "audit.html"} <= set(os.listdir(desk))


def test_a_table_of_the_bench_is_made(environment, tmp_path):
    """Jobs are processes, with locks and logs."""
    (tmp_path / "small.toml").write_text(TABLE, encoding="utf-8")
    arguments = ["small.toml", "--scale", "cpu", "--seeds", "1", "--work", "work", "--out", "out"]
    call("clp_train.bench.cli", "bench", arguments, tmp_path, environment)
    assert list((tmp_path / "out").rglob("*.md"))
