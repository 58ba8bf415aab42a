"""The fit of the inpainter on a handful of small pictures: bit-exact resume, curve, losses, one-line errors."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from clp_aug import fit_cli
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.fitting import inpainter
from clp_aug.fitting.config import InpainterFit
from clp_aug.fitting.inpainter import Critics, mean_where, reconstruction, structure_loss
from clp_aug.fitting.pictures import read_pictures
from clp_aug.nets.contextual_attention import load


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six smooth pictures of 40 x 52 pixels, two of them in a folder of their own."""
    root = tmp_path_factory.mktemp("inpainting")
    (root / "deeper").mkdir()
    for i in range(6):
        coarse = np.random.default_rng(i).integers(0, 256, (3, 4, 3), np.uint8)
        where = root / "deeper" if i < 2 else root
        cv2.imwrite(str(where / f"{i}.png"), cv2.resize(coarse, (52, 40), interpolation=cv2.INTER_CUBIC))
    (root / "note.txt").write_text("no picture")
    return root


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(inpainter, "VALIDATION", 3)
    monkeypatch.setattr(inpainter, "CRITIC_WIDTH", 4)


def config(folder, out, **change):
    settings = {"steps": 4, "batch_size": 1, "sizes": (16, 32), "width": 4, "dilations": (2,)}
    return InpainterFit(folder, out, **{**settings, "checkpoint_interval": 1, "validate_interval": 2, **change})


@pytest.mark.parametrize("change", [{}, {"adversarial": 0.001}, {"gamma": 0.9, "sizes": (24,), "ssim": 0.0}], ids=str)
def test_killed_and_resumed_it_is_the_same_fit(folder, tmp_path, change):
    pictures = read_pictures(folder)
    inpainter.fit(config(folder, tmp_path / "whole.safetensors", **change), pictures)
    cut = config(folder, tmp_path / "cut.safetensors", **change)

    def kill(done, losses):
        assert ("adversarial" in losses) == ("adversarial" in change)
        assert ("structure" in losses) == ("ssim" not in change)
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        inpainter.fit(cut, pictures, kill)
    inpainter.fit(cut, pictures, resume=True)
    for suffix in (".safetensors", ".jsonl"):
        assert (tmp_path / "whole").with_suffix(suffix).read_bytes() == cut.out.with_suffix(suffix).read_bytes()
    assert not cut.out.with_suffix(".checkpoint").exists()
    points = [json.loads(line) for line in cut.out.with_suffix(".jsonl").read_text().splitlines()]
    assert [set(point) for point in points] == [{"step", *(f"l1_{size}" for size in cut.sizes)}] * 2
    network, _ = load(cut.out)
    assert (network.width, network.dilations) == (4, (2,))


def test_it_learns(folder, tmp_path):
    seen = []
    fitted = config(folder, tmp_path / "w.safetensors", steps=60, lr=3e-3, sizes=(32,), batch_size=4, smooth=False)
    inpainter.fit(fitted, read_pictures(folder), lambda done, losses: seen.append(losses["hole"]))
    assert np.mean(seen[-10:]) < 0.9 * np.mean(seen[:10])


def test_critics_learn_to_tell_real_from_fake(folder, tmp_path):
    critics = Critics(config(folder, tmp_path / "w", steps=1000))
    rng = torch.Generator().manual_seed(0)
    hole = torch.zeros(4, 1, 16, 16)
    hole[:, :, 4:12, 4:12] = 1
    real = torch.rand(4, 3, 16, 16, generator=rng) * 0.2
    fake = torch.where(hole > 0.5, 0.9, real)
    before = (critics(real, hole) - critics(fake, hole)).mean().item()
    for step in range(100, 160):
        critics.learn(step, real, fake, hole)
    assert (critics(real, hole) - critics(fake, hole)).mean().item() > before + 0.01


def slow_reconstruction(coarse, refined, truth, hole, gamma):
    """Picture by picture, pixel by pixel, for holes that touch no border."""
    inside, outside = [], []
    for c, r, t, h in zip(coarse, refined, truth, hole[:, 0], strict=True):
        rows, columns = np.nonzero(h.numpy())
        low, high = (rows.min(), columns.min()), (rows.max(), columns.max())
        side = min(high[0] - low[0], high[1] - low[1]) + 1
        total = {True: [], False: []}
        for y, x in np.ndindex(*h.shape):
            error = sum(
                1.2 * abs(2 * c[k, y, x] - 2 * t[k, y, x]) + abs(2 * r[k, y, x] - 2 * t[k, y, x]) for k in range(3)
            )
            hidden = bool(h[y, x])
            away = min(y - low[0], high[0] - y, x - low[1], high[1] - x)
            total[hidden].append((gamma ** (128 / side * away) if hidden else 1) * error.item() / 3)
        inside.append(np.mean(total[True]))
        outside.append(np.mean(total[False]))
    return {"hole": 1.2 * np.mean(inside), "known": 1.2 * np.mean(outside)}


