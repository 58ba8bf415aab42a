"""The public names of the toolkit: a list that changes on purpose only, loaded late, typed."""

import subprocess
import sys
from pathlib import Path

import pytest

import clp_aug

NAMES = {
    "AugmentConfig", "Box", "FILLS", "Materials", "ProtocolSettings", "Scene", "ShardReader", "augment", "check_shard",
    "fill", "find_boxes", "from_arrays", "from_torch", "infill", "load_dataset", "make_split", "open_shard", "rng_for",
}  # fmt: skip


def test_the_list_is_this_one():
    assert set(clp_aug.__all__) == set(clp_aug.PLACES) == NAMES
    assert len(clp_aug.__all__) == len(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_loads_and_has_its_type(name):
    assert getattr(clp_aug, name).__class__ is not type(clp_aug)
    stub = Path(clp_aug.__file__).with_suffix(".pyi").read_text()
    assert f"from clp_aug.{clp_aug.PLACES[name]} import {name} as {name}\n" in stub


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match=r"module clp_aug has no public name 'argument': choose one of FILLS, "):
        _ = clp_aug.argument


def test_importing_the_package_imports_nothing_else():
    script = "import sys; before = set(sys.modules); import clp_aug; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} - {"clp_aug", *sys.stdlib_module_names}


def test_a_run_as_a_library(tmp_path):
    from clp_aug import AugmentConfig, ShardReader, augment

    config = AugmentConfig(dataset="demo", cf=("grey",), f=("random",), limit=8, size=16, out=tmp_path / "x.h5")
    reader = ShardReader(augment(config).path)
    assert reader.header.settings["cf"] == ["grey"]
    assert len(reader) == 3 * 40
