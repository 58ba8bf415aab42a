"""cagan, telea, lama: what they read, what they write, boxes of every place, files that are no such network."""

import re

import cv2
import numpy as np
import pytest
import torch

from clp_aug.contract.errors import InputError
from clp_aug.contract.seeds import rng_for
from clp_aug.fills import CF, cagan, infill, lama
from clp_aug.fills.cagan import load_inpainter
from clp_aug.fills.lama import load_lama
from clp_aug.fills.scene import Materials, Scene
from clp_aug.fitting.config import InpainterFit
from clp_aug.fitting.loop import write_weights
from clp_aug.nets.contextual_attention import ContextualAttentionNet, start

H, W = 24, 29


class Mean(torch.nn.Module):
    """Stands for LaMa: the hole becomes the mean of what is known."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        known = (picture * (1 - hole)).sum((2, 3)) / (1 - hole).sum((2, 3))
        return picture * (1 - hole) + known[:, :, None, None] * hole


class Half(torch.nn.Module):
    """Gives a picture of another size."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        return picture[:, :, ::2]


class Alone(torch.nn.Module):
    """Takes no hole."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return picture


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    network = ContextualAttentionNet(4, (2,))
    start(network, torch.Generator().manual_seed(0))
    fitted = InpainterFit(folder, folder / "cagan.safetensors", width=4, dilations=(2,))
    write_weights(network, fitted)
    for module in (Mean, Half, Alone):
        torch.jit.script(module()).save(folder / f"{module.__name__}.pt")
    return {"cagan": cagan.Options(fitted.out), "lama": lama.Options(folder / "Mean.pt")}


def scene_of(box, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Scene(cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC), box, 0)


BOXES = [(0, 0, 9, 9), (W - 9, H - 9, W, H), (0, 8, W, 15), (6, 0, 17, H), (12, 11, 13, 12), (0, 0, W, H - 1)]


@pytest.mark.parametrize("name", ["cagan", "telea", "lama"])
@pytest.mark.parametrize("box", BOXES, ids=str)
def test_only_the_box_changes_and_nothing_under_it_is_read(options, name, box):
    scene = scene_of(box)
    filled, used = infill(name, CF, scene, rng_for(0, 0, ""), Materials(), options.get(name))
    other = Scene(scene.image.copy(), box, 0)
    other.image[other.causal()] = np.random.default_rng(1).integers(0, 256, (other.causal().sum(), 3), np.uint8)
    assert used == name
    assert (filled[~scene.causal()] == scene.image[~scene.causal()]).all()
    assert (filled == infill(name, CF, other, rng_for(9, 9, ""), Materials(), options.get(name))[0]).all()


@pytest.mark.parametrize("name", ["cagan", "telea", "lama"])
def test_a_box_that_covers_the_picture_is_grey_and_says_so(options, name):
    filled, used = infill(name, CF, scene_of((0, 0, W, H)), rng_for(0, 0, ""), Materials(), options.get(name))
    assert used == "grey"
    assert (filled == 128).all()


def test_lama_sees_the_picture_and_its_hole(options):
    scene = scene_of((5, 5, 12, 16))
    filled, _ = infill("lama", CF, scene, rng_for(0, 0, ""), Materials(), options["lama"])
    padded, hidden = (
        np.pad(x, ((0, -H % 8), (0, -W % 8)) + ((0, 0),) * (x.ndim - 2), "edge") for x in (scene.image, scene.causal())
    )
    assert np.abs(filled[scene.causal()] - padded[~hidden].mean(0)).max() <= 0.51


def test_telea_is_opencv():
    scene = scene_of((5, 5, 12, 16))
    filled, _ = infill("telea", CF, scene, rng_for(0, 0, ""), Materials())
    expected = cv2.inpaint(scene.image, scene.causal().astype(np.uint8), 3, cv2.INPAINT_TELEA)
    assert (filled == expected).all(), "away from borders the mean under the hole makes no difference"


@pytest.mark.parametrize(
    ("module", "message"),
    [("Half", "not LaMa's network (it gives (1, 3, 12, 32))"), ("Alone", "not LaMa's network")],
)
def test_programs_that_are_not_lama_are_refused(options, module, message):
    path = options["lama"].lama_weights.with_name(f"{module}.pt")
    with pytest.raises(InputError, match=re.escape(f"lama weights {path}: {message}")):
        infill("lama", CF, scene_of((5, 5, 12, 16)), rng_for(0, 0, ""), Materials(), lama.Options(path))


def test_files_that_are_no_network_are_refused(tmp_path):
    path = tmp_path / "text.pt"
    path.write_text("hello")
    with pytest.raises(InputError, match=r"text\.pt: not a TorchScript archive \("):
        load_lama(path)
    with pytest.raises(InputError, match=r"published inpainting weights .*text\.pt: "):
        load_inpainter(path, "own")
    path = path.rename(tmp_path / "text.safetensors")
    with pytest.raises(InputError, match=r"inpainting weights .*text\.safetensors: damaged"):
        load_inpainter(path, "own")
    with pytest.raises(InputError, match=r"inpainting weights .*none\.safetensors: cannot read"):
        load_inpainter(tmp_path / "none.safetensors", "own")
