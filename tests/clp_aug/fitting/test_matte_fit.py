"""The fit as a whole, on a handful of small pictures: bit-exact resume, the curve, the weights, one-line errors."""

import dataclasses
import json
import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from clp_aug import fit_cli
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.fitting import matte, sources
from clp_aug.fitting.config import MatteFit
from clp_aug.fitting.loop import set_rates
from clp_aug.fitting.sources import read_sources
from clp_aug.nets.hatt_lite import HattLite


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two cut-outs, two backgrounds, two pictures with masks."""
    root, rng = tmp_path_factory.mktemp("matting"), np.random.default_rng(0)
    for name in ("foregrounds", "backgrounds", "pictures", "masks"):
        (root / name).mkdir()
    disc = cv2.circle(np.zeros((40, 40), np.uint8), (20, 20), 14, 255, -1)
    for i in range(2):
        noise = rng.integers(0, 256, (40, 40, 3), np.uint8)
        cv2.imwrite(str(root / "foregrounds" / f"{i}.png"), np.dstack([noise // 2, disc]))
        cv2.imwrite(str(root / "backgrounds" / f"{i}.png"), noise // 4 + 150)
        picture = np.where(disc[..., None] > 0, noise // 3, 200).astype(np.uint8)
        cv2.imwrite(str(root / "pictures" / f"{i}.png"), picture)
        cv2.imwrite(str(root / "masks" / f"{i}.png"), disc)
    return root


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(matte, "VALIDATION", 3)


def config(folder, out, **change):
    settings = {"steps": 4, "batch_size": 2, "sizes": (48,), "checkpoint_interval": 1, "validate_interval": 2}
    return MatteFit(folder, out, **{**settings, "start": "nothing", **change})


def kill_after(steps, one, sources):
    """Fit, and end after some steps."""

    def kill(done, terms):
        if done == steps:
            raise Killed

    with pytest.raises(Killed):
        matte.fit(one, sources, kill)


@pytest.mark.parametrize("change", [{}, {"adversarial": 0.05}, {"distil": False, "filter_cues": False}], ids=str)
def test_killed_and_resumed_it_is_the_same_fit(folder, tmp_path, change):
    sources = read_sources(folder)
    matte.fit(config(folder, tmp_path / "whole.safetensors", **change), sources)
    cut = config(folder, tmp_path / "cut.safetensors", **change)
    kill_after(3, cut, sources)
    assert not cut.out.exists()
    matte.fit(cut, sources, resume=True)
    for suffix in (".safetensors", ".jsonl"):
        whole = (tmp_path / "whole").with_suffix(suffix)
        assert whole.read_bytes() == cut.out.with_suffix(suffix).read_bytes()
    assert not cut.out.with_suffix(".checkpoint").exists()
    points = [json.loads(line) for line in cut.out.with_suffix(".jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [2, 4]
    state = load_file(cut.out)
    HattLite(cut.distil, cut.filter_cues).load_state_dict(state)
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float16}


def test_it_learns(folder, tmp_path):
    """The loss of the last steps is below that of the first ones."""
    seen = []
    fitted = config(folder, tmp_path / "w.safetensors", steps=40, batch_size=4, lr=3e-3, backbone_lr=3e-3)
    matte.fit(fitted, read_sources(folder), lambda done, terms: seen.append(terms["bce"]))
    assert np.mean(seen[-8:]) < 0.8 * np.mean(seen[:8])


def test_the_state_of_another_fit_is_refused(folder, tmp_path):
    first = config(folder, tmp_path / "w.safetensors")
    kill_after(2, first, read_sources(folder))
    with pytest.raises(UsageError, match=r"is of a run with lr = 0.001, now 0.01; choose another --out"):
        matte.fit(config(folder, first.out, lr=0.01), read_sources(folder), resume=True)
    sources = read_sources(folder)
    fewer = dataclasses.replace(sources, backgrounds=matte.split(sources, 0)[0].backgrounds)
    with pytest.raises(UsageError, match="on other pictures than now; restore those, or choose another --out"):
        matte.fit(first, fewer, resume=True)
    with pytest.raises(
        UsageError, match=r"w\.checkpoint is an unfinished fit; give --resume to continue, or another --out"
    ):
        matte.fit(first, read_sources(folder))
    first.out.with_suffix(".checkpoint").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"damaged checkpoint .*; remove it and start again"):
        matte.fit(first, read_sources(folder), resume=True)
    with pytest.raises(InputError, match=r"no checkpoint to resume from; run without --resume"):
        matte.fit(config(folder, tmp_path / "other.safetensors"), read_sources(folder), resume=True)


@pytest.mark.parametrize(
    "name", ["foregrounds/0.png", "backgrounds/1.png", "pictures/0.png", "masks/1.png", "boxed/a.png", "boxed.csv"]
)
def test_what_changed_since_the_kill_is_refused(folder, tmp_path, name):
    """Though the file has its size and its time."""
    root = shutil.copytree(folder, tmp_path / "data")
    (root / "boxed").mkdir()
    shutil.copy(root / "pictures" / "0.png", root / "boxed" / "a.png")
    (root / "boxed.csv").write_text("file,x0,y0,x1,y1\na.png,2,2,30,30\n")
    one = config(root, tmp_path / "w.safetensors")
    kill_after(2, one, read_sources(root))
    sources, times, data = read_sources(root), os.stat(root / name), bytearray((root / name).read_bytes())
    data[-6] ^= 1
    (root / name).write_bytes(data)
    os.utime(root / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UsageError, match="on other pictures than now; restore those, or choose another --out"):
        matte.fit(one, sources, resume=True)


def test_weights_are_not_overwritten(folder, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"w\.safetensors holds weights already; choose another --out or remove it"):
        matte.fit(config(folder, tmp_path / "w.safetensors"), read_sources(folder))


def test_weights_that_would_be_lost_are_told_of_before_any_picture_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "read_sources", lambda root: pytest.fail("pictures were read"))
    (tmp_path / "w.safetensors").write_bytes(b"")
    result = CliRunner().invoke(fit_cli.fit, ["matte", "--data", "nowhere", "--out", str(tmp_path / "w.safetensors")])
    assert (result.exit_code, result.stderr.count("holds weights already")) == (2, 1)


def test_held_out_pictures_are_not_learnt_from(folder):
    sources = read_sources(folder)
    learnt, held = matte.split(sources, 0)
    for kind in ("foregrounds", "backgrounds", "naturals"):
        mine, other = set(getattr(learnt, kind).paths), set(getattr(held, kind).paths)
        assert not mine & other
        assert mine | other == set(getattr(sources, kind).paths)


def test_step_sizes_warm_up_and_end_at_zero(folder, tmp_path):
    fitted = config(folder, tmp_path / "w", steps=1000)
    optimiser = matte.build_optimiser(matte.build(fitted), fitted)
    rates = []
    for step in (0, 99, 500, 999):
        set_rates(optimiser, fitted, step)
        rates.append([group["lr"] for group in optimiser.param_groups])
    backbone, head = zip(*rates, strict=True)
    assert head == pytest.approx([1e-5, 9.76e-4, 5e-4, 2.5e-9], rel=0.02)
    assert backbone == pytest.approx([0.1 * rate for rate in head])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "error: --steps 0: expected a whole number >= 1"),
        (["--lr", "nan"], "error: --lr nan: expected a number > 0"),
        (["--adversarial", "-1"], "error: --adversarial -1.0: expected a number >= 0"),
        (["--data", "nowhere"], "error: nowhere: no such folder; expected one with foregrounds/"),
    ],
    ids=["steps", "lr", "adversarial", "data"],
)
def test_bad_input_is_one_line(folder, tmp_path, arguments, message):
    whole = ["matte", "--data", str(folder), "--out", str(tmp_path / "w.safetensors"), "--quiet", *arguments]
    result = CliRunner().invoke(fit_cli.fit, whole)
    assert result.exit_code in (2, 3)
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_a_fit_starts_from_weights_of_another(folder, tmp_path):
    first, second = config(folder, tmp_path / "first.safetensors"), tmp_path / "second.safetensors"
    matte.fit(first, read_sources(folder))
    again = matte.build(config(folder, second, start=str(first.out)))
    stored = load_file(first.out)
    assert all(torch.equal(value.half(), stored[name]) for name, value in again.state_dict().items() if value.dim())
    assert config(folder, second, start=str(first.out)).key()["start"] == "first.safetensors"
    shipped = matte.build(config(folder, second, start="shipped"))
    assert not torch.equal(shipped.head.weight, again.head.weight)
    assert next(shipped.parameters()).requires_grad


@pytest.mark.parametrize(
    ("start", "change", "message"),
    [
        ("no.safetensors", {}, r"no\.safetensors: cannot read \(No such file"),
        ("nan.safetensors", {}, r"nan\.safetensors: .*NaN"),
        ("shipped", {"distil": False}, "--start shipped: a network with other attentions; expected those of the fit"),
    ],
)
def test_a_start_that_cannot_be(folder, tmp_path, monkeypatch, start, change, message):
    monkeypatch.chdir(tmp_path)
    state = {name: value * np.nan for name, value in HattLite().state_dict().items() if value.is_floating_point()}
    save_file(HattLite().state_dict() | state, "nan.safetensors")
    with pytest.raises((InputError, UsageError), match=message):
        matte.build(config(folder, tmp_path / "out.safetensors", start=start, **change))
