"""What a command loads until it works: nothing that takes seconds and that it does not use."""

import subprocess
import sys

import pytest

LONG = ("torch._dynamo", "torch._inductor", "torchvision", "triton", "sklearn", "matplotlib", "kornia", "onnxruntime")
"""Modules that take long to load, and that neither the first step of a run nor a quick fill needs."""
TELL = "\nprint('LOADED', *sys.modules, flush=True)"
AUGMENT = f"import sys\nfrom clp_aug.cli import augment\ntry: augment(sys.argv[1:])\nexcept SystemExit: pass{TELL}"
TRAIN = f"""
import os, sys
from clp_train.cli import train
from clp_train.running import loop

def tell(step):{TELL.replace(chr(10), chr(10) + "    ")}
    os._exit(0)

kind = loop.Hooks
loop.Hooks = lambda on_step, *rest, **more: kind(tell, *rest, **more)
train(sys.argv[1:])
"""
"""Tells what is loaded after the first step, and ends there."""


def loaded_by(code, arguments):
    """Return what a command has loaded when it tells of it."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "LOADED" in done.stdout, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A shard of the built-in set, and what making it loaded."""
    path = tmp_path_factory.mktemp("light") / "demo.h5"
    options = ["--dataset", "demo", "--cf", "tile,grey", "--f", "mix-rand", "--size", 16, "--limit", 24]
    return path, loaded_by(AUGMENT, [*options, "--workers", 1, "--quiet", "--out", path])


def test_quick_fills_load_no_torch(shard):
    assert not {"torch", *LONG} & shard[1]


@pytest.mark.parametrize("method", ["erm", "clp"])
def test_a_run_comes_to_its_first_step_without_a_compiler_and_other_libraries_of_networks(shard, tmp_path, method):
    options = ["--meta", shard[0], "--method", method, "--preset", "none", "--epochs", 1, "--batch-size", 12, "--quiet"]
    loaded = loaded_by(TRAIN, [*options, "--out", tmp_path / "run"])
    assert "torch" in loaded
    assert not set(LONG) & loaded