@pytest.mark.parametrize("gamma", [0.9, 0.99, 1.0])
def test_reconstruction_is_the_papers_sum(gamma):
    rng = torch.Generator().manual_seed(1)
    coarse, refined, truth = (torch.rand(2, 3, 10, 12, generator=rng) for _ in range(3))
    hole = torch.zeros(2, 1, 10, 12)
    hole[0, :, 2:7, 3:9] = 1
    hole[1, :, 1:9, 4:6] = 1
    found = reconstruction(coarse, refined, truth, hole, gamma)
    expected = slow_reconstruction(coarse, refined, truth, hole, gamma)
    assert {name: term.item() for name, term in found.items()} == pytest.approx(expected, rel=1e-5)


def slow_ssim(a, b, y, x):
    """SSIM of two planes at one pixel: Gaussian window of 7 pixels, sigma 1.5, pictures mirrored at their border."""
    g = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 1.5**2))
    w = np.outer(g, g) / g.sum() ** 2
    a, b = (np.pad(plane, 3, "reflect")[y : y + 7, x : x + 7] for plane in (a, b))
    ma, mb = (w * a).sum(), (w * b).sum()
    va, vb, c = (w * a * a).sum() - ma**2, (w * b * b).sum() - mb**2, (w * a * b).sum() - ma * mb
    return (2 * ma * mb + 1e-4) * (2 * c + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))


def test_structure_is_ssim_in_the_hole_of_what_is_shown():
    generator = torch.Generator().manual_seed(0)
    refined, truth = torch.rand(2, 2, 3, 16, 16, generator=generator, dtype=torch.float64)
    hole = torch.zeros(2, 1, 16, 16, dtype=torch.float64)
    hole[0, :, 4:9, 3:10], hole[1, :, :6, 9:] = 1, 1
    filled = torch.where(hole > 0, refined, truth)
    means = [
        np.mean([1 - slow_ssim(a.numpy(), b.numpy(), y, x) for a, b in zip(*pair, strict=True)
                 for y, x in mask[0].nonzero().tolist()])
        for *pair, mask in zip(filled, truth, hole, strict=True)
    ]  # fmt: skip
    assert structure_loss(refined, truth, hole).item() == pytest.approx(np.mean(means), rel=1e-4)
    assert structure_loss(truth, truth, hole).item() == pytest.approx(0, abs=1e-9)


def test_means_are_of_each_picture_first():
    values = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]).reshape(2, 1, 2, 2)
    where = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 1]]).reshape(2, 1, 2, 2)
    assert mean_where(values, where).item() == (1.5 + 8) / 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "8"], "error: --sizes 8: expected whole numbers from 16 to 512"),
        (["--gamma", "1.5"], "error: --gamma 1.5: expected a number > 0 and <= 1"),
        (["--adversarial", "nan"], "error: --adversarial nan: expected a number >= 0"),
        (["--ssim", "-1"], "error: --ssim -1.0: expected a number >= 0"),
        (["--width", "1"], "error: width 1 of the inpainting network: expected an integer from 2 to 256"),
        (["--data", "nowhere"], "error: nowhere: no such folder; expected one with pictures, at any depth"),
    ],
    ids=["sizes", "gamma", "adversarial", "ssim", "width", "data"],
)
def test_bad_input_is_one_line(folder, tmp_path, arguments, message):
    whole = ["inpainter", "--data", str(folder), "--out", str(tmp_path / "w.safetensors"), "--quiet", *arguments]
    result = CliRunner().invoke(fit_cli.fit, whole)
    assert result.exit_code in (2, 3)
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_folders_without_enough_pictures_are_refused(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: 0 pictures; expected 2 or more, at any depth")):
        read_pictures(tmp_path)


def test_weights_are_not_overwritten(folder, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"w\.safetensors holds weights already"):
        inpainter.fit(config(folder, tmp_path / "w.safetensors"), read_pictures(folder))
