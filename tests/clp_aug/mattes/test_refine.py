"""refine: closer to the true alpha at soft edges, the same where the matte was sure; boxes do not change."""

import importlib.util
import re
import sys
from contextlib import nullcontext

import numpy as np
import pytest

from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.shards import ShardReader
from clp_aug.mattes import check_refine
from clp_aug.mattes.refine import compile_solver, refine
from clp_aug.pipeline import augment


def soft_disc(size=64, radius=18, edge=8.0):
    """A disc whose edge falls off over some pixels, float (size, size)."""
    rows, columns = np.mgrid[:size, :size] - size / 2 + 0.5
    return np.clip((radius - np.hypot(rows, columns)) / edge + 0.5, 0, 1)


def test_a_soft_edge_comes_closer_to_the_truth():
    pytest.importorskip("pymatting", reason="the extra [matting] is not installed")
    alpha = soft_disc()[..., None]
    image = (alpha * (220, 60, 40) + (1 - alpha) * (30, 90, 160)).round().astype(np.uint8)
    coarse = ((soft_disc() > 0.5) * 255).astype(np.uint8)
    coarse[20:44, 20:44] = 255
    soft = (np.clip((soft_disc(edge=20) - 0.5) * 1.2 + 0.5, 0, 1) * 255).astype(np.uint8)
    for matte in (coarse, soft):
        found = refine(image, matte)
        assert found.dtype == np.uint8
        before, after = (np.abs(m / 255 - alpha[..., 0]).mean() for m in (matte, found))
        assert after < 0.75 * before
    assert (found[28:36, 28:36] == 255).all()
    assert (found[:4] == 0).all()


@pytest.mark.parametrize("matte", [np.zeros((32, 32)), np.full((32, 32), 255), np.full((32, 32), 128)])
def test_without_a_sure_side_it_stays(matte):
    matte = matte.astype(np.uint8)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert (refine(image, matte) == matte).all()


def test_boxes_do_not_change(tmp_path):
    pytest.importorskip("pymatting", reason="the extra [matting] is not installed")
    shards = []
    for wanted in (False, True):
        config = AugmentConfig(
            dataset="demo", cf=("grey",), meta="2/class", matte="grabcut", refine=wanted, limit=8, size=32,
            out=tmp_path / f"{wanted}.h5",
        )  # fmt: skip
        augment(config)
        shards.append(ShardReader(config.out))
    plain, refined = shards
    for name, values in plain.tables.items():
        assert (values == refined.tables[name]).all(), name
    ids = plain.tables["look/sample_id"]
    assert any((plain.matte(i) != refined.matte(i)).any() for i in range(len(ids)))


def test_a_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=re.escape("pip install 'causal-logit-perturbation[matting]'")):
        check_refine()


def test_compiling_is_a_stage_of_its_own_before_the_workers_start(tmp_path):
    """It takes a minute or two the first time, in which nothing else could be told of."""
    pytest.importorskip("pymatting", reason="the extra [matting] is not installed")
    told = []

    def progress(stage, total):
        told.append((stage, total))
        return nullcontext(lambda done: None)

    settings = {"dataset": "demo", "cf": ("grey",), "meta": "2/class", "matte": "grabcut", "limit": 8, "size": 32}
    for wanted in (False, True):
        augment(AugmentConfig(**settings, refine=wanted, out=tmp_path / f"{wanted}.h5"), progress)
    assert [stage for stage in told if "PyMatting" in stage[0]] == [("COMPILE PyMatting (minutes, once)", 1)]
    of_first = [stage for stage, _ in told].index("SHARD") + 1
    assert told[of_first][0].startswith("COMPILE")


@pytest.mark.parametrize(
    ("told", "error", "line"),
    [
        (
            "cannot cache function 'f': no locator available for file 'x.py'", InputError,
            "--refine: PyMatting cannot store its compiled code; set NUMBA_CACHE_DIR to a folder that can be",
        ),
        ("another", RuntimeError, "another"),
    ],
    ids=["no place", "of its own"],
)  # fmt: skip
def test_a_compiler_without_a_place_for_its_code_says_so(tmp_path, monkeypatch, told, error, line):
    (tmp_path / "pymatting.py").write_text(f"raise RuntimeError({told!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pymatting", raising=False)
    with pytest.raises(error, match=re.escape(line)):
        compile_solver()
