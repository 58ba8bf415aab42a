"""Classes, files and folders with names that a console cannot encode: every tool ends as it does on any console."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CONSOLES = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"PYTHONUTF8": "0", "LC_ALL": "C"},
}
CLASSES = ("猫", "đog")
CODES = ("猫".encode("ascii", "backslashreplace"), b"\xef\xbf\xbd", b"\\udc", b"\\ufffd")
"""What may be printed for a name: codes of its characters, or replacement characters."""
TOOL = {
    "clp-augment": "clp_aug.cli:augment",
    "clp-inspect": "clp_aug.inspect_cli:inspect",
    "clp-fit": "clp_aug.fit_cli:fit",
    "clp-data": "clp_aug.data_cli:data",
    "clp-train": "clp_train.cli:train",
    "clp-audit": "clp_train.audit_cli:audit",
    "clp-predict": "clp_train.predict_cli:predict",
    "clp-compare": "clp_train.compare_cli:compare",
    "clp-bench": "clp_train.bench.cli:bench",
}


def run(folder, console, tool, *words, code=0):
    """Run a tool on a console; return what it printed on stdout and stderr, as bytes."""
    module, function = TOOL[tool].split(":")
    program = f"import sys; from {module} import {function}; sys.argv[0] = '{tool}'; {function}()"
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"} | CONSOLES.get(console, {})
    done = subprocess.run([sys.executable, "-c", program, *map(str, words)], cwd=folder, env=environment,
                          capture_output=True)  # fmt: skip
    assert done.returncode == code, done.stderr.decode(errors="replace")
    assert b"Traceback" not in done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with pictures, a shard and a run, all with names that are not ASCII, made on a UTF-8 console."""
    folder = tmp_path_factory.mktemp("写真")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for c, name in enumerate(CLASSES):
            place = folder / "写真" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
                pixels[8:16, 8:16] = (0, 255, 0) if c else (255, 0, 0)
                Image.fromarray(pixels).save(place / f"é{i}.png")
    common = ("--dataset", "folder", "--root", "写真", "--matte", "centre", "--size", 24, "--workers", 1)
    run(folder, "utf-8", "clp-augment", *common, "--cf", "tile", "--f", "random", "--meta", "2/class", "--out", "殻.h5")
    run(folder, "utf-8", "clp-augment", "--audit", *common, "--remove", "tile", "--out", "検.h5")
    run(folder, "utf-8", "clp-train", *train_words("走"))
    return folder


def train_words(out):
    return ("--meta", "殻.h5", "--root", "写真", "--method", "erm", "--preset", "none", "--epochs", 1,
            "--batch-size", 4, "--out", out)  # fmt: skip


@pytest.mark.parametrize("console", CONSOLES)
def test_quick_tools(made, console):
    out, _ = run(made, console, "clp-inspect", "殻.h5", "--html", f"{console}-é.html")
    assert any(code in out for code in CODES)
    assert out.splitlines()[-1].endswith((b"--root DIR", b"--root DIR'"))
    assert "猫" in (made / f"{console}-é.html").read_text(encoding="utf-8")
    run(made, console, "clp-inspect", "無.h5", code=3)
    run(made, console, "clp-fit", "matte", "--data", "無", "--out", "網.safetensors", code=3)
    run(made, console, "clp-data", "glt", "--from", "無", "--out", "出", code=3)
    run(made, console, "clp-bench", "無", code=2)
    run(made, console, "clp-augment", "--dataset", "folder", "--root", "無", "--cf", "tile", code=3)
    for tool in TOOL:
        run(made, console, tool, "--無", code=2)


@pytest.mark.parametrize("console", ["cp1252", "ascii"])
def test_a_shard_is_made(made, console):
    words = ("--dataset", "folder", "--root", "写真", "--matte", "centre", "--size", 24, "--cf", "tile", "--workers", 1)
    out, _ = run(made, console, "clp-augment", *words, "--meta", "2/class", "--out", f"{console}-殻.h5")
    assert b"next: clp-inspect" in out


@pytest.mark.parametrize("console", ["cp1252", "ascii"])
def test_a_run_is_trained_and_used(made, console):
    out, _ = run(made, console, "clp-train", *train_words(f"走-{console}"))
    assert b"next: clp-" in out.splitlines()[-1]
    assert sorted(
        json.loads((made / f"走-{console}" / "result.json").read_text(encoding="utf-8"))["class_names"]
    ) == sorted(CLASSES)
    out, _ = run(made, console, "clp-predict", "走", Path("写真") / "test", "--out", f"{console}-表.csv")
    assert any(code in out for code in CODES)
    assert "猫" in (made / f"{console}-表.csv").read_text(encoding="utf-8")
    out, _ = run(made, console, "clp-audit", "走", "--meta", "検.h5", "--no-maps", "--html", f"{console}-検.html")
    assert any(code in out for code in CODES)
    run(made, console, "clp-compare", "走", f"走-{console}", "--out", f"{console}-比.html")
    assert "猫" in (made / f"{console}-比.html").read_text(encoding="utf-8")
